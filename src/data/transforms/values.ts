/** Transforms of values: scaling to 0–1, normalization, and blanking. */
import { UsageError } from '../../errors.ts';
import { checkWhole, shown } from '../../options.ts';
import type { ImageShape } from '../dataset.ts';
import type { Random } from '../random.ts';
import { type Image, longestSide, type Pixels } from './pixels.ts';

export type ValueTransform =
  | { readonly kind: 'toTensor' }
  | { readonly kind: 'normalize'; readonly mean: readonly number[]; readonly std: readonly number[] }
  | { readonly kind: 'cutout'; readonly size: number };

/** Scales 0–255 to 0–1. */
export function toTensor(): ValueTransform {
  return { kind: 'toTensor' };
}

/**
 * Computes (value − mean) / std for each channel, after `toTensor`: mean and std are for pixels scaled to 0–1, as from
 * `channelStatistics`. A single value applies to all channels.
 */
export function normalize(mean: number | readonly number[], std: number | readonly number[]): ValueTransform {
  for (const [name, value] of Object.entries({ mean, std })) {
    if (typeof value === 'number' || Array.isArray(value)) continue;
    throw new UsageError(`normalize: ${name} is ${shown(value)}, not a number or a list of numbers`);
  }
  const means = typeof mean === 'number' ? [mean] : [...mean];
  const stds = typeof std === 'number' ? [std] : [...std];
  if (means.length !== stds.length || means.length === 0) {
    throw new UsageError(
      `normalize: got ${means.length} means and ${stds.length} deviations; give one of each per channel`,
    );
  }
  for (const value of means) {
    if (!Number.isFinite(value)) throw new UsageError(`normalize: mean ${value} is not a finite number`);
  }
  for (const value of stds) {
    if (!(Number.isFinite(value) && value > 0)) {
      throw new UsageError(`normalize: deviation ${value} is not a finite number > 0`);
    }
  }
  return { kind: 'normalize', mean: means, std: stds };
}

/**
 * Blanks a square with sides of `size` pixels around a random pixel (DeVries & Taylor 2017), clipped to the image.
 * Blank is 0: the mean after `normalize`, black before it.
 */
export function cutout(size: number): ValueTransform {
  checkWhole('cutout', 'size', size, 1, longestSide);
  return { kind: 'cutout', size };
}

export function applyValues(link: ValueTransform, image: Pixels, random: Random): Pixels {
  switch (link.kind) {
    case 'toTensor':
      return { shape: image.shape, values: Float32Array.from(image.values, (value) => value / 255) };
    case 'normalize':
      return normalized(image, link.mean, link.std);
    case 'cutout': {
      const values = image.values.slice();
      blank(values, image.shape, drawHole(link.size, image.shape, random));
      return { shape: image.shape, values };
    }
    default:
      return link satisfies never;
  }
}

/** Adds one number to each channel. */
export function shifted(image: Pixels, shift: readonly number[]): Image {
  const plane = image.shape[1] * image.shape[2];
  const values = Float32Array.from(image.values);
  for (let i = 0; i < values.length; i++) values[i] = values[i]! + shift[Math.floor(i / plane)]!;
  return { shape: image.shape, values };
}

/** The value for `channel` in a list with one value for all channels or one for each. */
export function perChannel(values: readonly number[], channel: number, channels: number): number {
  if (values.length !== 1 && values.length !== channels) {
    throw new UsageError(
      `normalize: got ${values.length} means and deviations for images with ${channels} channels; ` +
        'give one per channel, or one for all',
    );
  }
  return values.length === 1 ? values[0]! : values[channel]!;
}

function normalized(image: Pixels, mean: readonly number[], std: readonly number[]): Image {
  const [channels, height, width] = image.shape;
  const values = new Float32Array(image.values.length);
  for (let c = 0; c < channels; c++) {
    const m = perChannel(mean, c, channels);
    const s = perChannel(std, c, channels);
    const end = (c + 1) * height * width;
    for (let i = c * height * width; i < end; i++) values[i] = (image.values[i]! - m) / s;
  }
  return { shape: image.shape, values };
}

/** A rectangle of the output; `to` is exclusive. */
export interface Hole {
  readonly rows: readonly [from: number, to: number];
  readonly columns: readonly [from: number, to: number];
}

/** Draws the center of a square, row first, and clips the square to the image. */
export function drawHole(size: number, [, height, width]: ImageShape, random: Random): Hole {
  const span = (side: number): [number, number] => {
    const from = random.integer(side) - Math.floor(size / 2);
    return [Math.max(0, from), Math.min(side, from + size)];
  };
  return { rows: span(height), columns: span(width) };
}

/** Sets a rectangle of an image [C, H, W] to 0. */
export function blank(
  values: Pixels['values'],
  [channels, height, width]: ImageShape,
  { rows, columns }: Hole,
): void {
  for (let c = 0; c < channels; c++) {
    for (let y = rows[0]; y < rows[1]; y++) {
      const row = (c * height + y) * width;
      values.fill(0, row + columns[0], row + columns[1]);
    }
  }
}
