/** Data sets from files that a user chose. */
import type { DatasetSplits } from '../data/dataset.ts';
import type { SizedChoice } from '../data/dataset-facts.ts';
import type { DatasetSpec } from '../data/named.ts';
import type { AnyDataset } from '../data/stored.ts';
import type { ChosenFiles } from './chosen-files.ts';

/** Numbers of images. */
export interface DatasetCounts {
  readonly train: number;
  /** Only if the data set has validation images of its own. */
  readonly validation?: number;
  readonly test: number;
}

export interface LoadDatasetOptions {
  /** Told how many images are decoded and resized. */
  readonly onProgress?: ((progress: { readonly done: number; readonly total: number }) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** A data set of a user. Its files are known and checked; its images are read by `load`. */
export interface UserDataset {
  /** What a config calls it: `cifar10`, `cifar100` or `folder:photos`. */
  readonly dataset: DatasetSpec;
  /** By label; of CIFAR-100, the fine ones. */
  readonly classes: readonly string[];
  readonly images: DatasetCounts;
  /** Of its files. */
  readonly bytes: number;
  /** What a user should know, a line each: files that were left out, images that are held out for tests. */
  readonly notices: readonly string[];
  /**
   * The images as a training of `choice` (a config) sees them; photos are decoded, and resized for its network. Without
   * `choice`, photos are prepared for networks of 32×32 pixels.
   * @throws DataError for broken images.
   */
  readonly load: (
    choice?: Omit<SizedChoice, 'dataset'>,
    options?: LoadDatasetOptions,
  ) => Promise<DatasetSplits<AnyDataset>>;
}

export interface OpenDatasetOptions {
  /** Name of a folder or zip of images; by default that of the folder or the zip. */
  readonly name?: string;
  /** Told how much is read, in bytes. */
  readonly onProgress?: (progress: { readonly done: number; readonly total: number }) => void;
  readonly signal?: AbortSignal;
  /** MD5 of the archives by file name, instead of the official ones; for archives that were packed again. */
  readonly md5?: Readonly<Record<string, string>>;
}

/**
 * Opens a data set: an archive of CIFAR (`.tar.gz`) or all its files, or a folder or a zip of images with one folder per
 * class, or with `train/` and `val/` or `test/`.
 * @throws DataError that says what is wrong with the files.
 */
export declare function openDataset(files: ChosenFiles, options?: OpenDatasetOptions): Promise<UserDataset>;
