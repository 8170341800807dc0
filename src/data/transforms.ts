/**
 * Image transforms with torchvision's names and behavior: `pad` fills with 0, `toTensor` scales bytes to 0–1,
 * `normalize` subtracts the mean and divides by the deviation of each channel. Known transforms are data, so a chain of
 * them compiles into one fused kernel (`fuse.ts`), except `resize`. A function of an image and a random source is also
 * a transform; it runs in plain TypeScript.
 *
 * Use random transforms only for training; a test set needs only `toTensor` (and `normalize`). Draws follow the order of
 * the chain: a flip always draws once (`uniform() < probability`), a crop twice (top, then left).
 */
import { UsageError } from '../errors.ts';
import { checkWhole, isObject, shown } from '../options.ts';
import type { ImageShape } from './dataset.ts';
import { type Random, random, streams } from './random.ts';
import { centerOffset, centerWindow, planResize, resizedSides, resizePixels, type Sides } from './resize.ts';
import type { ChannelStatistics } from './statistics.ts';

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

export type Transform =
  | { readonly kind: 'resize'; readonly size: number | Sides }
  | { readonly kind: 'centerCrop'; readonly size: Sides }
  | { readonly kind: 'pad'; readonly padding: number }
  | { readonly kind: 'randomHorizontalFlip'; readonly probability: number }
  | { readonly kind: 'randomCrop'; readonly size: readonly [height: number, width: number] }
  | { readonly kind: 'toTensor' }
  | { readonly kind: 'normalize'; readonly mean: readonly number[]; readonly std: readonly number[] }
  | { readonly kind: 'cutout'; readonly size: number }
  | { readonly kind: 'compose'; readonly transforms: readonly Transform[] }
  | ImageFunction;

/** One link of a flattened chain. */
export type SimpleTransform = Exclude<Transform, { readonly kind: 'compose' }>;

/** The most pixels per side of padding, crops or resized images. */
const longestSide = 10_000;
/** The most values of one image. */
const mostValues = 2 ** 26;

/**
 * Resizes with bilinear interpolation and antialiasing, to the same bytes as torchvision does for Pillow's images. A
 * single number is the shorter side; the other one keeps the aspect ratio. It takes bytes, so it comes before
 * `toTensor`; values that a function made are first rounded to whole numbers from 0 to 255.
 */
export function resize(size: number | readonly [height: number, width: number]): Transform {
  const sides = sidesOf('resize', size);
  return { kind: 'resize', size: Array.isArray(size) ? sides : sides[0] };
}

/** Crops the center to `size` (a side, or height and width). A smaller image is padded with zeros. */
export function centerCrop(size: number | readonly [height: number, width: number]): Transform {
  return { kind: 'centerCrop', size: sidesOf('centerCrop', size) };
}

function sidesOf(where: string, size: number | readonly [height: number, width: number]): Sides {
  if (Array.isArray(size) && size.length !== 2) {
    throw new UsageError(
      `${where}: size has ${size.length} numbers; give one, or a list [height, width] of two`,
    );
  }
  const [height, width] = Array.isArray(size) ? (size as readonly number[]) : [size, size];
  for (const side of [height, width]) checkWhole(where, 'size', side, 1, longestSide);
  return [height as number, width as number];
}

/** Adds `padding` rows and columns of zeros on all four sides. */
export function pad(padding: number): Transform {
  checkWhole('pad', 'padding', padding, 0, longestSide);
  return { kind: 'pad', padding };
}

/** Flips left and right with the given probability. */
export function randomHorizontalFlip(probability = 0.5): Transform {
  if (!(probability >= 0 && probability <= 1)) {
    throw new UsageError(`randomHorizontalFlip: probability ${probability} is not between 0 and 1`);
  }
  return { kind: 'randomHorizontalFlip', probability };
}

/** Crops a window of `size` (a side, or height and width) at a uniformly random position. */
export function randomCrop(size: number | readonly [height: number, width: number]): Transform {
  return { kind: 'randomCrop', size: sidesOf('randomCrop', size) };
}

/** Scales 0–255 to 0–1. */
export function toTensor(): Transform {
  return { kind: 'toTensor' };
}

/**
 * Computes (value − mean) / std for each channel, after `toTensor`: mean and std are for pixels scaled to 0–1, as from
 * `channelStatistics`. A single value applies to all channels.
 */
