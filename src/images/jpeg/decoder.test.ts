/**
 * Our JPEG decoder against Pillow (`test/golden/make_images.py`) and sharp, in every byte. What it does not decode is
 * left to sharp; of damaged files it must decode none to other bytes.
 */
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { random, streams } from '../../data/random.ts';
import { decodeImage } from '../decode.ts';
import { loadSharp } from '../sharp.ts';
import { readBaseline } from './baseline.ts';
import { openJpegDecoder } from './decoder.ts';

const folder = 'test/golden/images';
const read = (name: string): Uint8Array => new Uint8Array(readFileSync(`${folder}/${name}`));
const expected = JSON.parse(readFileSync('test/golden/images.json', 'utf8')) as Record<
  string,
  { pixels: string }
>;
const decoder = openJpegDecoder();

/** The pixels; undefined if the file is left to sharp. */
function decodeOwn(file: Uint8Array): Uint8Array | undefined {
  const jpeg = readBaseline(file);
  if (jpeg === undefined) return undefined;
  const { width, height } = jpeg;
  const pixels = new Uint8Array(3 * width * height);
  let next = 0;
  const isWhole = decoder.decode(jpeg, file, (rows, first, count) => {
    expect(first).toBe(next);
    expect(rows.length).toBe(3 * width * count);
    next += count;
    pixels.set(rows, 3 * width * first);
  });
  if (!isWhole) return undefined;
  expect(next).toBe(height);
  return pixels;
}

const left = [
  ...['60x44/cmyk.jpg', '60x44/progressive.jpg', 'cmyk.jpg', 'progressive.jpg'],
  ...[2, 3, 4, 5, 6, 7, 8].map((i) => `orientation-${i}.jpg`),
];

test.for(Object.keys(expected).filter((name) => name.endsWith('.jpg')))('%s', (name) => {
  const pixels = decodeOwn(read(name));
  if (left.includes(name)) return expect(pixels).toBeUndefined();
  return expect(createHash('sha256').update(pixels!).digest('hex').slice(0, 16)).toBe(expected[name]!.pixels);
});

type Encoder = (
  bytes: Uint8Array,
  options: { readonly raw: { readonly width: number; readonly height: number; readonly channels: 3 } },
) => { jpeg(options: object): { toBuffer(): Promise<Buffer> } };

test('random sizes, qualities and samplings, as sharp', async () => {
  const encode = loadSharp() as unknown as Encoder;
  const draws = random(3, streams.transform);
  for (let i = 0; i < 150; i++) {
    const [width, height] = [5 + draws.integer(i < 130 ? 70 : 700), 1 + draws.integer(70)];
    // From smooth to noise of all values.
    const noise = draws.uniform() ** 2 * 255;
    const pixels = Uint8Array.from(
      { length: 3 * width * height },
      (_, k) => 127 + 120 * Math.sin(k / (3 * width)) + (draws.uniform() - 0.5) * noise,
    );
    const options = {
      quality: 1 + draws.integer(100),
      chromaSubsampling: ['4:2:0', '4:4:4'][draws.integer(2)],
      optimiseCoding: draws.integer(2) === 1,
    };
    const file = await encode(pixels, { raw: { width, height, channels: 3 } })
      .jpeg(options)
      .toBuffer();
    const own = decodeOwn(new Uint8Array(file));
    expect(own, JSON.stringify({ width, height, ...options })).toEqual(
      (await decodeImage(new Uint8Array(file))).pixels,
    );
  }
});

test('a damaged file has the same bytes as from sharp, or is left to it', async () => {
  let decoded = 0;
  for (const name of [
    'tiny.jpg',
    '60x44/grey.jpg',
    '60x44/rgb.jpg',
    '60x44/rgb-444.jpg',
    '60x44/restart.jpg',
  ]) {
    const whole = read(name);
    for (let i = 0; i < whole.length; i += Math.ceil(whole.length / 300)) {
      for (const bits of [0xff, 1, 0x80]) {
        const damaged = whole.slice();
        damaged[i] = damaged[i]! ^ bits;
        const own = decodeOwn(damaged);
        if (own === undefined) continue;
        decoded++;
        const wanted = await decodeImage(damaged).catch(() => undefined);
        expect(wanted && Buffer.compare(wanted.pixels, own), `${name}, byte ${i} ^ ${bits}`).toBe(0);
      }
    }
  }
  expect(decoded).toBeGreaterThan(1000);
});

test('samplings of gray mean nothing, but must be valid', async () => {
  const gray = read('gray.jpg');
  const at = gray.findIndex((byte, i) => byte === 0xff && gray[i + 1] === 0xc0) + 11;
  expect(gray[at]).toBe(0x11);
  for (const sampling of [0x22, 0x41, 0x14, 0x13, 0x01, 0x10, 0x51, 0x15]) {
    const changed = gray.map((byte, i) => (i === at ? sampling : byte));
    expect(decodeOwn(changed)).toEqual((await decodeImage(changed).catch(() => undefined))?.pixels);
  }
});

test('cut files are left to sharp', () => {
  for (const name of readdirSync(folder).filter((one) => one.endsWith('.jpg'))) {
    const whole = read(name);
    for (let length = 0; length < whole.length; length += Math.ceil(whole.length / 50))
      expect(decodeOwn(whole.subarray(0, length))).toBeUndefined();
  }
});
