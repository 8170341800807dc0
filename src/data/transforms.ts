/**
 * Image transforms with torchvision's names and behavior: `pad` fills with 0, `toTensor` scales bytes to 0–1,
 * `normalize` subtracts the mean and divides by the deviation of each channel. Each family has a file in `transforms/`.
 * Known transforms are data, so chains of them are sent to workers, and the last part of a chain becomes one fused pass
 * (`fuse.ts`). A function of an image and a random source is also a transform; it runs in plain TypeScript.
 *
 * Use random transforms only for training; a test set needs only `toTensor` (and `normalize`). Draws follow the order of
 * the chain, and each transform says what it draws: a flip always draws once (`uniform() < probability`), a crop twice
 * (top, then left).
 */
import { UsageError } from '../errors.ts';
import { isObject, shown } from '../options.ts';
import type { ImageShape } from './dataset.ts';
import { type Random, random, streams } from './random.ts';
import type { ChannelStatistics } from './statistics.ts';
import { applyColor, type ColorTransform } from './transforms/color.ts';
import { type ColorShiftTransform, drawShift } from './transforms/color-shift.ts';
import { applyGeometry, type GeometricTransform } from './transforms/geometry.ts';
import {
  bytesOf,
  checkChannels,
  floatsOf,
  type Image,
  type ImageFunction,
  type Pixels,
} from './transforms/pixels.ts';
import { applyResizing, type Crop, type ResizingTransform } from './transforms/resizing.ts';
import { applyRotation, type RotationTransform } from './transforms/rotation.ts';
import { applyValues, normalize, shifted, toTensor, type ValueTransform } from './transforms/values.ts';

export {
  type ColorJitterOptions,
  colorJitter,
  grayscale,
  type Jitter,
  randomGrayscale,
} from './transforms/color.ts';
export { type ColorComponents, colorShift, imagenetComponents } from './transforms/color-shift.ts';
export { centerCrop, pad, randomCrop, randomHorizontalFlip } from './transforms/geometry.ts';
export type { Image, ImageFunction } from './transforms/pixels.ts';
export { type ResizedCropOptions, randomResizedCrop, resize, scaleJitter } from './transforms/resizing.ts';
export { type Interpolation, type RotationOptions, randomRotation } from './transforms/rotation.ts';
export { cutout, normalize, toTensor } from './transforms/values.ts';

/** A transform that is data. */
export type KnownTransform =
  | ResizingTransform
  | GeometricTransform
  | RotationTransform
  | ColorTransform
  | ColorShiftTransform
  | ValueTransform;

export type Transform =
  | KnownTransform
  | { readonly kind: 'compose'; readonly transforms: readonly Transform[] }
  | ImageFunction;

/** One link of a flattened chain. */
export type SimpleTransform = KnownTransform | ImageFunction;

/** Transforms that take bytes, so that they come before `toTensor`. */
const takesBytes: ReadonlySet<string> = new Set<KnownTransform['kind']>([
  'resize',
  'scaleJitter',
  'randomResizedCrop',
  'randomRotation',
  'colorJitter',
  'grayscale',
  'randomGrayscale',
]);

/** The transform of evaluation, without randomness: `toTensor`, then `normalize` if given. */
export function inputTransform(normalization: ChannelStatistics | undefined): Transform {
  return normalization ? compose([toTensor(), normalize(normalization.mean, normalization.std)]) : toTensor();
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
  checkOrder(chain.map(kindOf));
  return { kind: 'compose', transforms: chain };
}

/** @throws UsageError if a transform comes where pixels are not what it takes. */
function checkOrder(kinds: readonly string[]): void {
  const scaled = kinds.indexOf('toTensor');
  const normalized = kinds.indexOf('normalize');
  for (const [i, kind] of kinds.entries()) {
    if (kind === 'colorShift' && normalized >= 0 && normalized < i) {
      throw new UsageError('compose: colorShift comes after normalize; put it before, where pixels are 0–1');
    }
    if (scaled < 0 || i === scaled) continue;
    if (kind === 'toTensor') {
      throw new UsageError(
        'compose: the chain contains toTensor twice; pixels are scaled to 0–1 only once, so remove one',
      );
    }
    if (i < scaled && (kind === 'normalize' || kind === 'colorShift')) {
      throw new UsageError(`compose: ${kind} comes before toTensor; put it after, where pixels are 0–1`);
    }
    if (i > scaled && takesBytes.has(kind)) {
      throw new UsageError(`compose: ${kind} comes after toTensor; put it before, where pixels are bytes`);
    }
  }
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
  return floatsOf(applyChain(flatten(transform), image, random));
}

/** Applies the transforms of a flattened chain; bytes stay bytes up to `toTensor` or a custom function. */
export function applyChain(chain: readonly SimpleTransform[], image: Pixels, random: Random): Pixels {
  let current = image;
  for (let i = 0; i < chain.length; i++) {
    const link = chain[i]!;
    if (isResizing(link)) {
      // Only what the crop keeps is computed.
      const crop = cropOf(chain[i + 1]);
      current = applyResizing(link, bytesOf(current), random, crop);
      if (crop) i++;
    } else current = applyLink(link, current, random);
  }
  return current;
}

/** The output shape of a transform for images of `shape`. Custom functions are tried on a black image. */
export function transformedShape(transform: Transform, shape: ImageShape): ImageShape {
  const [channels, height, width] = shape;
  const blank = { shape, values: new Float32Array(channels * height * width) };
  return applyTransform(transform, blank, random(0, streams.transform)).shape;
}

export const isResizing = (link: SimpleTransform | undefined): link is ResizingTransform =>
  typeof link === 'object' &&
  (link.kind === 'resize' || link.kind === 'scaleJitter' || link.kind === 'randomResizedCrop');

/** The link as a crop that a resizing before it can take into account. */
export const cropOf = (link: SimpleTransform | undefined): Crop | undefined =>
  typeof link === 'object' && (link.kind === 'centerCrop' || link.kind === 'randomCrop') ? link : undefined;

function applyLink(link: Exclude<SimpleTransform, ResizingTransform>, image: Pixels, random: Random): Pixels {
  if (typeof link === 'function') return checkedImage(link(floatsOf(image), random));
  switch (link.kind) {
    case 'centerCrop':
    case 'pad':
    case 'randomHorizontalFlip':
    case 'randomCrop':
      return applyGeometry(link, image, random);
    case 'randomRotation':
      return applyRotation(link, bytesOf(image), random);
    case 'colorJitter':
    case 'grayscale':
    case 'randomGrayscale':
      return applyColor(link, bytesOf(image), random);
    case 'colorShift':
      checkChannels('colorShift', image.shape[0], [3]);
      return shifted(image, drawShift(link, random));
    case 'toTensor':
    case 'normalize':
    case 'cutout':
      return applyValues(link, image, random);
    default:
      return link satisfies never;
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

export function kindOf(transform: Transform): string {
  return typeof transform === 'function' ? 'function' : transform.kind;
}
