/** Data sets of image files (Node only): found, prepared in a file of the cache, and put together. */
import { realpathSync } from 'node:fs';
import { DataError } from '../../errors.ts';
import { checkOptions, checkWhole, type KnownKeys, maxThreads } from '../../options.ts';
import { checkPath } from '../../paths.ts';
import { counted } from '../../words.ts';
import type { DatasetSplits } from '../dataset.ts';
import type { StoredDataset } from '../stored.ts';
import { type BrokenImage, BrokenImagesError, refusal } from './broken.ts';
import { type CachedImage, imageStarts } from './cache-file.ts';
import { checkClasses, type FoundImages, type FoundSplit } from './found.ts';
import { type PreparedFile, type PrepareOptions, prepareImages } from './prepare.ts';
import { scanCsv } from './scan-csv.ts';
import { scanFolder } from './scan-folder.ts';

export { type BrokenImage, BrokenImagesError };

export interface ImageFolderOptions extends PrepareOptions {
  /** Shorter side of the prepared images in pixels; 256 by default, for networks of 224. */
  readonly side?: number;
  /** Leaves out broken images instead of refusing the data set. */
  readonly skipBroken?: boolean;
}

export interface ImageTableOptions extends ImageFolderOptions {
  /** The folder of the images, if it is not next to the table. */
  readonly images?: string;
}

/** A data set of image files. */
export interface ImageSplits extends DatasetSplits<StoredDataset> {
  /** Images that were left out. */
  readonly broken: readonly BrokenImage[];
}

const folderKeys: KnownKeys<ImageFolderOptions> = {
  side: 'optional',
  skipBroken: 'optional',
  cache: 'optional',
  threads: 'optional',
  onProgress: 'optional',
  onNotice: 'optional',
  signal: 'optional',
};

/**
 * The data set of a folder: one folder per class, or `train/` and `val/` or `test/` with such folders. Without test
 * images, a fifth of each class is held out. The images are prepared once and kept in the cache.
 * @throws DataError if the folder is no data set; BrokenImagesError if images are broken.
 */
export async function imageFolder(path: string, options: ImageFolderOptions = {}): Promise<ImageSplits> {
  checkPath('imageFolder', path);
  checkOptions('imageFolder', options, folderKeys);
  return splitsOf(`folder:${path}`, path, scanFolder(path), options);
}

/**
 * The data set of a CSV file with a column of files and one of labels, such as Kaggle's CIFAR-10.
 * @throws as `imageFolder`
 */
export async function imageTable(file: string, options: ImageTableOptions = {}): Promise<ImageSplits> {
  checkPath('imageTable', file);
  checkOptions<ImageTableOptions>('imageTable', options, { ...folderKeys, images: 'optional' });
  const { images, ...others } = options;
  return splitsOf(`csv:${file}`, file, scanCsv(file, images), others);
}

export interface SplitOptions extends ImageFolderOptions {
  /** Shorter side of the images of tests; `side` by default. */
  readonly testSide?: number;
  /** Whether validation images are held out from the training images. */
  readonly holdsOut?: boolean;
}

