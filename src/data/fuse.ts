/**
 * Fuses a chain of known transforms into one pass over an image's bytes: geometry becomes an offset and a mirror
 * (`place`), values become one multiply and one add per channel, which the CPU engine tabulates for the 256 byte
 * values. `applyFused` is the plain reference.
 *
 * Draws are the same as in `applyTransform`, and values differ only by rounding: at most 5 · 2⁻²⁴ · (|out| + |offset|)
 * with one `normalize`, 1 ulp without.
 */

import { centerOffset } from './center.ts';
import type { ImageShape } from './dataset.ts';
import type { Random } from './random.ts';
import { type ColorShiftTransform, drawShift } from './transforms/color-shift.ts';
import {
  centerCroppedShape,
  croppedShape,
  type GeometricTransform,
  paddedShape,
} from './transforms/geometry.ts';
import { checkChannels } from './transforms/pixels.ts';
import { blank, drawHole, type Hole, perChannel } from './transforms/values.ts';
import { flatten, type SimpleTransform, type Transform } from './transforms.ts';

/**
 * A chain of known transforms as one pass over the bytes. Plain data, because it is sent to workers:
 * out[c][y][x] = byte(c, y', x') · scale[c] + offset[c], where byte is 0 outside the source image.
 */
export interface FusedTransform {
  readonly source: ImageShape;
  readonly output: ImageShape;
  /** For each channel; float32 values. */
  readonly scale: readonly number[];
  readonly offset: readonly number[];
  /** What moves pixels or shifts colors. They draw from the sample's random stream in this order. */
  readonly links: readonly (GeometricTransform | ColorShiftTransform)[];
  /** For each channel: what a color shift of 1 adds to the output; 0 without one. */
  readonly shiftScale: readonly number[];
  /** Side of the square that is blanked at the end; 0 for none. */
  readonly cutout: number;
}

/** Position of a sample's output in its source: y' = y + top; x' = x + left, or left − x if flipped. */
export interface Placement {
  readonly top: number;
  readonly left: number;
  readonly flip: boolean;
  /** The blanked rectangle. */
  readonly hole: Hole | undefined;
  /** Added to the output of each channel. */
  readonly shift: readonly number[] | undefined;
}

/**
 * Fuses a chain for images of `shape`. Returns undefined if it contains a custom function, resizes, rotates or
 * changes colors, or cannot be fused: a `pad` after a crop must blank what the crop cut off, and a `pad` after
 * `normalize` or `colorShift` fills with 0, not black. A `centerCrop` of a smaller image pads it.
 * @throws UsageError if a transform does not fit the image, like `applyTransform`.
 */
export const fuseTransform = (transform: Transform, shape: ImageShape): FusedTransform | undefined =>
  fuseChain(flatten(transform), shape);

/** The same for a flattened chain. */
export function fuseChain(chain: readonly SimpleTransform[], shape: ImageShape): FusedTransform | undefined {
  const channels = shape[0];
  const scale = new Array<number>(channels).fill(1);
  const offset = new Array<number>(channels).fill(0);
  const links: (GeometricTransform | ColorShiftTransform)[] = [];
  let shiftScale: number[] | undefined;
  let output = shape;
  let cropped = false;
  let normalized = false;
  let scaled = false;
  let cutout = 0;
  for (const link of chain) {
    // Blanking comes last and works on floats.
    if (typeof link === 'function' || cutout > 0) return undefined;
    switch (link.kind) {
      case 'resize':
      case 'scaleJitter':
      case 'randomResizedCrop':
      case 'randomRotation':
      case 'colorJitter':
      case 'grayscale':
      case 'randomGrayscale':
        return undefined;
      case 'colorShift':
        if (!scaled || shiftScale) return undefined;
        checkChannels('colorShift', channels, [3]);
        shiftScale = new Array<number>(channels).fill(1);
        links.push(link);
        break;
      case 'centerCrop':
        if ((link.size[0] > output[1] || link.size[1] > output[2]) && (cropped || normalized || shiftScale))
          return undefined;
        output = centerCroppedShape(output, link.size);
        links.push(link);
        cropped = true;
        break;
      case 'pad':
        if (link.padding > 0 && (cropped || normalized || shiftScale)) return undefined;
        output = paddedShape(output, link.padding);
        links.push(link);
        break;
      case 'randomHorizontalFlip':
        links.push(link);
        break;
      case 'randomCrop':
        output = croppedShape(output, link.size);
        links.push(link);
        cropped = true;
        break;
      case 'cutout':
        if (!scaled) return undefined;
        cutout = link.size;
        break;
      case 'toTensor':
        scaled = true;
        for (let c = 0; c < channels; c++) {
          scale[c] = scale[c]! / 255;
          offset[c] = offset[c]! / 255;
        }
        break;
      case 'normalize':
        for (let c = 0; c < channels; c++) {
          const std = perChannel(link.std, c, channels);
          scale[c] = scale[c]! / std;
          offset[c] = (offset[c]! - perChannel(link.mean, c, channels)) / std;
          if (shiftScale) shiftScale[c] = shiftScale[c]! / std;
        }
        normalized = true;
        break;
      default:
        return link satisfies never;
    }
  }
  return {
    source: shape,
    output,
    scale: scale.map(Math.fround),
    offset: offset.map(Math.fround),
    links,
    shiftScale: shiftScale ?? new Array<number>(channels).fill(0),
    cutout,
  };
}

