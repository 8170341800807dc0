/** Against Pillow and torchvision, in every byte: `test/golden/make_resize.py`. */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { centerOffset } from './center.ts';
import { random, streams } from './random.ts';
import { centerWindow, planResize, resizedSides, resizePixels, type Sides } from './resize.ts';
import { applyTransform } from './transforms/apply.ts';
import { centerCrop, compose, resize } from './transforms.ts';

interface Case {
  readonly width: number;
  readonly height: number;
  readonly seed: number;
  readonly resize: number | Sides;
  readonly crop: Sides | null;
  /** Sides after the resize. */
  readonly size: Sides;
  /** The first half of the SHA-256 of the interleaved bytes. */
  readonly hash: string;
}

const cases = JSON.parse(readFileSync('test/golden/resize.json', 'utf8')) as readonly Case[];

/** The bytes of images_by_formula.py's `noise`. */
function noise(width: number, height: number, seed: number): Uint8Array {
  return Uint8Array.from({ length: width * height * 3 }, (_, i) => {
    const hash = Math.imul(i + seed * 7919, 2654435761);
    return Math.imul(hash ^ (hash >>> 15), 2246822519) >>> 24;
  });
}

const hashOf = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex').slice(0, 16);

test.for(cases)(
  '$width×$height to $resize, crop $crop',
  ({ width, height, seed, crop, size, hash, ...to }) => {
    const source = noise(width, height, seed);
    expect(resizedSides([height, width], to.resize)).toEqual(size);
    const chain = compose([resize(to.resize), ...(crop ? [centerCrop(crop)] : [])]);
    // Transforms take planes, and Pillow's bytes are interleaved.
    const area = width * height;
    const values = Float32Array.from(
      { length: 3 * area },
      (_, i) => source[3 * (i % area) + Math.floor(i / area)]!,
    );
    const made = applyTransform(chain, { shape: [3, height, width], values }, random(0, streams.transform));
    expect(made.shape).toEqual([3, ...(crop ?? size)]);
    const plane = made.values.length / 3;
    const bytes = Uint8Array.from(made.values, (_, i) => made.values[(i % 3) * plane + Math.floor(i / 3)]!);
    expect(hashOf(bytes)).toBe(hash);
    // The same from interleaved bytes, unless zeros are added.
    const wanted = crop ?? size;
    if (wanted[0] > size[0] || wanted[1] > size[1]) return;
    const plan = planResize([height, width], size, centerWindow(size, wanted));
    const out = new Uint8Array(3 * plane);
    resizePixels(plan, source, 3, out);
    expect(out).toEqual(Uint8Array.from(made.values));
  },
);

test('crop offsets round half to even, as Python does', () => {
  expect([341, 343, 225, 227, 224, 223, 222, 1].map((side) => centerOffset(side, 224))).toEqual([
    58, 60, 0, 2, 0, -0, -1, -111,
  ]);
});

test('a long thin image takes no memory for what is cut off', () => {
  const sides = resizedSides([50_000_000, 1], 256);
  expect(sides).toEqual([12_800_000_000, 256]);
  const source = new Uint8Array(50_000_000).fill(7, 24_999_990, 25_000_010);
  const out = new Uint8Array(224 * 224);
  resizePixels(planResize([50_000_000, 1], sides, centerWindow(sides, [224, 224])), source, 1, out);
  expect(out.every((byte) => byte === 7)).toBe(true);
});
