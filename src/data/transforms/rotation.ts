/** Rotation as Pillow's `Image.rotate`, in every byte: fixed-point nearest neighbors, or bilinear interpolation. */
import { UsageError } from '../../errors.ts';
import { checkOptions, shown } from '../../options.ts';
import type { Random } from '../random.ts';
import { type Bytes, between, checkNumber, checkRange } from './pixels.ts';

export type Interpolation = 'nearest' | 'bilinear';

export interface RotationOptions {
  readonly interpolation?: Interpolation;
}

export interface RotationTransform {
  readonly kind: 'randomRotation';
  readonly degrees: readonly [least: number, most: number];
  readonly interpolation: Interpolation;
}

/**
 * Rotates counter-clockwise by a uniformly random angle from −`degrees` to `degrees`, or from a range [least, most]. The
 * size stays; pixels from outside are 0. It takes bytes, so it comes before `toTensor`. Draws once.
 */
export function randomRotation(
  degrees: number | readonly [least: number, most: number],
  options: RotationOptions = {},
): RotationTransform {
  checkOptions<RotationOptions>('randomRotation', options, { interpolation: 'optional' });
  const { interpolation = 'nearest' } = options;
  if (typeof degrees === 'number') checkNumber('randomRotation', 'degrees', degrees, 0, 360);
  else checkRange('randomRotation', 'degrees', degrees, -360, 360);
  if (interpolation !== 'nearest' && interpolation !== 'bilinear') {
    throw new UsageError(
      `randomRotation: interpolation ${shown(interpolation)} is not 'nearest' or 'bilinear'`,
    );
  }
  const range = typeof degrees === 'number' ? ([-degrees, degrees] as const) : degrees;
  return { kind: 'randomRotation', degrees: range, interpolation };
}

export const applyRotation = (link: RotationTransform, image: Bytes, random: Random): Bytes =>
  rotated(image, between(random, link.degrees), link.interpolation);

/** From a pixel of the output to one of the source: x' = a·x + b·y + c, y' = d·x + e·y + f. */
type Affine = readonly [a: number, b: number, c: number, d: number, e: number, f: number];

export function rotated(image: Bytes, degrees: number, interpolation: Interpolation): Bytes {
  const [channels, height, width] = image.shape;
  const angle = (-(((degrees % 360) + 360) % 360) * Math.PI) / 180;
  const [cosine, sine] = [Number(Math.cos(angle).toFixed(15)), Number(Math.sin(angle).toFixed(15))];
  const [x, y] = [width / 2, height / 2];
  const affine: Affine = [
    cosine,
    sine,
    cosine * -x + sine * -y + x,
    -sine,
    cosine,
    -sine * -x + cosine * -y + y,
  ];
  const values = new Uint8Array(channels * height * width);
  const into = { shape: image.shape, values };
  if (interpolation === 'nearest') nearest(image, affine, into);
  else bilinear(image, affine, into);
  return into;
}

/** Coordinates are multiples of 2⁻¹⁶. Sides are so small (`longestSide`) that they fit into 32 bits. */
function nearest({ shape, values }: Bytes, [a, b, c, d, e, f]: Affine, into: Bytes): void {
  const [channels, height, width] = shape;
  const fixed = (value: number): number => Math.floor(value * 65536 + 0.5);
  const plane = height * width;
  let rowX = fixed(c + a * 0.5 + b * 0.5);
  let rowY = fixed(f + d * 0.5 + e * 0.5);
  const [stepX, stepY, rowStepX, rowStepY] = [fixed(a), fixed(d), fixed(b), fixed(e)];
  for (let y = 0, at = 0; y < height; y++, rowX += rowStepX, rowY += rowStepY) {
    for (let x = 0, xx = rowX, yy = rowY; x < width; x++, at++, xx += stepX, yy += stepY) {
      const fromX = xx >> 16;
      const fromY = yy >> 16;
      if (fromX < 0 || fromX >= width || fromY < 0 || fromY >= height) continue;
      const from = fromY * width + fromX;
      for (let c0 = 0; c0 < channels; c0++) into.values[c0 * plane + at] = values[c0 * plane + from]!;
    }
  }
}

function bilinear({ shape, values }: Bytes, [a, b, c, d, e, f]: Affine, into: Bytes): void {
  const [channels, height, width] = shape;
  const plane = height * width;
  for (let y = 0, at = 0; y < height; y++) {
    for (let x = 0; x < width; x++, at++) {
      const fromX = a * (x + 0.5) + b * (y + 0.5) + c;
      const fromY = d * (x + 0.5) + e * (y + 0.5) + f;
      if (fromX < 0 || fromX >= width || fromY < 0 || fromY >= height) continue;
      const left = Math.floor(fromX - 0.5);
      const top = Math.floor(fromY - 0.5);
      const shareX = fromX - 0.5 - left;
      const shareY = fromY - 0.5 - top;
      const x0 = Math.max(left, 0);
      const x1 = Math.min(left + 1, width - 1);
      const upper = Math.max(top, 0) * width;
      // Pillow takes the upper row twice at the lower edge.
      const lower = top + 1 < height ? (top + 1) * width : upper;
      for (let from = 0, to = at; from < channels * plane; from += plane, to += plane) {
        const above = mixed(values[from + upper + x0]!, values[from + upper + x1]!, shareX);
        const below = mixed(values[from + lower + x0]!, values[from + lower + x1]!, shareX);
        into.values[to] = mixed(above, below, shareY);
      }
    }
  }
}

const mixed = (a: number, b: number, share: number): number => a + (b - a) * share;
