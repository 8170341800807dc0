/**
 * Resizes bytes exactly as Pillow's `Image.resize` with bilinear interpolation does (its `Resample.c`), and computes
 * torchvision's side lengths and crop offsets. Only the rows and columns of the wanted window are computed.
 *
 * Two passes: each row of the source is resized to the window's columns and rounded to bytes, then added to all rows
 * of the output that it takes part in. When an image shrinks, a pixel is a weighted mean of all that it covers
 * (antialiasing). Weights are whole numbers of 2⁻²².
 */

import { centerOffset } from './center.ts';

/** Bits of a weight behind the point; a sum of 255 · 2²² fits into 32 bits. */
export const precision = 22;
/** Half of a unit in a sum, so that cutting off the bits behind the point rounds. */
export const half: number = 1 << (precision - 1);

/** [height, width] in pixels. */
export type Sides = readonly [height: number, width: number];

/** The part of a resized image that is wanted. */
export interface ResizeWindow {
  readonly top: number;
  readonly left: number;
  readonly height: number;
  readonly width: number;
}

/** The source pixels of some output pixels along one axis: `count[i]` from `first[i]` on, each with a weight. */
export interface Axis {
  readonly first: Int32Array;
  readonly count: Int32Array;
  /** [output pixels][taps], in units of 2⁻²². */
  readonly weights: Int32Array;
  readonly taps: number;
}

/** The weights for images of one size. */
export interface ResizePlan {
  readonly source: Sides;
  readonly window: ResizeWindow;
  readonly rows: Axis;
  readonly columns: Axis;
}

/** The sides after torchvision's `Resize`: a single number is the shorter side, and the other one is rounded down. */
export function resizedSides([height, width]: Sides, size: number | Sides): Sides {
  if (typeof size !== 'number') return size;
  const long = Math.trunc((size * Math.max(height, width)) / Math.min(height, width));
  return width <= height ? [long, size] : [size, long];
}

/** The center of an image of `sides`, `crop` pixels large. Crops that are too large would need padding. */
export function centerWindow([height, width]: Sides, [h, w]: Sides): ResizeWindow {
  return { top: centerOffset(height, h), left: centerOffset(width, w), height: h, width: w };
}

/** Computes the weights that turn images of `source` into the `window` of images of `output`. */
export function planResize(source: Sides, output: Sides, window?: ResizeWindow): ResizePlan {
  const wanted = window ?? { top: 0, left: 0, height: output[0], width: output[1] };
  return {
    source,
    window: wanted,
    rows: axisOf(source[0], output[0], wanted.top, wanted.height),
    columns: axisOf(source[1], output[1], wanted.left, wanted.width),
  };
}

/** The weights of output pixels `from` to `from + length` along one axis. The order of operations is Pillow's. */
function axisOf(input: number, output: number, from: number, length: number): Axis {
  const scale = input / output;
  // The reach of a pixel, in source pixels: less than 1 never occurs, so enlarging interpolates between two.
  const support = Math.max(scale, 1);
  const inverse = 1 / support;
  const taps = Math.min(2 * Math.ceil(support) + 1, input);
  const first = new Int32Array(length);
  const count = new Int32Array(length);
  const weights = new Int32Array(length * taps);
  const exact = new Float64Array(taps);
  for (let i = 0; i < length; i++) {
    const center = (from + i + 0.5) * scale;
    const begin = Math.max(0, Math.trunc(center - support + 0.5));
    const end = Math.min(input, Math.trunc(center + support + 0.5));
    let sum = 0;
    for (let x = begin; x < end; x++) {
      const distance = Math.abs((x - center + 0.5) * inverse);
      const weight = distance < 1 ? 1 - distance : 0;
      exact[x - begin] = weight;
      sum += weight;
    }
    first[i] = begin;
    count[i] = end - begin;
    for (let x = 0; x < end - begin; x++) {
      const share = sum === 0 ? exact[x]! : exact[x]! / sum;
      weights[i * taps + x] = Math.trunc(share * (1 << precision) + 0.5);
    }
  }
  return { first, count, weights, taps };
}

/**
 * Resizes an image of one channel, or of three whose values are interleaved, as decoders return them. The window is
 * written to `out` as planes, [channels, height, width].
 */
export function resizePixels(
  { source: [, sourceWidth], window: { height, width }, rows, columns }: ResizePlan,
  source: Uint8Array,
  channels: 1 | 3,
  out: Uint8Array,
): void {
  const resizeRow = channels === 1 ? resizeRowOfOne : resizeRowOfThree;
  // [channels][width], and for each row of the output such a row.
  const row = new Uint8Array(channels * width);
  const sums = new Int32Array(height * row.length).fill(half);
  const end = rows.first[height - 1]! + rows.count[height - 1]!;
  let oldest = 0;
  for (let y = rows.first[0]!; y < end; y++) {
    resizeRow(columns, source, y * sourceWidth * channels, row);
    // The rows of the output that row `y` takes part in follow each other.
    while (rows.first[oldest]! + rows.count[oldest]! <= y) oldest++;
    for (let i = oldest; i < height && rows.first[i]! <= y; i++) {
      const weight = rows.weights[i * rows.taps + y - rows.first[i]!]!;
      if (weight !== 0) addRow(sums, i * row.length, row, weight);
    }
  }
  for (let y = 0, at = 0; y < height; y++) {
    for (let c = 0; c < channels; c++) {
      const to = (c * height + y) * width;
      for (let x = 0; x < width; x++) out[to + x] = byteOf(sums[at++]!);
    }
  }
}

function addRow(sums: Int32Array, at: number, row: Uint8Array, weight: number): void {
  for (let x = 0; x < row.length; x++) sums[at + x] = sums[at + x]! + Math.imul(row[x]!, weight);
}

/** The columns of the row that starts at `from`. */
function resizeRowOfOne(
  { first, count, weights, taps }: Axis,
  source: Uint8Array,
  from: number,
  row: Uint8Array,
): void {
  for (let x = 0; x < row.length; x++) {
    let sum = half;
    let at = from + first[x]!;
    const end = x * taps + count[x]!;
    for (let i = x * taps; i < end; i++, at++) sum = (sum + Math.imul(source[at]!, weights[i]!)) | 0;
    row[x] = byteOf(sum);
  }
}

/** The same for RGB, at almost twice the speed of three passes. */
function resizeRowOfThree(
  { first, count, weights, taps }: Axis,
  source: Uint8Array,
  from: number,
  row: Uint8Array,
): void {
  const width = first.length;
  for (let x = 0; x < width; x++) {
    let [red, green, blue] = [half, half, half];
    let at = from + first[x]! * 3;
    const end = x * taps + count[x]!;
    for (let i = x * taps; i < end; i++, at += 3) {
      const weight = weights[i]!;
      red = (red + Math.imul(source[at]!, weight)) | 0;
      green = (green + Math.imul(source[at + 1]!, weight)) | 0;
      blue = (blue + Math.imul(source[at + 2]!, weight)) | 0;
    }
    row[x] = byteOf(red);
    row[width + x] = byteOf(green);
    row[2 * width + x] = byteOf(blue);
  }
}

/** A sum of weighted bytes, rounded. Rounded weights may add up to a little more than 1. */
function byteOf(sum: number): number {
  const byte = sum >> precision;
  return byte > 255 ? 255 : byte;
}
