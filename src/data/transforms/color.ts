/**
 * Transforms of colors that take bytes, with the arithmetic of Pillow's `ImageEnhance` and `convert`, as torchvision's
 * ColorJitter and Grayscale have it for Pillow's images.
 */
import { UsageError } from '../../errors.ts';
import { checkOptions, shown } from '../../options.ts';
import type { ImageShape } from '../dataset.ts';
import { permutation, type Random } from '../random.ts';
import {
  type Bytes,
  between,
  checkChannels,
  checkNumber,
  checkProbability,
  checkRange,
  luma,
} from './pixels.ts';

/** A factor's range; a single number v stands for [max(0, 1 − v), 1 + v], for the hue for [−v, v]. */
export type Jitter = number | readonly [least: number, most: number];

export interface ColorJitterOptions {
  readonly brightness?: Jitter;
  readonly contrast?: Jitter;
  readonly saturation?: Jitter;
  /** In turns of the color circle, within ±0.5. */
  readonly hue?: Jitter;
}

const adjustments = ['brightness', 'contrast', 'saturation', 'hue'] as const;
type Adjustment = (typeof adjustments)[number];
type Range = readonly [least: number, most: number];

export type ColorTransform =
  | { readonly kind: 'colorJitter'; readonly ranges: Readonly<Partial<Record<Adjustment, Range>>> }
  | { readonly kind: 'grayscale'; readonly channels: 1 | 3 }
  | { readonly kind: 'randomGrayscale'; readonly probability: number };

/**
 * Changes brightness, contrast, saturation and hue by random factors, in random order. Draws the order of the four (three
 * draws, as `permutation`), then the factor of each that is given, in the order named here.
 */
export function colorJitter(options: ColorJitterOptions): ColorTransform {
  checkOptions<ColorJitterOptions>('colorJitter', options, {
    brightness: 'optional',
    contrast: 'optional',
    saturation: 'optional',
    hue: 'optional',
  });
  const ranges: Partial<Record<Adjustment, Range>> = {};
  for (const name of adjustments) {
    const given = options[name];
    if (given === undefined) continue;
    const range = rangeOf(name, given);
    const neutral = name === 'hue' ? 0 : 1;
    if (range[0] !== neutral || range[1] !== neutral) ranges[name] = range;
  }
  return { kind: 'colorJitter', ranges };
}

function rangeOf(name: Adjustment, given: Jitter): Range {
  const [least, most] = name === 'hue' ? [-0.5, 0.5] : [0, 1000];
  if (typeof given === 'number') {
    checkNumber('colorJitter', name, given, 0, most);
    return name === 'hue' ? [-given, given] : [Math.max(0, 1 - given), 1 + given];
  }
  checkRange('colorJitter', name, given, least, most);
  return given;
}

/** Turns images gray by the luma of ITU-R 601: into one channel, or into three equal ones. */
export function grayscale(channels: 1 | 3 = 1): ColorTransform {
  if (channels !== 1 && channels !== 3) {
    throw new UsageError(`grayscale: ${shown(channels)} channels are not 1 or 3`);
  }
  return { kind: 'grayscale', channels };
}

/** Turns images gray with a probability; they keep their channels. Draws once. */
export function randomGrayscale(probability = 0.1): ColorTransform {
  checkProbability('randomGrayscale', probability);
  return { kind: 'randomGrayscale', probability };
}

export function coloredShape(link: ColorTransform, [channels, height, width]: ImageShape): ImageShape {
  checkChannels(link.kind, channels, [1, 3]);
  return [link.kind === 'grayscale' ? link.channels : channels, height, width];
}

export function applyColor(link: ColorTransform, image: Bytes, random: Random): Bytes {
  const channels = coloredShape(link, image.shape)[0] as 1 | 3;
  switch (link.kind) {
    case 'colorJitter': {
      const order = permutation(adjustments.length, random);
      const factors = adjustments.map((name) => link.ranges[name] && between(random, link.ranges[name]));
      let current = image;
      for (const index of order) {
        const factor = factors[index];
        if (factor !== undefined) current = adjust[adjustments[index]!](current, factor);
      }
      return current;
    }
    case 'grayscale':
      return grayOf(image, channels);
    case 'randomGrayscale':
      return random.uniform() < link.probability ? grayOf(image, channels) : image;
    default:
      return link satisfies never;
  }
}

function lumaPlane({ shape, values }: Bytes): Uint8Array {
  const plane = shape[1] * shape[2];
  if (shape[0] === 1) return values;
  const out = new Uint8Array(plane);
  for (let i = 0; i < plane; i++) out[i] = luma(values[i]!, values[plane + i]!, values[2 * plane + i]!);
  return out;
}

