/**
 * Runs and data sets in the browser's private files (OPFS): `runs/NAME/` is a run folder with the same files as on disk,
 * `datasets/NAME/` has the files of a data set and `dataset.json`, which is written last and says what it is.
 */
import * as z from 'zod';
import { crc32 } from '../crc32.ts';
import { type DatasetSpec, isDatasetSpec } from '../data/named.ts';
import { DamagedRunError, DataError, UsageError, VggError } from '../errors.ts';
import { checkedJson, type Folder, readJsonIn, writeJsonIn } from '../files/folder.ts';
import { isMissing } from '../files/problems.ts';
import { directoryOf, localHeader } from '../files/zip-writer.ts';
import { type DamagedRun, type RunRecord, readRecord, runFiles } from '../runs/run-folder.ts';
import { checkRunName } from '../runs/run-zip.ts';
import { type Metrics, readMetricsIn } from '../runs/table.ts';
import { parseConfig } from '../train/config.ts';
import type { TrainConfig } from '../train/config-table.ts';
import type { PathFile } from './chosen-files.ts';
import type { DatasetCounts, UserDataset } from './datasets.ts';
import { isLocked, lockFolder, opfsFolder, privateFiles } from './opfs.ts';

/** A data set in the store. */
export interface KeptDataset {
  readonly dataset: DatasetSpec;
  readonly classes: readonly string[];
  readonly images: DatasetCounts;
  readonly bytes: number;
}

/** Bytes of all files of this site, and how many it may have. */
export interface StoreUsage {
  readonly bytes: number;
  readonly quota: number;
}

export interface Store {
  /** All runs, sorted by name. */
  readonly runs: () => Promise<readonly (RunRecord | DamagedRun)[]>;
  /** One run. @throws DataError if it is missing or damaged. */
  readonly run: (name: string) => Promise<RunRecord>;
  /** The rows of a run's `metrics.csv`. */
  readonly metrics: (name: string) => Promise<Metrics>;
  /** A file of a run, such as `best.safetensors`; undefined if there is none. */
  readonly file: (run: string, name: string) => Promise<Blob | undefined>;
  /** @throws InUseError while the run is being trained. */
  readonly removeRun: (name: string) => Promise<void>;
  readonly datasets: () => Promise<readonly KeptDataset[]>;
  /** A data set that was added; undefined if there is none. */
  readonly dataset: (name: DatasetSpec) => Promise<UserDataset | undefined>;
  /** Keeps a data set's files, so that it is found after a reload; replaces one of the same name. */
  readonly addDataset: (dataset: UserDataset) => Promise<KeptDataset>;
  readonly removeDataset: (name: DatasetSpec) => Promise<void>;
  readonly usage: () => Promise<StoreUsage>;
  /** Asks the browser to keep the files when space is short; returns whether it will. */
  readonly persist: () => Promise<boolean>;
}

const count = z.int().min(0);
const indexFile = 'dataset.json';
const indexSchema = z.object({
  dataset: z.string().refine(isDatasetSpec),
  classes: z.array(z.string()),
  images: z.object({ train: count, validation: count.optional(), test: count }),
  bytes: count,
  files: z.array(z.string()),
});

/** Folders of stores, which are not part of the public interface. */
const folders = new WeakMap<Store, { readonly runs: FileSystemDirectoryHandle; readonly lock: string }>();

/** The folder of a run, and the name of its lock. `create` makes the folder. @throws DataError if there is none. */
export async function runFolder(
  store: Store,
  name: string,
  create: boolean = false,
): Promise<{ readonly folder: Folder; readonly lock: string }> {
  const known = folders.get(store);
  if (!known) throw new UsageError('the store is not one of openStore (await it)');
  checkRunName('store', name);
  const path = `runs/${name}`;
  try {
    const handle = await known.runs.getDirectoryHandle(name, { create });
    return { folder: opfsFolder(handle, path), lock: `${known.lock}/${name}` };
  } catch (error) {
    if ((error as DOMException).name !== 'NotFoundError') throw error;
    throw new DamagedRunError(`there is no run ${JSON.stringify(name)} in this browser`, { cause: error });
  }
}

