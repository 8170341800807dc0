/** Runs of a store as zip archives, which `vgg train --resume RUN.zip` and `vgg report RUN.zip` read. */
import { UsageError } from '../errors.ts';
import { checkOptions } from '../options.ts';
import { checkRunName, isRunName, runInZip, unpackRun, zipOfRun } from '../runs/run-zip.ts';
import { blobParts, lockFolder } from './opfs.ts';
import { hasRun, readConfigIn, removeRunFolder, runFolder, type Store } from './store.ts';

export interface ImportOptions {
  /** Of the run in the store; by default the name in the archive, with a number if it is taken. */
  readonly name?: string;
}

/** A run as a zip archive. @throws DataError if there is no such run. */
export async function exportRun(store: Store, name: string): Promise<Blob> {
  const { folder } = await runFolder(store, name);
  await readConfigIn(folder);
  const parts: Blob[] = [];
  // As blobs, which browsers keep on disk if they are large.
  for await (const piece of zipOfRun(folder, name)) parts.push(new Blob([piece as Uint8Array<ArrayBuffer>]));
  return new Blob(parts, { type: 'application/zip' });
}

/** Adds a run from a zip archive to the store; returns its name. @throws DataError if it is no run or not safe. */
export async function importRun(store: Store, zip: Blob, options: ImportOptions = {}): Promise<string> {
  checkOptions<ImportOptions>('importRun', options, { name: 'optional' });
  const run = await runInZip(blobParts(zip instanceof File ? zip.name : 'the archive', zip));
  const { name: wanted = run.name } = options;
  checkRunName('importRun', wanted);
  if (options.name !== undefined && (await hasRun(store, wanted)))
    throw new UsageError(`importRun: there is a run ${wanted}; choose another name, or remove it first`);
  const name = await freeName(store, wanted);
  const { folder, lock } = await runFolder(store, name, true);
  const held = await lockFolder(lock, `the run ${name}`);
  try {
    await unpackRun(run, folder);
  } catch (error) {
    await removeRunFolder(store, name);
    throw error;
  } finally {
    await held.release();
  }
  return name;
}

/** The name, or the name with the first free number. */
export async function freeName(store: Store, name: string): Promise<string> {
  const base = isRunName(name) ? name : 'run';
  for (let i = 1; ; i++) {
    const own = i === 1 ? base : `${base.slice(0, 110)}-${i}`;
    if (!(await hasRun(store, own))) return own;
  }
}