function grayOf(image: Bytes, channels: 1 | 3): Bytes {
  const [own, height, width] = image.shape;
  if (own === 1 && channels === 1) return image;
  const gray = lumaPlane(image);
  const values = new Uint8Array(channels * gray.length);
  for (let c = 0; c < channels; c++) values.set(gray, c * gray.length);
  return { shape: [channels, height, width], values };
}

/** Pillow's `Image.blend` of two bytes in 32-bit floats. Factors outside 0–1 may exceed the range of a byte. */
function blend(from: number, to: number, factor: number): number {
  const value = Math.fround(from + Math.fround(factor * (to - from)));
  return value <= 0 ? 0 : value >= 255 ? 255 : Math.trunc(value);
}

/** Blends one byte with all bytes of an image. */
function blendedWith(from: number, { shape, values }: Bytes, factor: number): Bytes {
  const narrow = Math.fround(factor);
  const table = Uint8Array.from({ length: 256 }, (_, to) => blend(from, to, narrow));
  const out = new Uint8Array(values.length);
  for (let i = 0; i < out.length; i++) out[i] = table[values[i]!]!;
  return { shape, values: out };
}

const adjust: Readonly<Record<Adjustment, (image: Bytes, factor: number) => Bytes>> = {
  brightness: (image, factor) => blendedWith(0, image, factor),
  contrast: (image, factor) => {
    const gray = lumaPlane(image);
    let sum = 0;
    for (let i = 0; i < gray.length; i++) sum += gray[i]!;
    return blendedWith(Math.trunc(sum / gray.length + 0.5), image, factor);
  },
  saturation: ({ shape, values }, factor) => {
    if (shape[0] === 1) return { shape, values };
    const narrow = Math.fround(factor);
    const gray = lumaPlane({ shape, values });
    const plane = gray.length;
    const out = new Uint8Array(values.length);
    for (let c = 0, at = 0; c < 3; c++) {
      for (let i = 0; i < plane; i++, at++) out[at] = blend(gray[i]!, values[at]!, narrow);
    }
    return { shape, values: out };
  },
  hue: (image, factor) => (image.shape[0] === 1 ? image : hueTurned(image, Math.trunc(factor * 255) & 255)),
};

/** Adds `turn` to the hue, a byte of Pillow's HSV (modulo 256). */
function hueTurned({ shape, values }: Bytes, turn: number): Bytes {
  const plane = shape[1] * shape[2];
  const out = new Uint8Array(values.length);
  for (let i = 0; i < plane; i++) {
    const r = values[i]!;
    const g = values[plane + i]!;
    const b = values[2 * plane + i]!;
    const value = Math.max(r, g, b);
    const saturation = saturationOf(value, Math.min(r, g, b));
    let red = value;
    let green = value;
    let blue = value;
    if (saturation > 0) {
      const hue = (hueOf(r, g, b) + turn) & 255;
      // As in Pillow: 0–6, where 6 is red again.
      const sector = Math.floor((hue * 6) / 255);
      const rest = Math.fround((hue * 6) / 255 - sector);
      const share = Math.fround(saturation / 255);
      const low = roundAway(value * (1 - share));
      // Falls in odd sectors, rises in even ones.
      const middle =
        sector % 2 === 1
          ? roundAway(value * (1 - Math.fround(share * rest)))
          : roundAway(value * (1 - share * (1 - rest)));
      const third = (sector >> 1) % 3;
      const isOdd = sector % 2 === 1;
      // Sectors 0 and 1 have no blue, 2 and 3 no red, 4 and 5 no green.
      red = third === 1 ? low : third === 2 ? (isOdd ? value : middle) : isOdd ? middle : value;
      green = third === 2 ? low : third === 0 ? (isOdd ? value : middle) : isOdd ? middle : value;
      blue = third === 0 ? low : third === 1 ? (isOdd ? value : middle) : isOdd ? middle : value;
    }
    out[i] = red;
    out[plane + i] = green;
    out[2 * plane + i] = blue;
  }
  return { shape, values: out };
}

/** C's `round` for numbers ≥ 0. */
const roundAway = (value: number): number => Math.floor(value + 0.5);

const saturationOf = (most: number, least: number): number =>
  most === least ? 0 : Math.trunc(Math.fround((most - least) / most) * 255);

/** The hue of a color that is not gray, as a byte; intermediate values are 32-bit floats, as in Pillow. */
function hueOf(r: number, g: number, b: number): number {
  const most = Math.max(r, g, b);
  const range = most - Math.min(r, g, b);
  const red = Math.fround((most - r) / range);
  const green = Math.fround((most - g) / range);
  const blue = Math.fround((most - b) / range);
  const sixth =
    r === most
      ? Math.fround(blue - green)
      : g === most
        ? Math.fround(2 + red - blue)
        : Math.fround(4 + green - red);
  const turns = Math.fround((sixth / 6 + 1) % 1);
  return Math.trunc(turns * 255);
}
