/**
 * Transforms that resize bytes, as torchvision does for Pillow's images: bilinear interpolation with antialiasing. Where a
 * crop follows, only the rows and columns that it keeps are computed.
 */
import { UsageError } from '../../errors.ts';
import { checkOptions, checkWhole } from '../../options.ts';
import type { ImageShape } from '../dataset.ts';
import type { Random } from '../random.ts';
import {
  centerWindow,
  planResize,
  type ResizePlan,
  type ResizeWindow,
  resizedSides,
  resizePixels,
  type Sides,
} from '../resize.ts';
import { openResizer, type Resizer } from '../resize-kernel.ts';
import { croppedShape, type GeometricTransform } from './geometry.ts';
import {
  type Bytes,
  between,
  checkedSize,
  checkRange,
  longestSide,
  roundHalfEven,
  type Size,
  sidesOf,
  windowOf,
} from './pixels.ts';

export type ResizingTransform =
  | { readonly kind: 'resize'; readonly size: number | Sides }
  | { readonly kind: 'scaleJitter'; readonly least: number; readonly most: number }
  | ResizedCrop;

interface ResizedCrop {
  readonly kind: 'randomResizedCrop';
  readonly size: Sides;
  readonly scale: readonly [least: number, most: number];
  readonly ratio: readonly [least: number, most: number];
}

export interface ResizedCropOptions {
  readonly scale?: readonly [least: number, most: number];
  readonly ratio?: readonly [least: number, most: number];
}

/** A crop that takes a part of a resized image. */
export type Crop = Extract<GeometricTransform, { readonly kind: 'centerCrop' | 'randomCrop' }>;

/**
 * Resizes with bilinear interpolation and antialiasing, to the same bytes as torchvision does for Pillow's images. A
 * single number is the shorter side; the other one keeps the aspect ratio. It takes bytes, so it comes before
 * `toTensor`; values that a function made are first rounded to whole numbers from 0 to 255.
 */
export function resize(size: Size): ResizingTransform {
  const sides = sidesOf('resize', size);
  return { kind: 'resize', size: Array.isArray(size) ? sides : sides[0] };
}

/**
 * Resizes the shorter side to a uniformly random whole number of pixels from `least` to `most`, both included: the
 * scale jitter of the VGG paper, with a `randomCrop(224)` behind it. Draws once.
 */
export function scaleJitter(least = 256, most = 512): ResizingTransform {
  checkWhole('scaleJitter', 'least', least, 1, longestSide);
  checkWhole('scaleJitter', 'most', most, 1, longestSide);
  if (least > most) {
    throw new UsageError(`scaleJitter: least ${least} is above most ${most}; swap them`);
  }
  return { kind: 'scaleJitter', least, most };
}

/**
 * Crops a window of random area and aspect ratio and resizes it to `size`: torchvision's RandomResizedCrop, with its
 * defaults. `scale` is the window's share of the area, `ratio` its width divided by its height. It draws area and ratio up
 * to ten times, until the window fits, then its top and left; if none fits, it takes the center without a draw.
 */
export function randomResizedCrop(size: Size, options: ResizedCropOptions = {}): ResizedCrop {
  checkOptions<ResizedCropOptions>('randomResizedCrop', options, { scale: 'optional', ratio: 'optional' });
  const { scale = [0.08, 1], ratio = [3 / 4, 4 / 3] } = options;
  checkRange('randomResizedCrop', 'scale', scale, 0, 1);
  checkRange('randomResizedCrop', 'ratio', ratio, 1 / 1000, 1000);
  return { kind: 'randomResizedCrop', size: sidesOf('randomResizedCrop', size), scale, ratio };
}

/** Applies `link`, and the crop behind it, if any. */
export function applyResizing(
  link: ResizingTransform,
  image: Bytes,
  random: Random,
  crop: Crop | undefined,
): Bytes {
  const [channels, height, width] = image.shape;
  if (link.kind === 'randomResizedCrop') {
    const { top, left, ...sides } = resizedWindow([height, width], link, random);
    const part: ImageShape = [channels, sides.height, sides.width];
    const isWhole = part[1] === height && part[2] === width;
    return resized(isWhole ? image : windowOf(image, top, left, part), link.size, random, crop);
  }
  const shorter =
    link.kind === 'resize' ? link.size : link.least + random.integer(link.most - link.least + 1);
  return resized(image, resizedSides([height, width], shorter), random, crop);
}

