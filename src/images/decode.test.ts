/**
 * Decoded images against Pillow, and fitted ones against torchvision, in every byte: `test/golden/make_images.py`; and
 * files that are refused.
 */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { crc32, deflateSync } from 'node:zlib';
import { expect, test } from 'vitest';
import { random, streams } from '../data/random.ts';
import { applyTransform } from '../data/transforms/apply.ts';
import { centerCrop, compose, resize } from '../data/transforms.ts';
import { DataError, UsageError } from '../errors.ts';
import { decodeImage } from './decode.ts';
import { fitFor, fitImage } from './fit.ts';
import { loadSharp } from './sharp.ts';

interface Expected {
  readonly width: number;
  readonly height: number;
  /** The first half of the SHA-256 of the RGB bytes, of those in gray, and of the resized and cropped ones. */
  readonly pixels: string;
  readonly gray: string;
  readonly evaluation: string;
  /** Of the RGB bytes with the EXIF orientation ignored. */
  readonly ignored?: string;
}

const expected = JSON.parse(readFileSync('test/golden/images.json', 'utf8')) as Record<string, Expected>;
const read = (name: string): Uint8Array => new Uint8Array(readFileSync(`test/golden/images/${name}`));
const hashOf = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex').slice(0, 16);
const interleaved = (planes: ArrayLike<number>): Uint8Array =>
  Uint8Array.from(
    { length: planes.length },
    (_, i) => planes[(i % 3) * (planes.length / 3) + Math.floor(i / 3)]!,
  );

test.for(Object.entries(expected))('%s', async ([name, want]) => {
  const image = await decodeImage(read(name));
  const { width, height, pixels } = image;
  expect([width, height]).toEqual([want.width, want.height]);
  expect(hashOf(pixels)).toBe(want.pixels);
  const fit = fitFor([3, 224, 224]);
  expect(fit).toEqual({ resize: 256, crop: [224, 224] });
  const fitted = fitImage(image, fit, 3);
  expect(hashOf(interleaved(fitted))).toBe(want.evaluation);
  expect(hashOf(fitImage(image, { resize: Math.min(width, height), crop: [height, width] }, 1))).toBe(
    want.gray,
  );
  if (want.ignored === undefined) return;
  expect(hashOf((await decodeImage(read(name), { orientation: 'ignore' })).pixels)).toBe(want.ignored);
});

test('the same by transforms of planes', async () => {
  const image = await decodeImage(read('420.jpg'));
  const area = image.width * image.height;
  const values = Float32Array.from(
    { length: 3 * area },
    (_, i) => image.pixels[3 * (i % area) + Math.floor(i / area)]!,
  );
  const chain = compose([resize(256), centerCrop(224)]);
  const shape = [3, image.height, image.width] as const;
  const made = applyTransform(chain, { shape, values }, random(0, streams.transform));
  expect(Uint8Array.from(made.values)).toEqual(fitImage(image, fitFor([3, 224, 224]), 3));
});

test('small networks see the whole shorter side, and sides may differ', () => {
  expect(fitFor([3, 32, 32])).toEqual({ resize: 32, crop: [32, 32] });
  expect(fitFor([3, 63, 64])).toEqual({ resize: 64, crop: [63, 64] });
  expect(fitFor([3, 64, 64])).toEqual({ resize: 73, crop: [64, 64] });
  expect(fitFor([1, 100, 224])).toEqual({ resize: 256, crop: [100, 224] });
});

test('AVIF, with ten bits and with one channel', async () => {
  type Encoder = (
    bytes: Uint8Array,
    options: object,
  ) => {
    toColourspace(space: string): ReturnType<Encoder>;
    avif(options: object): { toBuffer(): Promise<Buffer> };
  };
  const source = await decodeImage(read('rgb.png'));
  const raw = { raw: { width: source.width, height: source.height, channels: 3 } };
  const sharp = loadSharp() as unknown as Encoder;
  const lossless = { lossless: true, chromaSubsampling: '4:4:4' };
  const file = await sharp(source.pixels, raw).avif(lossless).toBuffer();
  const image = await decodeImage(file.subarray());
  expect([image.width, image.height]).toEqual([source.width, source.height]);
  const worst = (a: Uint8Array, b: Uint8Array): number =>
    a.reduce((most, x, i) => Math.max(most, Math.abs(x - b[i]!)), 0);
  expect(worst(image.pixels, source.pixels)).toBeLessThanOrEqual(2);
  const gray = await decodeImage(
    await sharp(source.pixels, raw).toColourspace('b-w').avif(lossless).toBuffer(),
  );
  expect(gray.pixels.length).toBe(source.pixels.length);
  expect(gray.pixels[0]).toBe(gray.pixels[2]);
});

