/** Against torchvision's transforms of Pillow images, in every byte: `test/golden/make_transforms.py`. */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import type { Random } from '../random.ts';
import type { Sides } from '../resize.ts';
import { applyTransform } from '../transforms/apply.ts';
import {
  colorJitter,
  compose,
  grayscale,
  type Image,
  type Interpolation,
  randomCrop,
  randomResizedCrop,
  randomRotation,
  scaleJitter,
  type Transform,
} from '../transforms.ts';
import { resizedWindow } from './resizing.ts';

type Steps = readonly (readonly [name: 'brightness' | 'contrast' | 'saturation' | 'hue', factor: number])[];
type Pair = readonly [number, number];

type Case = {
  readonly width: number;
  readonly height: number;
  readonly seed: number;
  /** The first half of the SHA-256 of the interleaved bytes. */
  readonly hash: string;
} & (
  | { readonly kind: 'jitter' | 'grayJitter'; readonly steps: Steps }
  | { readonly kind: 'grayscale'; readonly channels: 1 | 3 }
  | { readonly kind: 'rotation'; readonly degrees: number; readonly interpolation: Interpolation }
  | {
      readonly kind: 'resizedCrop';
      readonly size: number | Sides;
      readonly scale: Pair;
      readonly ratio: Pair;
      readonly draws: readonly number[];
      readonly window: readonly number[];
    }
  | {
      readonly kind: 'scaleJitter';
      readonly side: number;
      readonly crop: number;
      readonly top: number;
      readonly left: number;
    }
);

const cases = JSON.parse(readFileSync('test/golden/transforms.json', 'utf8')) as readonly Case[];

/** The image of the script's `noise`, as planes. */
function noise({ width, height, seed }: Case): Image {
  const plane = width * height;
  const values = new Float32Array(3 * plane);
  for (let i = 0; i < values.length; i++) {
    const hash = Math.imul(i + seed * 7919, 2654435761);
    const byte = Math.imul(hash ^ (hash >>> 15), 2246822519) >>> 24;
    values[(i % 3) * plane + Math.floor(i / 3)] = byte;
  }
  return { shape: [3, height, width], values };
}

function hashOf({ shape: [channels, height, width], values }: Image): string {
  const plane = height * width;
  const bytes = Uint8Array.from(values, (_, i) => values[(i % channels) * plane + Math.floor(i / channels)]!);
  return createHash('sha256').update(bytes).digest('hex').slice(0, 16);
}

/** Draws these words; `integer` takes the number itself if it is whole. */
function scripted(...draws: readonly number[]): Random & { readonly left: () => number } {
  let at = 0;
  const next = (): number => draws[at++] ?? expect.unreachable('drew too often');
  return { uniform: next, integer: next, normal: next, left: () => draws.length - at };
}

/** The draws of `permutation` (Fisher–Yates) that lead to this order of 0–3. */
function permutationDraws(order: readonly number[]): number[] {
  const current = [0, 1, 2, 3];
  const draws: number[] = [];
  for (let i = 3; i > 0; i--) {
    const j = current.indexOf(order[i]!);
    draws.push(j);
    [current[i], current[j]] = [current[j]!, current[i]!];
  }
  return draws;
}

const names = ['brightness', 'contrast', 'saturation', 'hue'] as const;

function jittered(steps: Steps, image: Image): Image {
  const given = steps.map(([name]) => names.indexOf(name));
  const order = [...given, ...[0, 1, 2, 3].filter((index) => !given.includes(index))];
  const options = Object.fromEntries(steps.map(([name, factor]) => [name, [factor, factor]]));
  const draws = scripted(...permutationDraws(order), ...steps.map(() => 0.7));
  const made = applyTransform(colorJitter(options), image, draws);
  expect(draws.left()).toBe(0);
  return made;
}

function made(given: Case): Image {
  const image = noise(given);
  const apply = (transform: Transform, draws: readonly number[] = []): Image =>
    applyTransform(transform, image, scripted(...draws));
  switch (given.kind) {
    case 'jitter':
      return jittered(given.steps, image);
    case 'grayJitter':
      return jittered(given.steps, apply(grayscale()));
    case 'grayscale':
      return apply(grayscale(given.channels));
    case 'rotation': {
      const { degrees, interpolation } = given;
      return apply(randomRotation([degrees, degrees], { interpolation }), [0.3]);
    }
    case 'resizedCrop': {
      const { size, scale, ratio, draws, window } = given;
      const link = randomResizedCrop(size, { scale, ratio });
      let at = 0;
      const uniform = (): number => draws[at++] ?? expect.unreachable('drew too often');
      const random: Random = {
        uniform,
        integer: (bound) => Math.floor(uniform() * bound),
        normal: () => expect.unreachable('drew a normal number'),
      };
      const { top, left, height, width } = resizedWindow([given.height, given.width], link, random);
      expect([top, left, height, width]).toEqual(window);
      expect(at).toBe(draws.length);
      at = 0;
      return applyTransform(link, image, random);
    }
    case 'scaleJitter': {
      const { side, crop, top, left } = given;
      return apply(compose([scaleJitter(200, 512), randomCrop(crop)]), [side - 200, top, left]);
    }
    default:
      return given satisfies never;
  }
}

test.for(cases.map((given, i) => [i, given.kind, given] as const))('%i: %s', ([, , given]) => {
  expect(hashOf(made(given))).toBe(given.hash);
});
