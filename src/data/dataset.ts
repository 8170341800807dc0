/**
 * Labeled images as bytes. Pixels are planar, [N, C, H, W], as CIFAR's files store them. They lie in a
 * SharedArrayBuffer where there is one, so that workers read them without a copy.
 */
import { UsageError } from '../errors.ts';
import { checkOptions, isObject, shown } from '../options.ts';

/** Channels, height and width of one image. */
export type ImageShape = readonly [channels: number, height: number, width: number];

/** One split (training or test) of a data set. */
export interface Dataset {
  /** For instance `cifar10`. */
  readonly name: string;
  readonly shape: ImageShape;
  /** Names of the classes; a label is an index into it. */
  readonly classes: readonly string[];
  /** [N, C, H, W], 0–255. */
  readonly pixels: Uint8Array;
  /** [N]. */
  readonly labels: Uint16Array;
  /** Number of images, N. */
  readonly length: number;
  /** Where classes come in groups, as CIFAR-100's do: the groups' names, and each class's group. */
  readonly superclasses?: { readonly names: readonly string[]; readonly of: readonly number[] };
}

/** A data set with its official division. */
export interface DatasetSplits {
  readonly train: Dataset;
  readonly test: Dataset;
}

/** @throws UsageError where plain JavaScript passes what is no data set; the two splits of one, for instance. */
export function checkDataset(where: string, dataset: unknown): asserts dataset is Dataset {
  if (isObject(dataset) && Array.isArray(dataset.shape) && dataset.pixels instanceof Uint8Array) return;
  const splits = isObject(dataset) && 'train' in dataset;
  throw new UsageError(
    `${where}: ${splits ? 'these are both splits of a data set; pass .train or .test' : `${shown(dataset)} is not a data set`}`,
  );
}

/** Bytes that workers can share where the platform allows it (browsers: only under cross-origin isolation). */
export function allocateBytes(length: number): Uint8Array {
  return typeof SharedArrayBuffer === 'undefined'
    ? new Uint8Array(length)
    : new Uint8Array(new SharedArrayBuffer(length));
}

/**
 * A data set of your own bytes: `pixels` planar [N, C, H, W], one label each.
 * @throws UsageError where the lengths do not fit together or a label has no class.
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
        `fromArrays: ${argument} is ${shown(value)}; give fromArrays(pixels, labels, [channels, height, width])`,
      );
    }
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
      `fromArrays: ${pixels.length} pixel bytes for ${labels.length} labels; ` +
        `${labels.length} images of ${channels}×${height}×${width} need ${labels.length * size}`,
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
    throw new UsageError(`fromArrays: label ${largest} has no name in the ${classes.length} classes given`);
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
