/**
 * Images between transforms, and what moves their pixels. Values are bytes until `toTensor` makes floats of them, except
 * that custom functions always get and return floats.
 */
import { UsageError } from '../../errors.ts';
import { checkWhole, shown } from '../../options.ts';
import type { ImageShape } from '../dataset.ts';
import type { Random } from '../random.ts';
import type { Sides } from '../resize.ts';

/** An image between transforms: planar [C, H, W]; 0–255 before `toTensor`, 0–1 after it. */
export interface Image {
  readonly shape: ImageShape;
  readonly values: Float32Array;
}

/**
 * A custom transform. It must not modify its input, must draw all random numbers from `random` (otherwise results
 * depend on the order of work), and must always return the same shape.
 */
export type ImageFunction = (image: Image, random: Random) => Image;

/** An image inside a chain, [C, H, W]. Its values are never modified. */
export interface Pixels {
  readonly shape: ImageShape;
  readonly values: Uint8Array | Float32Array;
}

/** An image inside a chain before `toTensor`. */
export interface Bytes extends Pixels {
  readonly values: Uint8Array;
}

/** The most pixels per side of padding, crops or resized images. */
export const longestSide = 10_000;
/** The most values of one image. */
const mostValues = 2 ** 26;

export type Size = number | readonly [height: number, width: number];

/** Height and width of `size`, checked. */
export function sidesOf(where: string, size: Size): Sides {
  if (Array.isArray(size) && size.length !== 2) {
    throw new UsageError(
      `${where}: size has ${size.length} numbers; give one, or a list [height, width] of two`,
    );
  }
  const [height, width] = Array.isArray(size) ? (size as readonly number[]) : [size, size];
  for (const side of [height, width]) checkWhole(where, 'size', side, 1, longestSide);
  return [height as number, width as number];
}

/** @throws UsageError unless `value` is a number from `least` to `most`. */
export function checkNumber(
  where: string,
  name: string,
  value: unknown,
  least: number,
  most: number = Infinity,
): void {
  if (typeof value === 'number' && Number.isFinite(value) && value >= least && value <= most) return;
  const rule = most === Infinity ? `a number ≥ ${least}` : `a number from ${least} to ${most}`;
  throw new UsageError(`${where}: ${name} ${shown(value)} is not ${rule}`);
}

/** @throws UsageError unless `range` is [least, most] in rising order within the bounds. */
export function checkRange(
  where: string,
  name: string,
  range: unknown,
  least: number,
  most: number = Infinity,
): void {
  if (!Array.isArray(range) || range.length !== 2) {
    throw new UsageError(`${where}: ${name} is ${shown(range)}, not a list [least, most] of two numbers`);
  }
  for (const value of range) checkNumber(where, name, value, least, most);
  if (range[0] <= range[1]) return;
  throw new UsageError(`${where}: ${name} [${range.join(', ')}] does not rise; swap its two numbers`);
}

/** @throws UsageError unless `probability` is one. */
export function checkProbability(where: string, probability: number): void {
  if (probability >= 0 && probability <= 1) return;
  throw new UsageError(`${where}: probability ${probability} is not between 0 and 1`);
}

/** A uniform draw from [least, most). */
export const between = (random: Random, [least, most]: readonly [number, number]): number =>
  least + (most - least) * random.uniform();

/** Python's `round`: a half becomes the even number. */
export function roundHalfEven(value: number): number {
  const low = Math.floor(value);
  const rest = value - low;
  return rest < 0.5 || (rest === 0.5 && low % 2 === 0) ? low : low + 1;
}

/** @throws UsageError if images of `shape` are too large. */
export function checkedSize(where: string, shape: ImageShape, advice: string): ImageShape {
  const values = shape.reduce((product, side) => product * side);
  if (values <= mostValues) return shape;
  throw new UsageError(
    `${where}: images of ${shape.join('×')} have ${values} values, above the limit of ${mostValues}; ${advice}`,
  );
}

/** @throws UsageError unless images have one of these numbers of channels. */
export function checkChannels(where: string, channels: number, allowed: readonly number[]): void {
  if (allowed.includes(channels)) return;
  throw new UsageError(
    `${where}: the images have ${channels} channels, and it takes ${allowed.join(' or ')}; remove it from the chain`,
  );
}

/** The luma of ITU-R 601 of a pixel, rounded as Pillow's `convert('L')` does. */
export const luma = (red: number, green: number, blue: number): number =>
  (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16;

/** Bytes of an image. Values that a function made are rounded, and limited to 0–255. */
export function bytesOf({ shape, values }: Pixels): Bytes {
  return {
    shape,
    values: values instanceof Uint8Array ? values : Uint8Array.from(Uint8ClampedArray.from(values)),
  };
}

export function floatsOf({ shape, values }: Pixels): Image {
  return { shape, values: values instanceof Float32Array ? values : Float32Array.from(values) };
}

const emptyLike = (values: Pixels['values'], length: number): Pixels['values'] =>
  values instanceof Uint8Array ? new Uint8Array(length) : new Float32Array(length);

/** The part of an image that starts at (top, left); 0 outside the image. */
export function windowOf<T extends Pixels>(image: T, top: number, left: number, shape: ImageShape): T {
  const [channels, height, width] = shape;
  const [, sourceHeight, sourceWidth] = image.shape;
  const values = emptyLike(image.values, channels * height * width);
  const from = Math.max(left, 0);
  const to = Math.max(from, Math.min(left + width, sourceWidth));
  for (let c = 0; c < channels; c++) {
    for (let y = Math.max(0, -top); y < height && y + top < sourceHeight; y++) {
      const row = (c * sourceHeight + y + top) * sourceWidth;
      values.set(image.values.subarray(row + from, row + to), (c * height + y) * width + from - left);
    }
  }
  return { ...image, shape, values };
}

export function mirrored(image: Pixels): Pixels {
  const width = image.shape[2];
  const values = image.values.slice();
  for (let row = 0; row < values.length; row += width) values.subarray(row, row + width).reverse();
  return { shape: image.shape, values };
}
