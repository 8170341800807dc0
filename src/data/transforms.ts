/**
 * Image transforms with torchvision's names and behavior: `pad` fills with 0, `toTensor` scales bytes to 0–1,
 * `normalize` subtracts the mean and divides by the deviation of each channel. Each family has a file in `transforms/`.
 * Known transforms are data, so chains of them are sent to workers, and the last part of a chain becomes one fused pass
 * (`fuse.ts`). A function of an image and a random source is also a transform; it runs in plain TypeScript. Here, chains are
 * made and looked at; `transforms/apply.ts` applies them, which pages load only if a chain needs it.
 *
 * Use random transforms only for training; a test set needs only `toTensor` (and `normalize`). Draws follow the order of
 * the chain, and each transform says what it draws: a flip always draws once (`uniform() < probability`), a crop twice
 * (top, then left).
 */
import { UsageError } from '../errors.ts';
import { isObject, shown } from '../options.ts';
import type { ChannelStatistics } from './statistics.ts';
import type { ColorTransform } from './transforms/color.ts';
import type { ColorShiftTransform } from './transforms/color-shift.ts';
import type { GeometricTransform } from './transforms/geometry.ts';
import type { ImageFunction } from './transforms/pixels.ts';
import type { Crop, ResizingTransform } from './transforms/resizing.ts';
import type { RotationTransform } from './transforms/rotation.ts';
import { normalize, toTensor, type ValueTransform } from './transforms/values.ts';

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

/** Whether a chain turns bytes into floats. */
export const isScaled = (transform: Transform): boolean =>
  flatten(transform).some(
    (link) => typeof link !== 'function' && (link.kind === 'toTensor' || link.kind === 'normalize'),
  );

/** Whether a link changes the size of an image by resizing it. */
export const isResizing = (link: SimpleTransform | undefined): link is ResizingTransform =>
  typeof link === 'object' &&
  (link.kind === 'resize' || link.kind === 'scaleJitter' || link.kind === 'randomResizedCrop');

/** The link as a crop that a resizing before it can take into account. */
export const cropOf = (link: SimpleTransform | undefined): Crop | undefined =>
  typeof link === 'object' && (link.kind === 'centerCrop' || link.kind === 'randomCrop') ? link : undefined;

function isCompose(transform: Transform): transform is Extract<Transform, { readonly kind: 'compose' }> {
  return typeof transform !== 'function' && transform.kind === 'compose';
}

export function kindOf(transform: Transform): string {
  return typeof transform === 'function' ? 'function' : transform.kind;
}
