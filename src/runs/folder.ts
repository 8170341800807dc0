/**
 * Run folders on disk (Node only): where they are, and what is in them (`run-folder.ts`).
 */

import { type Dirent, existsSync, realpathSync, statSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { DamagedRunError, UsageError, VggError } from '../errors.ts';
import { diskFolder } from '../files/disk.ts';
import { cannotRead, isMissing, isThere, readJson } from '../files/files.ts';
import { lockHolder } from '../files/lock.ts';
import { checkPath, pathInEnvironment } from '../paths.ts';
import { parseConfig } from '../train/config.ts';
import type { TrainConfig } from '../train/config-table.ts';
import { shellWord } from '../words.ts';
import {
  type DamagedRun,
  type PartTime,
  type RunRecord,
  type RunStatus,
  readRecord,
  runFiles,
} from './run-folder.ts';

export { type DamagedRun, type PartTime, type RunRecord, type RunStatus, runFiles };

/** What a folder of several seeds holds; see `series-folder.ts`. */
export const seriesFile = 'seeds.json';

/** Whether the folder holds a run. */
export const isRun = (folder: string): boolean => isThere(join(folder, runFiles.config));

/** Whether the folder is one of several seeds. */
export const isSeries = (folder: string): boolean => isThere(join(folder, seriesFile));

/** A folder's name; with that of its series in front, since seeds are called alike in all of them. */
export function runName(folder: string): string {
  const parent = dirname(folder);
  return isSeries(parent) ? `${basename(parent)}/${basename(folder)}` : basename(folder);
}

/** Reads a run, even while another process writes to it. @throws DataError that names the damaged file. */
export async function readRun(dir: string): Promise<RunRecord> {
  const folder = resolve(checkPath('readRun: the folder', dir));
  const config = await readConfig(folder);
  // Before the state: a run that ends in between then counts as running, not as interrupted.
  const alive = (await lockHolder(folder)) !== undefined;
  return { name: runName(folder), folder, ...(await readRecord(diskFolder(folder), config, alive)) };
}

/** The runs in `root` and in its series of seeds, sorted by name; empty if the folder does not exist. */
export async function listRuns(root: string): Promise<readonly (RunRecord | DamagedRun)[]> {
  checkPath('listRuns: the folder', root);
  let entries: readonly Dirent[];
  try {
    entries = await readdir(root, { withFileTypes: true });
  } catch (error) {
    if (isMissing(error)) return [];
    throw cannotRead(root, error);
  }
  const names = entries.map(({ name }) => name).sort();
  const runs = await Promise.all(
    names.map(async (name): Promise<readonly (RunRecord | DamagedRun)[]> => {
      const folder = resolve(root, name);
      try {
        if (isSeries(folder)) return await listRuns(folder);
        if (!isRun(folder)) return [];
        return [await readRun(folder)];
      } catch (error) {
        if (!(error instanceof VggError)) throw error;
        return [{ name: runName(folder), folder, problem: error.message }];
      }
    }),
  );
  return runs.flat();
}

/** Where runs go by default. */
export const runsRoot = (): string => pathInEnvironment(process.env.VGGNET_RUNS) ?? 'runs';

/** The folder of a run or a series of seeds, given as a path or as a name inside `runsRoot()`. */
export function runPlace(run: string): string {
  const holds = (folder: string): boolean => isRun(folder) || isSeries(folder);
  const usual = join(runsRoot(), run);
  return !holds(run) && holds(usual) ? usual : run;
}

function isFolder(path: string): boolean {
  try {
    return statSync(path).isDirectory();
  } catch {
    // Whoever opens it says why it cannot be read.
    return false;
  }
}

/** A weight file as it is; for a run folder, the file of its best weights. @throws VggError if it has none yet. */
export async function weightsIn(path: string): Promise<string> {
  if (!isFolder(path)) return path;
  // Says what is wrong with a folder that holds no run.
  await readConfig(path);
  const [best, last] = [join(path, runFiles.best), join(path, runFiles.last)];
  if (existsSync(best)) return best;
  throw new VggError(
    `${path} has no best weights (${runFiles.best}); they are saved after the first epoch. ` +
      (existsSync(last)
        ? `Name its last weights: ${last}`
        : `Continue the run with vgg train --resume ${shellWord(path)}`),
  );
}

/**
 * The weight file that a user names: a file, or the best weights of a run folder or of a run in `runs/`.
 * @throws UsageError if there is neither; VggError if the run has no best weights yet.
 */
export async function namedWeights(given: string): Promise<string> {
  if (existsSync(given) && !isFolder(given)) return given;
  const folder = runPlace(given);
  if (isRun(folder) || isSeries(folder)) return weightsIn(folder);
  throw new UsageError(`${given} is neither a weight file nor a run folder; name one, or a run in runs/`);
}

/** @throws UsageError if two of these paths are the same folder, for instance through a link. */
export function requireDifferent(folders: readonly string[], command: string): void {
  const seen = new Map<string, string>();
  for (const folder of folders) {
    const place = existsSync(folder) ? realpathSync(folder) : resolve(folder);
    const before = seen.get(place);
    if (before !== undefined) {
      const both =
        before === folder ? `${folder} is named twice` : `${before} and ${folder} are the same run`;
      throw new UsageError(`${command}: ${both}; name each run once`);
    }
    seen.set(place, folder);
  }
}

/** The config of a run. @throws DamagedRunError if the folder holds none. */
export async function readConfig(folder: string): Promise<TrainConfig> {
  const path = join(folder, runFiles.config);
  try {
    return parseConfig(await readJson(path), path);
  } catch (error) {
    if (isMissing(error)) {
      throw new DamagedRunError(
        isSeries(folder)
          ? `${folder} is a series of seeds, not a single run: ${await seedsIn(folder)}`
          : `${folder} is not a run folder: it has no ${runFiles.config}`,
      );
    }
    const { cause } = error as { readonly cause?: NodeJS.ErrnoException };
    if (cause?.code === 'ENOTDIR' && statSync(folder, { throwIfNoEntry: false })?.isFile()) {
      throw new DamagedRunError(
        `${folder} is a file, not a run folder; name a run, or test a file of weights with vgg evaluate`,
      );
    }
    throw error instanceof UsageError ? new DamagedRunError(error.message, { cause: error }) : error;
  }
}

/** What to name instead of a series. */
async function seedsIn(series: string): Promise<string> {
  const runs = await listRuns(series);
  return runs.length === 0
    ? `no seed has started yet; start them with vgg train --resume ${shellWord(series)}`
    : `name one or more of ${runs.map(({ folder }) => shellWord(folder)).join(' ')}`;
}