/** Prepares the images that a scan found. `where` names the data set in messages. */
export async function splitsOf(
  name: string,
  where: string,
  found: FoundImages,
  { side = 256, testSide = side, holdsOut = false, skipBroken = false, ...options }: SplitOptions,
): Promise<ImageSplits> {
  checkWhole(where, 'side', side, 1, mostSide);
  if (options.threads !== undefined) checkWhole(where, 'threads', options.threads, 1, maxThreads);
  if (options.cache !== undefined) checkPath(`${where}: cache`, options.cache);
  const { root, classes, splits } = found;
  for (const line of found.notices) options.onNotice?.(line);
  const { train, validation, test } = splits;
  const tested = [...(validation ? [validation] : []), test];
  const all = [train, ...tested];
  // Images that are prepared for tests alone have a file of their own: the one of all images is for other trainings.
  const files: readonly FilePlan[] =
    testSide === side
      ? [{ side, splits: all }]
      : [
          { side, splits: [train], only: 'train' },
          holdsOut ? { side: testSide, splits: all } : { side: testSide, splits: tested, only: 'test' },
        ];
  const prepared = await prepareFiles(where, root, files, options);
  const problems = new Map(
    prepared.flatMap(({ images }) =>
      images.flatMap(({ path, problem }) => (problem === undefined ? [] : [[path, problem]])),
    ) as readonly [string, string][],
  );
  const broken = [...problems].map(([path, problem]) => ({ file: `${root}/${path}`, problem }));
  const total = all.reduce((sum, { paths }) => sum + paths.length, 0);
  if (broken.length > 0 && !skipBroken) throw refusal(where, broken, total);
  if (broken.length > 0) {
    options.onNotice?.(
      `${where}: ${counted(broken.length, 'broken image')} of ${total} ${broken.length === 1 ? 'is' : 'are'} left out.`,
    );
  }
  /** A split from the first or the last file that has it. */
  const part = (split: FoundSplit, forTests: boolean): StoredDataset => {
    const has = (plan: FilePlan): boolean => plan.splits.includes(split);
    const at = forTests ? files.findLastIndex(has) : files.findIndex(has);
    const before = files[at]!.splits.slice(0, files[at]!.splits.indexOf(split));
    const from = before.reduce((sum, { paths }) => sum + paths.length, 0);
    return storedOf(name, found, prepared[at]!, split, { from, problems });
  };
  const made = {
    train: part(train, false),
    ...(validation && { validation: part(validation, true) }),
    test: part(test, true),
    ...(files.length > 1 && holdsOut && { trainAsTested: part(train, true) }),
    broken,
  };
  checkClasses(where, classes, { paths: made.train.images.sources, labels: made.train.labels });
  for (const split of ['validation', 'test'] as const) {
    if (made[split]?.length === 0)
      throw new DataError(`${where}: all ${split} images are broken; repair them, or add others`);
  }
  return made;
}

/** Largest shorter side of prepared images. */
const mostSide = 4096;

/** A file of prepared images. */
interface FilePlan {
  readonly side: number;
  readonly splits: readonly FoundSplit[];
  /** What it is for, unless it has all images of the data set. */
  readonly only?: 'train' | 'test';
}

/** Prepares the images of files, one file after the other; progress is that of all of them. */
async function prepareFiles(
  where: string,
  root: string,
  files: readonly FilePlan[],
  { onProgress, ...options }: PrepareOptions,
): Promise<readonly PreparedFile[]> {
  const lists = files.map(({ splits }) => splits.flatMap(({ paths }) => paths));
  const total = lists.reduce((sum, { length }) => sum + length, 0);
  // However its path is written, a data set has one file.
  const own = realpathSync(where);
  const prepared: PreparedFile[] = [];
  let [before, decodedBefore, last] = [0, 0, 0];
  let told = 0;
  for (const [i, { side, only }] of files.entries()) {
    const key = only === undefined ? own : `${own}\n${only}`;
    const progress: PrepareOptions['onProgress'] = ({ done, decoded }) => {
      last = decoded;
      told = before + done;
      onProgress?.({ done: told, total, decoded: decodedBefore + decoded });
    };
    prepared.push(
      await prepareImages({ key, root, paths: lists[i]!, side }, { ...options, onProgress: progress }),
    );
    before += lists[i]!.length;
    [decodedBefore, last] = [decodedBefore + last, 0];
  }
  // The last file may have been ready.
  if (told > 0 && told < total) onProgress?.({ done: total, total, decoded: decodedBefore });
  return prepared;
}

/** One split; `from` is the place of its first image in the file. Images with problems are left out. */
function storedOf(
  name: string,
  { root, classes }: FoundImages,
  { file, images }: PreparedFile,
  { paths, labels }: FoundSplit,
  { from, problems }: { readonly from: number; readonly problems: ReadonlyMap<string, string> },
): StoredDataset {
  const starts = imageStarts(images);
  const used = paths.map((_, i) => i).filter((i) => !problems.has(paths[i]!));
  const column = (value: (image: CachedImage, at: number) => number | readonly number[]): number[] =>
    used.flatMap((i) => value(images[from + i]!, from + i));
  return {
    name,
    classes,
    labels: Uint16Array.from(used, (i) => labels[i]!),
    length: used.length,
    images: {
      file,
      starts: Float64Array.from(column((_, at) => starts[at]!)),
      sizes: Uint16Array.from(column(({ height, width }) => [height, width])),
      sources: used.map((i) => `${root}/${paths[i]!}`),
      checksums: Uint32Array.from(column(({ checksum }) => checksum)),
      sums: Float64Array.from(column(({ sums }) => sums)),
    },
  };
}
