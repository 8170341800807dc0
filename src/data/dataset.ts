/**
 * Labeled images as bytes. Pixels are planar, [N, C, H, W], as in CIFAR's files, and stored in a SharedArrayBuffer if
 * available, so that workers read them without copying.
 */
import { UsageError } from '../errors.ts';
import { checkOptions, isObject, shown } from '../options.ts';

/** Channels, height and width of one image. */
export type ImageShape = readonly [channels: number, height: number, width: number];

/** The images of the named data sets: RGB, 32 × 32 pixels. */
export const namedShape: ImageShape = [3, 32, 32];

/** One split (training or test) of a data set. */
export interface Dataset {
  /** For example `cifar10`. */
  readonly name: string;
  readonly shape: ImageShape;
  /** Class names; a label is an index into this list. */
  readonly classes: readonly string[];
  /** [N, C, H, W], 0–255. */
  readonly pixels: Uint8Array;
  /** [N]. */
  readonly labels: Uint16Array;
  /** Number of images, N. */
  readonly length: number;
  /** If classes are grouped, as in CIFAR-100: the names of the groups, and the group of each class. */
  readonly superclasses?: { readonly names: readonly string[]; readonly of: readonly number[] };
}

/** A data set with its official training and test splits. */
export interface DatasetSplits<Split = Dataset> {
  readonly train: Split;
  /** Only if the data set has validation images of its own. */
  readonly validation?: Split;
  readonly test: Split;
  /** The training images as tests see them, for held-out ones; only if they are prepared otherwise for training. */
  readonly trainAsTested?: Split;
}

/** @throws UsageError if `dataset` is not a data set, for example both splits of one. */
export function checkDataset(where: string, dataset: unknown): asserts dataset is Dataset {
  if (isObject(dataset) && Array.isArray(dataset.shape) && dataset.pixels instanceof Uint8Array) return;
  const splits = isObject(dataset) && 'train' in dataset;
  throw new UsageError(
    `${where}: ${splits ? 'got both splits of a data set; pass .train or .test' : `${shown(dataset)} is not a data set`}`,
  );
}

/** Allocates bytes that workers can share if the platform allows it (in browsers: only with cross-origin isolation). */
export function allocateBytes(length: number): Uint8Array {
  return typeof SharedArrayBuffer === 'undefined'
    ? new Uint8Array(length)
    : new Uint8Array(new SharedArrayBuffer(length));
}

/**
 * Creates a data set from arrays: `pixels` [N, C, H, W], 0–255, and one label per image.
 * @throws UsageError if the lengths do not match or a label has no class.
 */
export function fromArrays(
  pixels: Uint8Array,
  labels: ArrayLike<number>,
  shape: ImageShape,
  options: { readonly name?: string; readonly classes?: readonly string[] } = {},
): Dataset {
  checkOptions<NonNullable<typeof options>>('fromArrays', options, { name: 'optional', classes: 'optional' });
  for (const [argument, value] of Object.entries({ pixels, labels, shape })) {
    if (typeof (value as ArrayLike<unknown> | undefined)?.length !== 'number' || typeof value === 'string') {
      throw new UsageError(
        `fromArrays: ${argument} is ${shown(value)}; call fromArrays(pixels, labels, [channels, height, width])`,
      );
    }
  }
  if (ArrayBuffer.isView(pixels) && !/^Uint8/.test(pixels.constructor.name)) {
    throw new UsageError(
      `fromArrays: pixels are a ${pixels.constructor.name}, not a Uint8Array of bytes 0–255; convert them`,
    );
  }
  const [channels, height, width] = shape;
  const size = channels * height * width;
  if (shape.length !== 3 || shape.some((side) => !Number.isInteger(side) || side < 1)) {
    throw new UsageError(
      `fromArrays: shape [${shape.join(', ')}] is not [channels, height, width] of whole numbers ≥ 1`,
    );
  }
  if (pixels.length !== labels.length * size) {
    throw new UsageError(
      `fromArrays: there are ${pixels.length} pixel bytes, but ${labels.length} labels with ` +
        `${channels}×${height}×${width} images need ${labels.length * size}`,
    );
  }
  let largest = -1;
  for (let i = 0; i < labels.length; i++) {
    const label = labels[i]!;
    if (!Number.isInteger(label) || label < 0 || label > 65_535) {
      throw new UsageError(`fromArrays: label ${label} of image ${i} is not a whole number from 0 to 65535`);
    }
    if (label > largest) largest = label;
  }
  const classes = options.classes ?? Array.from({ length: largest + 1 }, (_, i) => String(i));
  if (largest >= classes.length) {
    throw new UsageError(
      `fromArrays: label ${largest} has no name: classes has ${classes.length}; add the missing names`,
    );
  }
  return {
    name: options.name ?? 'arrays',
    shape,
    classes,
    pixels,
    labels: Uint16Array.from(labels),
    length: labels.length,
  };
}
