/** Data sets from files that a user chose. */
import type { DatasetSplits } from '../data/dataset.ts';
import type { SizedChoice } from '../data/dataset-facts.ts';
import type { DatasetSpec } from '../data/named.ts';
import type { AnyDataset } from '../data/stored.ts';
import { DataError, UsageError } from '../errors.ts';
import { bytesOfZipped, filesInZip } from '../files/unzip.ts';
import { startsLikeZip } from '../files/zip.ts';
import { checkOptions, type KnownKeys } from '../options.ts';
import { type ChosenFiles, listFiles, type PathFile } from './chosen-files.ts';
import { cifarFiles, isTar, openCifarArchive, openCifarFiles } from './cifar-dataset.ts';
import { imageDataset, type SourceFile } from './image-dataset.ts';
import { blobParts } from './opfs.ts';

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
  /** Told what a user should know, a line each. */
  readonly onNotice?: ((line: string) => void) | undefined;
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
  /** The files of which it is made; `openDataset` makes it again, for instance in a worker. */
  readonly files: readonly PathFile[];
  /**
   * The images as a training of `choice` (a config) sees them; photos are decoded, and resized for its network. Without
   * `choice`, photos are prepared for networks of 224×224 pixels.
   * @throws DataError for broken images, unless `skipBroken` leaves them out.
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

const keys: KnownKeys<OpenDatasetOptions> = {
  name: 'optional',
  onProgress: 'optional',
  signal: 'optional',
  md5: 'optional',
};

/** Limits of a zip of images. */
const zipLimits = { entries: 200_000, bytes: 2 ** 32 };

/**
 * Opens a data set: an archive of CIFAR (`.tar.gz`) or all its files, or a folder or a zip of images with one folder per
 * class, or with `train/` and `val/` or `test/`.
 * @throws DataError that says what is wrong with the files.
 */
export async function openDataset(
  files: ChosenFiles,
  options: OpenDatasetOptions = {},
): Promise<UserDataset> {
  checkOptions('openDataset', options, keys);
  return openListed(await listFiles(files), options);
}

/** The same; the archives of a store were checked before. */
export async function openListed(
  files: readonly PathFile[],
  options: OpenDatasetOptions,
  isChecked = false,
): Promise<UserDataset> {
  const [first, second] = files;
  if (!first) throw new UsageError('openDataset: no files were chosen');
  if (!second) {
    if (startsLikeZip(new Uint8Array(await first.file.slice(0, 4).arrayBuffer())))
      return openZip(first, options);
    if (await isTar(first)) return openCifarArchive(first, options, isChecked);
  }
  const cifar = cifarFiles(files);
  if (cifar) return openCifarFiles(files, cifar, options);
  if (!second) throw unknown(first);
  const sources = files.map(
    ({ path, file }): SourceFile => ({ path, size: file.size, blob: async () => file }),
  );
  const [top = 'images'] = first.path.split('/');
  return imageDataset(datasetName(options.name ?? top), sources, files);
}

const unknown = ({ path }: PathFile): DataError =>
  new DataError(
    `${path} is no data set; choose an archive of CIFAR (.tar.gz), or a folder or a zip of images with one folder per class`,
  );

async function openZip({ path, file }: PathFile, options: OpenDatasetOptions): Promise<UserDataset> {
  const name = path.slice(path.lastIndexOf('/') + 1);
  const entries = await filesInZip(blobParts(name, file), zipLimits).catch((error: unknown) => {
    throw error instanceof DataError ? new DataError(`${name}: ${error.message}`, { cause: error }) : error;
  });
  const sources = entries.map(
    (entry): SourceFile => ({
      path: entry.path,
      size: entry.size,
      blob: async () => new Blob([await bytesOfZipped(entry)]),
    }),
  );
  const kept = [{ path: name, file }];
  return imageDataset(datasetName(options.name ?? name.replace(/\.zip$/i, '')), sources, kept);
}

/** A name without what separates folders. */
const datasetName = (name: string): string => name.replaceAll(/[/\\\0]/g, '-').trim() || 'images';