/** Whether the store has a folder for a run; one without a config is left of an import or a start that was cut off. */
export async function hasRun(store: Store, name: string): Promise<boolean> {
  try {
    return (await (await runFolder(store, name)).folder.names()).includes(runFiles.config);
  } catch (error) {
    if (error instanceof DamagedRunError) return false;
    throw error;
  }
}

/** Removes the folder of a run. */
export async function removeRunFolder(store: Store, name: string): Promise<void> {
  await folders.get(store)!.runs.removeEntry(name, { recursive: true });
}

/** The config of a run. @throws DamagedRunError if the folder holds none. */
export async function readConfigIn(folder: Folder): Promise<TrainConfig> {
  try {
    return parseConfig(await readJsonIn(folder, runFiles.config), folder.pathOf(runFiles.config));
  } catch (error) {
    if (isMissing(error))
      throw new DamagedRunError(`${folder.path} is not a run: it has no ${runFiles.config}`, {
        cause: error,
      });
    throw error instanceof UsageError ? new DamagedRunError(error.message, { cause: error }) : error;
  }
}

/**
 * Opens the store of this site. `folder` separates stores, `vggnet` by default.
 * @throws VggError if the browser has no private files, as in private windows of some browsers.
 */
export async function openStore(folder: string = 'vggnet'): Promise<Store> {
  const root = await (await privateFiles()).getDirectoryHandle(folder, { create: true });
  const [runs, datasets] = await Promise.all(
    ['runs', 'datasets'].map((name) => root.getDirectoryHandle(name, { create: true })),
  );
  const store: Store = {
    ...runMethods(runs!, () => store),
    ...datasetMethods(datasets!),
    usage: async () => {
      const { usage = 0, quota = 0 } = await navigator.storage.estimate();
      return { bytes: usage, quota };
    },
    persist: () => navigator.storage.persist(),
  };
  folders.set(store, { runs: runs!, lock: `vggnet:${folder}` });
  return store;
}

type RunMethods = Pick<Store, 'runs' | 'run' | 'metrics' | 'file' | 'removeRun'>;

function runMethods(handle: FileSystemDirectoryHandle, self: () => Store): RunMethods {
  const run = async (name: string): Promise<RunRecord> => {
    const { folder, lock } = await runFolder(self(), name);
    const config = await readConfigIn(folder);
    // Before the state: a run that ends in between then counts as running, not as interrupted.
    const alive = await isLocked(lock);
    return { name, folder: folder.path, ...(await readRecord(folder, config, alive)) };
  };
  return {
    run,
    runs: async () => {
      const names: string[] = [];
      for await (const name of handle.keys()) if (await hasRun(self(), name)) names.push(name);
      return Promise.all(
        names.sort().map((name) =>
          run(name).catch((error: unknown): DamagedRun => {
            if (!(error instanceof VggError)) throw error;
            return { name, folder: `runs/${name}`, problem: error.message };
          }),
        ),
      );
    },
    metrics: async (name) => readMetricsIn((await runFolder(self(), name)).folder, runFiles.metrics),
    file: async (name, file) => {
      await runFolder(self(), name);
      return fileIn(await handle.getDirectoryHandle(name), file);
    },
    removeRun: async (name) => {
      const { lock } = await runFolder(self(), name);
      const held = await lockFolder(lock, `the run ${name}`);
      try {
        await removeRunFolder(self(), name);
      } finally {
        await held.release();
      }
    },
  };
}

/** A file with content; undefined if there is none. */
async function fileIn(folder: FileSystemDirectoryHandle, name: string): Promise<File | undefined> {
  try {
    const file = await (await folder.getFileHandle(name)).getFile();
    return file.size > 0 ? file : undefined;
  } catch (error) {
    if ((error as DOMException).name === 'NotFoundError') return undefined;
    throw error;
  }
}

type DatasetMethods = Pick<Store, 'datasets' | 'dataset' | 'addDataset' | 'removeDataset'>;

