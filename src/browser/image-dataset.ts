/**
 * Data sets of photos that a user chose: a folder or a zip with one folder per class. The rules are those of image folders
 * in Node (`data/folders/`); browsers decode the photos, our kernel resizes them, and they stay in memory as bytes.
 */
import { crc32 } from '../crc32.ts';
import { allocateBytes, type DatasetSplits } from '../data/dataset.ts';
import { factsOf, type SizedChoice, sidesFor } from '../data/dataset-facts.ts';
import { refusal } from '../data/folders/broken.ts';
import {
  checkClasses,
  type FoundImages,
  type FoundSplit,
  isSystemName,
  sorted,
} from '../data/folders/found.ts';
import { scanTree, type Tree } from '../data/folders/scan-tree.ts';
import { rememberPlans } from '../data/folders/stored-sides.ts';
import { shortName } from '../data/named.ts';
import { openResizer } from '../data/resize-kernel.ts';
import type { AnyDataset, StoredDataset } from '../data/stored.ts';
import { DataError } from '../errors.ts';
import { counted } from '../words.ts';
import type { PathFile } from './chosen-files.ts';
import type { LoadDatasetOptions, UserDataset } from './datasets.ts';
import { decodePicture } from './pictures.ts';

/** A file of a data set that is read when it is needed. */
export interface SourceFile {
  readonly path: string;
  readonly size: number;
  readonly blob: () => Promise<Blob>;
}

/** The most bytes of prepared photos in memory. */
const mostPreparedBytes = 2 ** 30;
/** Photos that are decoded at the same time. */
const atOnce = 8;

/**
 * The data set in some files. `kept` are the files that make it again.
 * @throws DataError if they are no data set.
 */
export function imageDataset(
  name: string,
  sources: readonly SourceFile[],
  kept: readonly PathFile[],
): UserDataset {
  const visible = sources.filter(({ path }) => !path.split('/').some(isSystemName));
  const top = onlyFolder(visible);
  const files = new Map(
    visible.map((source) => [top === '' ? source.path : source.path.slice(top.length + 1), source]),
  );
  const found = scanTree(name, treeOf(name, [...files.keys()]));
  const { train, validation, test } = found.splits;
  const dataset = `folder:${name}` as const;
  return {
    dataset,
    classes: found.classes,
    images: {
      train: train.paths.length,
      ...(validation && { validation: validation.paths.length }),
      test: test.paths.length,
    },
    bytes: kept.reduce((sum, { file }) => sum + file.size, 0),
    notices: found.notices,
    files: kept,
    load: (choice = {}, options = {}) =>
      prepared(found, (path) => files.get(path)!.blob(), { ...choice, dataset }, options),
  };
}

/** A folder that contains everything, as of a zip of a folder, if it is not the only class. */
function onlyFolder(files: readonly SourceFile[]): string {
  const [first] = files;
  const parts = first?.path.split('/') ?? [];
  let top = '';
  for (const part of parts.slice(0, -2)) {
    const next = top === '' ? part : `${top}/${part}`;
    const isOnly = files.every(({ path }) => path.startsWith(`${next}/`));
    const holdsFolders = files.every(({ path }) => path.slice(next.length + 1).includes('/'));
    if (!isOnly || !holdsFolders) return top;
    top = next;
  }
  return top;
}

/** Folders and files by the paths of the files. */
function treeOf(root: string, paths: readonly string[]): Tree {
  const folders = new Map<string, { readonly folders: Set<string>; readonly files: string[] }>();
  const folderOf = (path: string): { readonly folders: Set<string>; readonly files: string[] } => {
    let folder = folders.get(path);
    if (folder) return folder;
    folder = { folders: new Set(), files: [] };
    folders.set(path, folder);
    if (path !== '') folderOf(aboveOf(path)).folders.add(path.slice(path.lastIndexOf('/') + 1));
    return folder;
  };
  folderOf('');
  for (const path of paths) folderOf(aboveOf(path)).files.push(path.slice(path.lastIndexOf('/') + 1));
  return {
    root,
    entries: (path) => {
      const { folders: own, files } = folders.get(path)!;
      return { folders: sorted([...own]), files: sorted(files) };
    },
    id: (path) => path,
  };
}

const aboveOf = (path: string): string => path.slice(0, Math.max(0, path.lastIndexOf('/')));