/** Draws one sample's placement, with the same draws in the same order as `applyTransform`. */
export function place(fused: Omit<FusedTransform, 'scale' | 'offset'>, random: Random): Placement {
  let [, height, width] = fused.source;
  let top = 0;
  let left = 0;
  let step = 1; // −1 if flipped: x' = left + step · x
  let shift: number[] | undefined;
  for (const link of fused.links) {
    switch (link.kind) {
      case 'pad':
        top -= link.padding;
        left -= step * link.padding;
        height += 2 * link.padding;
        width += 2 * link.padding;
        break;
      case 'centerCrop':
        top += centerOffset(height, link.size[0]);
        left += step * centerOffset(width, link.size[1]);
        [height, width] = link.size;
        break;
      case 'randomHorizontalFlip':
        if (random.uniform() < link.probability) {
          left += step * (width - 1);
          step = -step;
        }
        break;
      case 'randomCrop':
        top += random.integer(height - link.size[0] + 1);
        left += step * random.integer(width - link.size[1] + 1);
        [height, width] = link.size;
        break;
      case 'colorShift':
        shift = drawShift(link, random).map((amount, channel) => amount * fused.shiftScale[channel]!);
        break;
      default:
        link satisfies never;
    }
  }
  const hole = fused.cutout > 0 ? drawHole(fused.cutout, fused.output, random) : undefined;
  return { top, left, flip: step < 0, hole, shift };
}

/** Numbers of a placement in a list of them. */
export const placementNumbers = 10;

/** Writes placement `i` of a list. */
export function writePlacement(
  list: Float64Array,
  i: number,
  { top, left, flip, hole, shift }: Placement,
): void {
  const [rows, columns] = [hole?.rows ?? [0, 0], hole?.columns ?? [0, 0]];
  list.set([top, left, flip ? 1 : 0, ...rows, ...columns, ...(shift ?? [])], i * placementNumbers);
}

/** Reads placement `i` of a list that `writePlacement` wrote for the same transform. */
export function readPlacement(list: Float64Array, i: number, { links, cutout }: FusedTransform): Placement {
  const numbers = list.subarray(i * placementNumbers, (i + 1) * placementNumbers);
  const [top = 0, left = 0, flip = 0, from = 0, to = 0, first = 0, last = 0] = numbers;
  return {
    top,
    left,
    flip: flip === 1,
    hole: cutout > 0 ? { rows: [from, to], columns: [first, last] } : undefined,
    shift: links.some(({ kind }) => kind === 'colorShift') ? Array.from(numbers.subarray(7)) : undefined,
  };
}

/** The value of a byte. The product is rounded to float32 here, the sum when it is stored. */
export const fusedValue = (byte: number, scale: number, offset: number): number =>
  Math.fround(byte * scale) + offset;

/** Runs the fused pass: `bytes` is one source image [C, H, W], `out` its output [C, H, W]. */
export function applyFused(
  fused: FusedTransform,
  bytes: Uint8Array,
  placement: Placement,
  out: Float32Array,
): void {
  const [channels, height, width] = fused.output;
  const [, sourceHeight, sourceWidth] = fused.source;
  const step = placement.flip ? -1 : 1;
  for (let c = 0; c < channels; c++) {
    const scale = fused.scale[c]!;
    const offset = fused.offset[c]! + (placement.shift?.[c] ?? 0);
    for (let y = 0; y < height; y++) {
      const sourceY = y + placement.top;
      const insideRow = sourceY >= 0 && sourceY < sourceHeight;
      for (let x = 0; x < width; x++) {
        const sourceX = placement.left + step * x;
        const inside = insideRow && sourceX >= 0 && sourceX < sourceWidth;
        const byte = inside ? bytes[(c * sourceHeight + sourceY) * sourceWidth + sourceX]! : 0;
        out[(c * height + y) * width + x] = fusedValue(byte, scale, offset);
      }
    }
  }
  if (placement.hole) blank(out, fused.output, placement.hole);
}