function datasetMethods(handle: FileSystemDirectoryHandle): DatasetMethods {
  const indexOf = async (own: FileSystemDirectoryHandle) => {
    const folder = opfsFolder(own, `datasets/${own.name}`);
    return checkedJson(folder.pathOf(indexFile), await readJsonIn(folder, indexFile), indexSchema);
  };
  const folderOf = async (name: DatasetSpec): Promise<FileSystemDirectoryHandle | undefined> => {
    try {
      return await handle.getDirectoryHandle(folderName(name));
    } catch (error) {
      if ((error as DOMException).name === 'NotFoundError') return undefined;
      throw error;
    }
  };
  const removeDataset = async (name: DatasetSpec): Promise<void> => {
    if (await folderOf(name)) await handle.removeEntry(folderName(name), { recursive: true });
  };
  return {
    removeDataset,
    datasets: async () => {
      const found: KeptDataset[] = [];
      for await (const own of handle.values()) {
        try {
          const { files: _, ...kept } = await indexOf(own as FileSystemDirectoryHandle);
          found.push(keptOf(kept));
        } catch (error) {
          // Without its index, it was not completely added.
          if (!(error instanceof DataError)) throw error;
        }
      }
      return found.sort((a, b) => (a.dataset < b.dataset ? -1 : 1));
    },
    dataset: async (name) => {
      const own = await folderOf(name);
      if (!own) return undefined;
      const { files, dataset } = await indexOf(own).catch((error: unknown) => {
        if (isMissing(error)) return { files: [], dataset: name };
        throw error;
      });
      if (files.length === 0) return undefined;
      const kept = await Promise.all(
        files.map(async (file): Promise<PathFile> => {
          const blob = await fileIn(own, file);
          if (!blob)
            throw new DataError(`${file} of the data set ${dataset} is missing; add the data set again`);
          return { path: file, file: blob };
        }),
      );
      const { kind, path } = nameParts(dataset as DatasetSpec);
      // Only who has a data set needs the code that reads it.
      const { openListed } = await import('./datasets.ts');
      return openListed(kept, kind === 'images' ? { name: path } : {}, true);
    },
    addDataset: async (given) => {
      await removeDataset(given.dataset);
      const own = await handle.getDirectoryHandle(folderName(given.dataset), { create: true });
      const folder = opfsFolder(own, `datasets/${own.name}`);
      const files = nameParts(given.dataset).kind === 'images' ? await asZip(given.files) : given.files;
      for (const { path, file } of files) {
        await folder.write(path, async ({ append }) => {
          for await (const piece of file.stream()) await append(piece);
        });
      }
      const bytes = files.reduce((sum, { file }) => sum + file.size, 0);
      const { dataset, classes, images } = given;
      const kept: KeptDataset = { dataset, classes, images, bytes };
      await writeJsonIn(folder, indexFile, { ...kept, files: files.map(({ path }) => path) });
      return kept;
    },
  };
}

const keptOf = ({ images, ...kept }: Omit<z.infer<typeof indexSchema>, 'files'>): KeptDataset => ({
  ...kept,
  dataset: kept.dataset as DatasetSpec,
  images: {
    train: images.train,
    ...(images.validation !== undefined && { validation: images.validation }),
    test: images.test,
  },
});

function nameParts(dataset: DatasetSpec): { readonly kind: 'cifar' | 'images'; readonly path: string } {
  const [, path] = /^folder:(.+)$/s.exec(dataset) ?? [];
  return path === undefined ? { kind: 'cifar', path: dataset } : { kind: 'images', path };
}

/** A name that every file system has: letters stay, others are written as their code. */
const folderName = (dataset: DatasetSpec): string =>
  nameParts(dataset).path.replaceAll(
    /[^\p{L}\p{N}_-]/gu,
    (letter) => `%${letter.codePointAt(0)!.toString(16)}`,
  ) + (nameParts(dataset).kind === 'images' ? '.images' : '');

/** Many files as one, since each takes milliseconds to write. */
async function asZip(files: readonly PathFile[]): Promise<readonly PathFile[]> {
  const [first] = files;
  if (files.length === 1 && first && /\.zip$/i.test(first.path))
    return [{ path: 'images.zip', file: first.file }];
  const parts: BlobPart[] = [];
  const entries = [];
  for (const { path, file } of files) {
    const crc = crc32(new Uint8Array(await file.arrayBuffer()));
    const entry = { name: path, size: file.size, crc };
    entries.push(entry);
    parts.push(localHeader(entry) as Uint8Array<ArrayBuffer>, file);
  }
  parts.push(directoryOf(entries) as Uint8Array<ArrayBuffer>);
  return [{ path: 'images.zip', file: new Blob(parts) }];
}