/** Decodes and resizes the photos of all splits. */
async function prepared(
  found: FoundImages,
  blobOf: (path: string) => Promise<Blob>,
  choice: SizedChoice,
  options: LoadDatasetOptions,
): Promise<DatasetSplits<AnyDataset>> {
  const { classes, splits } = found;
  const { shape } = factsOf(choice, () => ({
    classes: classes.length,
    length: splits.train.paths.length,
    hasValidation: splits.validation !== undefined,
  }));
  const sides = sidesFor(shape, choice.crop);
  const { train, validation, test } = splits;
  // Held-out images are tested as test images are.
  const again = sides.train !== sides.test && (choice.validation ?? 0) > 0;
  const jobs: readonly (readonly [FoundSplit, number])[] = [
    [train, sides.train],
    ...(validation ? [[validation, sides.test] as const] : []),
    [test, sides.test],
    ...(again ? [[train, sides.test] as const] : []),
  ];
  const total = jobs.reduce((sum, [{ paths }]) => sum + paths.length, 0);
  const work = new Preparation(found, blobOf, total, options);
  const sets: StoredDataset[] = [];
  for (const [split, side] of jobs) sets.push(await work.split(split, side, choice.dataset));
  const { broken } = work;
  if (broken.length > 0 && !choice.skipBroken) throw refusal(found.root, broken, total);
  if (broken.length > 0)
    options.onNotice?.(`${found.root}: ${counted(broken.length, 'broken image')} left out.`);
  const [first, ...others] = sets;
  checkClasses(found.root, classes, { paths: first!.images.sources, labels: first!.labels });
  const made = {
    train: first!,
    ...(validation && { validation: others.shift()! }),
    test: others.shift()!,
    ...(again && { trainAsTested: others.shift()! }),
  };
  for (const split of ['validation', 'test'] as const) {
    if (made[split]?.length === 0)
      throw new DataError(`${found.root}: all ${split} images are broken; repair them, or add others`);
  }
  return made;
}

/** One photo as it is stored. */
interface PreparedPhoto {
  readonly height: number;
  readonly width: number;
  readonly pixels: Uint8Array;
  readonly sums: readonly number[];
}

class Preparation {
  readonly broken: { readonly file: string; readonly problem: string }[] = [];
  readonly #found: FoundImages;
  readonly #blobOf: (path: string) => Promise<Blob>;
  readonly #total: number;
  readonly #options: LoadDatasetOptions;
  readonly #resizer = openResizer();
  #done = 0;
  #bytes = 0;

  constructor(
    found: FoundImages,
    blobOf: (path: string) => Promise<Blob>,
    total: number,
    options: LoadDatasetOptions,
  ) {
    this.#found = found;
    this.#blobOf = blobOf;
    this.#total = total;
    this.#options = options;
  }

  /** Prepares a split, several photos at a time. */
  async split({ paths, labels }: FoundSplit, side: number, name: string): Promise<StoredDataset> {
    const planOf = rememberPlans(side);
    const photos = new Array<PreparedPhoto | undefined>(paths.length);
    let next = 0;
    const take = async (): Promise<void> => {
      for (let i = next++; i < paths.length; i = next++) {
        this.#options.signal?.throwIfAborted();
        photos[i] = await this.#photo(paths[i]!, planOf);
        this.#done += 1;
        this.#options.onProgress?.({ done: this.#done, total: this.#total });
      }
    };
    await Promise.all(Array.from({ length: Math.min(atOnce, paths.length) }, take));
    const used = photos.flatMap((photo, i) => (photo ? [{ ...photo, i }] : []));
    const bytes = allocateBytes(used.reduce((sum, { pixels }) => sum + pixels.length, 0));
    const starts = new Float64Array(used.length);
    let at = 0;
    for (const [place, { pixels, i }] of used.entries()) {
      starts[place] = at;
      bytes.set(pixels, at);
      at += pixels.length;
      photos[i] = undefined;
    }
    return {
      name,
      classes: this.#found.classes,
      labels: Uint16Array.from(used, ({ i }) => labels[i]!),
      length: used.length,
      images: {
        file: shortName(name),
        bytes,
        starts,
        sizes: Uint16Array.from(used.flatMap(({ height, width }) => [height, width])),
        sources: used.map(({ i }) => paths[i]!),
        checksums: Uint32Array.from(used, ({ pixels }) => crc32(pixels)),
        sums: Float64Array.from(used.flatMap(({ sums }) => sums)),
      },
    };
  }

  async #photo(path: string, planOf: ReturnType<typeof rememberPlans>): Promise<PreparedPhoto | undefined> {
    const file = `${this.#found.root}/${path}`;
    try {
      const { width, height, pixels } = await decodePicture(await this.#blobOf(path), file);
      const plan = planOf([height, width]);
      const { window } = plan;
      const out = new Uint8Array(3 * window.height * window.width);
      this.#bytes += out.length;
      if (this.#bytes > mostPreparedBytes) throw new TooManyPhotos(this.#found.root);
      const sums = this.#resizer.resize(plan, pixels, out);
      return { height: window.height, width: window.width, pixels: out, sums };
    } catch (error) {
      if (!(error instanceof DataError) || error instanceof TooManyPhotos) throw error;
      if (!this.broken.some((known) => known.file === file))
        this.broken.push({ file, problem: error.message });
      return undefined;
    }
  }
}

class TooManyPhotos extends DataError {
  constructor(where: string) {
    super(
      `${where}: its photos, resized for the network, take more than ${mostPreparedBytes / 2 ** 30} GiB; use fewer photos or a network for smaller ` +
        'images (size)',
    );
  }
}