/** The image resized to `sides`, then cropped. A crop that is larger than the image takes zeros. */
function resized(image: Bytes, sides: Sides, random: Random, crop: Crop | undefined): Bytes {
  const [channels, height, width] = image.shape;
  const kept: Sides = crop ? [Math.min(crop.size[0], sides[0]), Math.min(crop.size[1], sides[1])] : sides;
  const wanted = cropWindow(crop, kept, sides, random);
  const shape = checkedSize(
    'resize',
    [channels, wanted.height, wanted.width],
    'give a smaller size, or both sides',
  );
  const out =
    sides[0] === height && sides[1] === width
      ? windowOf(image, wanted.top, wanted.left, shape)
      : { shape, values: resizedPlanes(image, sides, wanted) };
  if (crop?.kind !== 'centerCrop' || (crop.size[0] === kept[0] && crop.size[1] === kept[1])) return out;
  const center = centerWindow(kept, crop.size);
  return windowOf(out, center.top, center.left, [channels, ...crop.size]);
}

function cropWindow(crop: Crop | undefined, kept: Sides, sides: Sides, random: Random): ResizeWindow {
  if (crop?.kind !== 'randomCrop') return centerWindow(sides, kept);
  croppedShape([1, ...sides], crop.size);
  const top = random.integer(sides[0] - kept[0] + 1);
  return { top, left: random.integer(sides[1] - kept[1] + 1), height: kept[0], width: kept[1] };
}

function resizedPlanes({ shape, values }: Bytes, sides: Sides, wanted: ResizeWindow): Uint8Array {
  const [channels, height, width] = shape;
  const plan = planResize([height, width], sides, wanted);
  const area = wanted.height * wanted.width;
  const out = new Uint8Array(channels * area);
  if (channels === 3) {
    resizer ??= openResizer();
    resizer(plan, interleaved(plan, values), out);
    return out;
  }
  const plane = height * width;
  for (let c = 0; c < channels; c++) {
    resizePixels(
      plan,
      values.subarray(c * plane, (c + 1) * plane),
      1,
      out.subarray(c * area, (c + 1) * area),
    );
  }
  return out;
}

/** This thread's kernel for RGB, and memory for its input. */
let resizer: Resizer | undefined;
let pixels = new Uint8Array(0);

/** Planes as interleaved RGB; only those rows that the plan reads. */
function interleaved({ source: [height, width], rows }: ResizePlan, planes: Uint8Array): Uint8Array {
  const plane = height * width;
  if (pixels.length < 3 * plane) pixels = new Uint8Array(3 * plane);
  const last = rows.first.length - 1;
  const end = (rows.first[last]! + rows.count[last]!) * width;
  for (let from = rows.first[0]! * width, to = 3 * from; from < end; from++, to += 3) {
    pixels[to] = planes[from]!;
    pixels[to + 1] = planes[from + plane]!;
    pixels[to + 2] = planes[from + 2 * plane]!;
  }
  return pixels;
}

const mostTries = 10;

/** torchvision's `RandomResizedCrop.get_params`. */
export function resizedWindow(
  [height, width]: Sides,
  { scale, ratio }: ResizedCrop,
  random: Random,
): ResizeWindow {
  const logarithms = [Math.log(ratio[0]), Math.log(ratio[1])] as const;
  for (let tries = 0; tries < mostTries; tries++) {
    const area = height * width * between(random, scale);
    const aspect = Math.exp(between(random, logarithms));
    const w = roundHalfEven(Math.sqrt(area * aspect));
    const h = roundHalfEven(Math.sqrt(area / aspect));
    if (w < 1 || w > width || h < 1 || h > height) continue;
    const top = random.integer(height - h + 1);
    return { top, left: random.integer(width - w + 1), height: h, width: w };
  }
  const own = width / height;
  const w = own > ratio[1] ? Math.max(1, roundHalfEven(height * ratio[1])) : width;
  const h = own < ratio[0] ? Math.max(1, roundHalfEven(width / ratio[0])) : height;
  return { top: Math.floor((height - h) / 2), left: Math.floor((width - w) / 2), height: h, width: w };
}
