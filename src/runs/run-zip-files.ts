/** Runs as zip archives on disk (Node only); see `run-zip.ts`. */
import { mkdirSync, statSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join, resolve } from 'node:path';
import { UsageError } from '../errors.ts';
import { diskFolder } from '../files/disk.ts';
import { cannotWrite, openParts, writeParts } from '../files/files.ts';
import { makeFolder } from '../files/make-folder.ts';
import type { TrainConfig } from '../train/config-table.ts';
import { shellWord } from '../words.ts';
import { readConfig } from './folder.ts';
import { isRunName, runInZip, unpackRun, zipOfRun } from './run-zip.ts';

/** Whether a path is a file that is called like a zip archive. */
export const isZip = (path: string): boolean =>
  /\.zip$/i.test(path) && statSync(path, { throwIfNoEntry: false })?.isFile() === true;

/** The config of the run in an archive. @throws DataError */
export async function configInZip(path: string): Promise<TrainConfig> {
  const file = await openParts(path);
  try {
    return (await runInZip(file)).config;
  } finally {
    await file.close();
  }
}

/**
 * Unpacks a run to a new folder in `root`; returns its path.
 * @throws DataError if it is no run, UsageError if the folder exists.
 */
export async function unpackZip(path: string, root: string): Promise<string> {
  const file = await openParts(path);
  try {
    const run = await runInZip(file);
    const folder = join(root, run.name);
    makeFolder(root);
    try {
      mkdirSync(folder);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw cannotWrite(folder, error);
      throw new UsageError(
        `${path} holds the run ${run.name}, but ${folder} exists: continue that run with --resume ${shellWord(folder)}, or ` +
          `move it away, and ${basename(path)} is unpacked in its place`,
      );
    }
    try {
      await unpackRun(run, diskFolder(folder));
    } catch (error) {
      await rm(folder, { recursive: true, force: true });
      throw error;
    }
    return folder;
  } finally {
    await file.close();
  }
}

/** Run folders, and archives unpacked to a temporary folder, which is removed at the end. */
export async function unpacked(
  paths: readonly string[],
): Promise<{ readonly folders: readonly string[] } & AsyncDisposable> {
  const temporary: string[] = [];
  const remove = async (): Promise<void> => {
    for (const folder of temporary) await rm(folder, { recursive: true, force: true });
  };
  const folders: string[] = [];
  try {
    for (const path of paths) {
      if (!isZip(path)) {
        folders.push(path);
        continue;
      }
      const root = await mkdtemp(join(tmpdir(), 'vggnet-run-'));
      temporary.push(root);
      folders.push(await unpackZip(path, root));
    }
  } catch (error) {
    await remove();
    throw error;
  }
  return { folders, [Symbol.asyncDispose]: remove };
}

/** Writes the run in `folder` as an archive, completely or not at all. @throws DataError if there is no run. */
export async function writeRunZip(folder: string, path: string): Promise<void> {
  await readConfig(folder);
  const own = basename(resolve(folder));
  const name = isRunName(own) ? own : 'run';
  await writeParts(path, async ({ append }) => {
    for await (const piece of zipOfRun(diskFolder(folder), name)) await append(piece);
  });
}
