/**
 * Data sets of images that have different sizes or exceed memory: bytes in a cache file, which are read image by image,
 * also by workers. Plain data, so that it can be sent to a worker.
 */
import { isObject } from '../options.ts';
import { checkDataset, type Dataset, type ImageShape } from './dataset.ts';

/** Where the images of a stored data set are. Arrays have one entry per image, in the order of the labels. */
export interface StoredImages {
  /** The cache file: images as RGB planes, [3, H, W], one after another. */
  readonly file: string;
  /** [N] Byte at which an image starts in the file. */
  readonly starts: Float64Array;
  /** [N, 2] Height and width of each image. */
  readonly sizes: Uint16Array;
  /** [N] The original image files, for other scales. */
  readonly sources: readonly string[];
}

/** One split of a data set whose images are in a file. */
export interface StoredDataset extends Omit<Dataset, 'shape' | 'pixels'> {
  readonly images: StoredImages;
}

/** A split whose images are in memory or in a file. */
export type AnyDataset = Dataset | StoredDataset;

export const isStored = (dataset: AnyDataset): dataset is StoredDataset => 'images' in dataset;

/** @throws UsageError if `dataset` is not a data set, for example both splits of one. */
export function checkAnyDataset(where: string, dataset: unknown): asserts dataset is AnyDataset {
  if (isObject(dataset) && isObject(dataset.images) && dataset.labels instanceof Uint16Array) return;
  checkDataset(where, dataset);
}

/** The shape of one stored image. */
export const storedShape = ({ sizes }: StoredImages, index: number): ImageShape => [
  3,
  sizes[2 * index]!,
  sizes[2 * index + 1]!,
];
