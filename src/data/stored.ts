/**
 * Data sets of images that have different sizes or exceed memory: bytes in a cache file, or in a page's memory, which are
 * read image by image, also by workers. Plain data, so that it can be sent to a worker.
 */
import { UsageError } from '../errors.ts';
import { isObject } from '../options.ts';
import { checkDataset, type Dataset, type ImageShape } from './dataset.ts';

/** Where the images of a stored data set are. Arrays have one entry per image, in the order of the labels. */
export interface StoredImages {
  /** The cache file: images as RGB planes, [3, H, W], one after another. For `bytes`, a name for messages. */
  readonly file: string;
  /** The same in memory, where there are no files: in a page. */
  readonly bytes?: Uint8Array;
  /** [N] Byte at which an image starts in the file. */
  readonly starts: Float64Array;
  /** [N, 2] Height and width of each image. */
  readonly sizes: Uint16Array;
  /** [N] The original image files, for other scales. */
  readonly sources: readonly string[];
  /** [N] CRC-32 of each image's bytes, if known. */
  readonly checksums?: Uint32Array;
  /** [N, 6] Sums of each image's bytes of red, green and blue, then of their squares, if known. */
  readonly sums?: Float64Array;
}

/** One split of a data set whose images are in a file. */
export interface StoredDataset extends Omit<Dataset, 'shape' | 'pixels'> {
  readonly images: StoredImages;
}

/** A data set in memory or in a file. */
export type AnyDataset = Dataset | StoredDataset;

export const isStored = (dataset: AnyDataset): dataset is StoredDataset => 'images' in dataset;

/** @throws UsageError if `dataset` is neither a data set in memory nor in a file. */
export function checkAnyDataset(where: string, dataset: unknown): asserts dataset is AnyDataset {
  if (!isObject(dataset) || !('images' in dataset)) return checkDataset(where, dataset);
  const { images, labels } = dataset as Partial<StoredDataset>;
  if (typeof images?.file === 'string' && images.starts?.length === labels?.length) return;
  throw new UsageError(
    `${where}: the images of the data set are not those of imageFolder; call imageFolder(path)`,
  );
}

/** The shape of one stored image. */
export const storedShape = ({ sizes }: StoredImages, index: number): ImageShape => [
  3,
  sizes[2 * index]!,
  sizes[2 * index + 1]!,
];

/** The images with these indices, in a new order. */
export function storedSubset(images: StoredImages, indices: Uint32Array): StoredImages {
  const { file, bytes, starts, sizes, sources, checksums, sums } = images;
  const rows = <List extends Float64Array | Uint16Array | Uint32Array>(list: List, columns: number): List => {
    const picked = new (list.constructor as new (length: number) => List)(indices.length * columns);
    for (const [i, index] of indices.entries()) {
      for (let c = 0; c < columns; c++) picked[i * columns + c] = list[index * columns + c]!;
    }
    return picked;
  };
  return {
    file,
    ...(bytes && { bytes }),
    starts: rows(starts, 1),
    sizes: rows(sizes, 2),
    sources: Array.from(indices, (index) => sources[index]!),
    ...(checksums && { checksums: rows(checksums, 1) }),
    ...(sums && { sums: rows(sums, 6) }),
  };
}