const chunk = (type: string, content: Uint8Array): Buffer => {
  const body = Buffer.concat([Buffer.from(type), content]);
  const ends = Buffer.alloc(8);
  ends.writeUInt32BE(content.length, 0);
  ends.writeUInt32BE(crc32(body), 4);
  return Buffer.concat([ends.subarray(0, 4), body, ends.subarray(4)]);
};
/** A PNG that claims these sides. */
const png = (width: number, height: number): Buffer => {
  const header = Buffer.from([0, 0, 0, 0, 0, 0, 0, 0, 8, 2, 0, 0, 0]);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  const pixels = deflateSync(Buffer.alloc(1000));
  const start = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
  return Buffer.concat([start, chunk('IHDR', header), chunk('IDAT', pixels), chunk('IEND', Buffer.alloc(0))]);
};
/** A TIFF with one strip of 8-bit values; `more` replaces fields. */
const tiff = (width: number, height: number, more: Readonly<Record<number, number>> = {}): Buffer => {
  const fields = {
    256: width,
    257: height,
    258: 8,
    259: 1,
    262: 1,
    273: 200,
    277: 1,
    278: height,
    279: 64,
    ...more,
  };
  const file = Buffer.alloc(264);
  file.write('II*\0', 'latin1');
  file.writeUInt32LE(8, 4);
  file.writeUInt16LE(Object.keys(fields).length, 8);
  for (const [i, [tag, value]] of Object.entries(fields).entries()) {
    file.writeUInt16LE(Number(tag), 10 + 12 * i);
    file.writeUInt16LE(4, 12 + 12 * i);
    file.writeUInt32LE(1, 14 + 12 * i);
    file.writeUInt32LE(value, 18 + 12 * i);
  }
  return file;
};
const text = (content: string): Buffer => Buffer.from(content, 'latin1');
const jpeg = read('420.jpg');
const svg = '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>';
const cut = (name: string): Uint8Array => read(name).subarray(0, read(name).length / 2);

test.for<[string, Uint8Array, string | RegExp]>([
  [
    'nothing',
    new Uint8Array(0),
    'the file is empty; convert the image to JPEG, PNG, WebP, AVIF, GIF or TIFF',
  ],
  ['an SVG drawing', text(svg), 'the file is an SVG drawing'],
  [
    'an SVG drawing with a prolog',
    text(`\xef\xbb\xbf<?xml version="1.0"?>${svg}`),
    'the file is an SVG drawing',
  ],
  ['a PDF', text('%PDF-1.7'), 'the file is a PDF'],
  ['a HEIC image', text('\0\0\0\x18ftypheic\0\0\0\0mif1heic'), 'the file is a HEIC image'],
  ['HEIC that calls itself AVIF', text('\0\0\0\x18ftypavif\0\0\0\0mif1heic'), 'the AVIF image is damaged'],
  ['text', text('hello'), 'the file is no image in a known format'],
  [
    'a PNG of 100,000×100,000',
    png(100_000, 100_000),
    'the image has 100000×100000 pixels, above the limit of 50 million',
  ],
  ['a TIFF of 100,000×100,000', tiff(100_000, 100_000), 'the image has 100000×100000 pixels'],
  ['a PNG that promises more pixels', png(3000, 3000), /the PNG image is damaged: /],
  ['a TIFF of many channels', tiff(8, 1, { 277: 900 }), /the TIFF image is damaged: /],
  ['a TIFF of floats', tiff(4, 4, { 258: 32, 339: 3 }), 'the pixels are stored as float'],
  ['half a JPEG', jpeg.subarray(0, jpeg.length / 2), /the JPEG image is damaged: .*premature end/i],
  ['half a progressive JPEG', cut('progressive.jpg'), 'the JPEG image is damaged'],
  ['half a PNG', cut('rgb.png'), 'the PNG image is damaged'],
  ['half a WebP', cut('lossy.webp'), 'the WebP image is damaged'],
  ['half a GIF', cut('animation.gif').subarray(0, 3000), 'the GIF image is damaged'],
  ['half a TIFF', cut('lzw.tif'), 'the TIFF image is damaged'],
  ['the start of a JPEG', jpeg.subarray(0, 3), 'the JPEG image is damaged'],
])('refuses %s', async ([, bytes, problem]) => {
  await expect(decodeImage(bytes)).rejects.toThrow(DataError);
  await expect(decodeImage(bytes)).rejects.toThrow(problem);
});

test('says what is missing without sharp', () => {
  expect(() => loadSharp('file:///nowhere/program.js')).toThrow(
    'image files are decoded by the npm package sharp, which is not installed; run npm install sharp',
  );
});

test('the limit of pixels can be chosen', async () => {
  await expect(decodeImage(jpeg, { maxPixels: 500 * 375 - 1 })).rejects.toThrow(
    /500×375 pixels, above the limit/,
  );
  expect((await decodeImage(jpeg, { maxPixels: 500 * 375 })).width).toBe(500);
});

test.for<[unknown, object | undefined, string]>([
  ['cat.jpg', undefined, 'the bytes are "cat.jpg"; pass a file\'s content as a Uint8Array'],
  [new Float32Array(3), undefined, 'the bytes are an object'],
  [jpeg, { orientation: 'up' }, 'orientation "up" is neither "apply" nor "ignore"'],
  [jpeg, { maxPixels: 0 }, 'maxPixels 0 is not a whole number ≥ 1'],
  [jpeg, { fast: true }, 'there is no option "fast"'],
])('wrong arguments %#', async ([bytes, options, problem]) => {
  await expect(decodeImage(bytes as never, options)).rejects.toThrow(UsageError);
  await expect(decodeImage(bytes as never, options)).rejects.toThrow(problem);
});

test('with any byte flipped, an image is decoded or refused', async () => {
  for (const name of [
    'tiny.jpg',
    '60x44/grey.jpg',
    'alpha.webp',
    'one-bit.png',
    'animation.gif',
    'cmyk.tif',
  ]) {
    const whole = read(name);
    for (let i = 0; i < whole.length; i += Math.ceil(whole.length / 150)) {
      const damaged = whole.slice();
      damaged[i] = damaged[i]! ^ 0xff;
      const result = await decodeImage(damaged).catch((error: unknown) => error);
      if (result instanceof Error) expect(result).toBeInstanceOf(DataError);
    }
  }
});