export function normalize(mean: number | readonly number[], std: number | readonly number[]): Transform {
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

/** The transform of evaluation, without randomness: `toTensor`, then `normalize` if given. */
export function inputTransform(normalization: ChannelStatistics | undefined): Transform {
  return normalization ? compose([toTensor(), normalize(normalization.mean, normalization.std)]) : toTensor();
}

/**
 * Blanks a square with sides of `size` pixels around a random pixel (DeVries & Taylor 2017), clipped to the image.
 * Blank is 0: the mean after `normalize`, black before it.
 */
export function cutout(size: number): Transform {
  checkWhole('cutout', 'size', size, 1, longestSide);
  return { kind: 'cutout', size };
}

/** Applies transforms one after another. Nested chains are flattened. */
export function compose(transforms: readonly Transform[]): Transform {
  if (!Array.isArray(transforms)) {
    throw new UsageError(`compose: ${shown(transforms)} is not a list of transforms`);
  }
  for (const transform of transforms) {
    if (typeof transform === 'function' || isObject(transform)) continue;
    throw new UsageError(`compose: ${shown(transform)} is not a transform, such as toTensor()`);
  }
  const chain = transforms.flatMap(flatten);
  const scaled = chain.findIndex((link) => kindOf(link) === 'toTensor');
  if (chain.some((link, i) => i > scaled && scaled >= 0 && kindOf(link) === 'toTensor')) {
    throw new UsageError(
      'compose: the chain contains toTensor twice; pixels are scaled to 0–1 only once, so remove one',
    );
  }
  if (chain.some((link, i) => i < scaled && kindOf(link) === 'normalize')) {
    throw new UsageError('compose: normalize comes before toTensor; put it after, where pixels are 0–1');
  }
  if (chain.some((link, i) => i > scaled && scaled >= 0 && kindOf(link) === 'resize')) {
    throw new UsageError('compose: resize comes after toTensor; put it before, where pixels are bytes');
  }
  return { kind: 'compose', transforms: chain };
}

/** The transforms of a chain in order, without nested `compose`. */
export function flatten(transform: Transform): readonly SimpleTransform[] {
  return isCompose(transform) ? transform.transforms.flatMap(flatten) : [transform];
}

/** @throws UsageError if a chain of known transforms does not produce the floats that a network takes. */
export function requireTensor(transform: Transform): void {
  if (typeof transform !== 'function' && !isObject(transform)) {
    throw new UsageError(`transform: ${shown(transform)} is not a transform, such as toTensor()`);
  }
  const chain = flatten(transform);
  if (!chain.some((link) => typeof link === 'function' || link.kind === 'toTensor')) {
    const kinds = chain.map(kindOf).join(', ') || 'nothing';
    throw new UsageError(`transform: the chain (${kinds}) does not scale bytes to 0–1; add toTensor() to it`);
  }
}

/** Converts an image of a data set, [C, H, W] bytes, to the input of a chain of transforms. */
export function imageFromBytes(bytes: Uint8Array, shape: ImageShape): Image {
  return { shape, values: Float32Array.from(bytes) };
}

/** Applies any transform, including custom functions, to one image. Draws from `random` in the order of the chain. */
export function applyTransform(transform: Transform, image: Image, random: Random): Image {
  const chain = flatten(transform);
  return chain.reduce((current, link, i) => {
    if (isKind(link, 'resize')) return resized(current, link.size, chain[i + 1]);
    return applyLink(link, current, random);
  }, image);
}

/** The output shape of a transform for images of `shape`. Custom functions are tried on a black image. */
export function transformedShape(transform: Transform, shape: ImageShape): ImageShape {
  const [channels, height, width] = shape;
  const blank = { shape, values: new Float32Array(channels * height * width) };
  return applyTransform(transform, blank, random(0, streams.transform)).shape;
}

/** Resizes; if the image is cropped next, only what stays is computed, and the crop then has nothing to do. */
function resized(image: Image, size: number | Sides, next: SimpleTransform | undefined): Image {
  const [channels, height, width] = image.shape;
  const [tall, wide] = resizedSides([height, width], size);
  const [h, w] = isKind(next, 'centerCrop') ? next.size : [tall, wide];
  const cropped: Sides = [Math.min(h, tall), Math.min(w, wide)];
  const shape = checkedSize('resize', [channels, ...cropped], 'give a smaller size, or both sides');
  const plan = planResize([height, width], [tall, wide], centerWindow([tall, wide], cropped));
  const bytes = Uint8Array.from(Uint8ClampedArray.from(image.values));
  const [plane, area] = [height * width, cropped[0] * cropped[1]];
  const out = new Uint8Array(channels * area);
  for (let c = 0; c < channels; c++) {
    resizePixels(plan, bytes.subarray(c * plane, (c + 1) * plane), 1, out.subarray(c * area, (c + 1) * area));
  }
  return { shape, values: Float32Array.from(out) };
}

function applyLink(
  link: Exclude<SimpleTransform, { readonly kind: 'resize' }>,
  image: Image,
  random: Random,
): Image {
  if (typeof link === 'function') return checkedImage(link(image, random));
  switch (link.kind) {
    case 'centerCrop': {
      const [, height, width] = image.shape;
      const [top, left] = [centerOffset(height, link.size[0]), centerOffset(width, link.size[1])];
      return window(image, top, left, centerCroppedShape(image.shape, link.size));
    }
    case 'pad':
      return window(image, -link.padding, -link.padding, paddedShape(image.shape, link.padding));
    case 'randomHorizontalFlip':
      return random.uniform() < link.probability ? mirrored(image) : image;
    case 'randomCrop': {
      const output = croppedShape(image.shape, link.size);
      const top = random.integer(image.shape[1] - output[1] + 1);
      const left = random.integer(image.shape[2] - output[2] + 1);
      return window(image, top, left, output);
    }
    case 'toTensor':
      return { shape: image.shape, values: image.values.map((value) => value / 255) };
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

export function paddedShape([channels, height, width]: ImageShape, padding: number): ImageShape {
  return checkedSize('pad', [channels, height + 2 * padding, width + 2 * padding], 'pad less');
}

export function centerCroppedShape([channels]: ImageShape, [height, width]: Sides): ImageShape {
  return checkedSize('centerCrop', [channels, height, width], 'crop to less');
}

/** @throws UsageError if images of `shape` are too large. */
function checkedSize(where: string, shape: ImageShape, advice: string): ImageShape {
  const values = shape.reduce((product, side) => product * side);
  if (values <= mostValues) return shape;
  throw new UsageError(
    `${where}: images of ${shape.join('×')} have ${values} values, above the limit of ${mostValues}; ${advice}`,
  );
}

/** @throws UsageError if the window is larger than the image. */
export function croppedShape(shape: ImageShape, size: readonly [height: number, width: number]): ImageShape {
  const [channels, height, width] = shape;
  if (size[0] > height || size[1] > width) {
    throw new UsageError(
      `randomCrop: the window of ${size.join('×')} is larger than the image of ${height}×${width}; ` +
        'crop less, or pad the image first',
    );
  }
  return [channels, size[0], size[1]];
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

/** The part of `image` that starts at (top, left); 0 outside the image. */
function window(image: Image, top: number, left: number, shape: ImageShape): Image {
  const [channels, height, width] = shape;
  const [, sourceHeight, sourceWidth] = image.shape;
  const values = new Float32Array(channels * height * width);
  const from = Math.max(left, 0);
  const to = Math.min(left + width, sourceWidth);
  for (let c = 0; c < channels; c++) {
    for (let y = Math.max(0, -top); y < height && y + top < sourceHeight; y++) {
      const row = (c * sourceHeight + y + top) * sourceWidth;
      values.set(image.values.subarray(row + from, row + to), (c * height + y) * width + from - left);
    }
  }
  return { shape, values };
}

function mirrored(image: Image): Image {
  const width = image.shape[2];
  const values = image.values.slice();
  for (let row = 0; row < values.length; row += width) values.subarray(row, row + width).reverse();
  return { shape: image.shape, values };
}

function normalized(image: Image, mean: readonly number[], std: readonly number[]): Image {
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
  values: Float32Array,
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

/** Checks the result of a custom function, which may come from untyped JavaScript. */
function checkedImage(image: Image): Image {
  const shape: unknown = image?.shape;
  const valid =
    Array.isArray(shape) && shape.length === 3 && shape.every((side) => Number.isInteger(side) && side > 0);
  if (!valid || !(image.values instanceof Float32Array)) {
    throw new UsageError(
      'transform: a function did not return an image { shape: [channels, height, width], values: Float32Array }',
    );
  }
  const [channels, height, width] = image.shape;
  if (image.values.length !== channels * height * width) {
    throw new UsageError(
      `transform: a function returned ${image.values.length} values for the shape ` +
        `[${image.shape.join(', ')}], which needs ${channels * height * width}`,
    );
  }
  return image;
}

function isCompose(transform: Transform): transform is Extract<Transform, { readonly kind: 'compose' }> {
  return typeof transform !== 'function' && transform.kind === 'compose';
}

function isKind<Kind extends Exclude<SimpleTransform, ImageFunction>['kind']>(
  link: SimpleTransform | undefined,
  kind: Kind,
): link is Extract<SimpleTransform, { readonly kind: Kind }> {
  return typeof link === 'object' && link.kind === kind;
}

function kindOf(transform: Transform): string {
  return typeof transform === 'function' ? 'function' : transform.kind;
}
