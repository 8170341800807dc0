/**
 * Runs that this process writes to (Node only): creates and opens run folders, each locked for one writer.
 */
import { existsSync } from 'node:fs';
import { mkdir, rm, rmdir } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { UsageError } from '../errors.ts';
import { diskFolder } from '../files/disk.ts';
import { cannotWrite, isThere, removeLeftovers } from '../files/files.ts';
import { type LockOptions, lockFolder } from '../files/lock.ts';
import { makeFolder } from '../files/make-folder.ts';
import { checkArgument } from '../options.ts';
import { checkPath } from '../paths.ts';
import type { TrainConfig } from '../train/config-table.ts';
import { readConfig, runFiles, runName } from './folder.ts';
import type { RunEnvironment } from './records.ts';
import { defaultRunName, type Run, runIn } from './run-folder.ts';

export type { Run };

/**
 * Starts a run in `dir`, which is created if needed.
 * @throws UsageError if the folder holds a run, VggError if it cannot be written or another process writes to it.
 */
export async function createRun(
  dir: string,
  config: TrainConfig,
  environment?: RunEnvironment,
  waiting: Waiting = {},
): Promise<Run> {
  const folder = resolve(checkPath('createRun: the folder', dir));
  checkConfig('createRun', config);
  refuseUsed(dir, folder);
  makeFolder(folder);
  return locked(
    folder,
    async (run) => {
      // Another process may have created a run in the meantime.
      refuseUsed(dir, folder);
      const created = run(config);
      await created.writeConfig(config);
      if (environment) await created.writeEnvironment(environment);
      return created;
    },
    waiting,
  );
}

/**
 * Opens a run to resume it.
 * @throws DataError if `dir` holds no run or a damaged one, VggError if another process writes to it.
 */
export async function openRun(dir: string, waiting: Waiting = {}): Promise<Run> {
  const folder = resolve(checkPath('openRun: the folder', dir));
  await readConfig(folder);
  return locked(
    folder,
    async (run) => {
      const opened = run(await readConfig(folder));
      await removeLeftovers(folder);
      return opened;
    },
    waiting,
  );
}

/** Creates a new folder with the default name in `root`, plus `-2`, `-3`, … if the name is taken. Returns its path. */
export async function newRunFolder(
  root: string,
  config: TrainConfig,
  date: Date = new Date(),
): Promise<string> {
  checkPath('newRunFolder: the folder', root);
  checkConfig('newRunFolder', config);
  const name = defaultRunName(config, date);
  for (let i = 1; ; i++) {
    const folder = join(root, i === 1 ? name : `${name}-${i}`);
    try {
      makeFolder(root);
      await mkdir(folder);
      return folder;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST' || !existsSync(folder))
        throw cannotWrite(folder, error);
    }
  }
}

function checkConfig(where: string, config: TrainConfig): void {
  checkArgument(where, 'config', config, ['model', 'dataset'], 'a config; complete one with parseConfig');
}

/** Removes the files of a run that never started, and its folder if it is then empty. */
export async function removeFolder(folder: string): Promise<void> {
  for (const file of Object.values(runFiles))
    await rm(join(folder, file), { force: true }).catch(() => undefined);
  await rmdir(folder).catch(() => undefined);
}

/** How to wait for a writer that may or may not be alive; without `onWait` this is an error. */
type Waiting = Pick<LockOptions, 'onWait' | 'signal'>;

/** Locks the folder for the run that `body` returns; releases the lock if `body` fails. */
async function locked(
  folder: string,
  body: (run: (config: TrainConfig) => Run) => Promise<Run>,
  waiting: Waiting,
): Promise<Run> {
  const lock = await lockFolder(folder, waiting);
  try {
    return await body((config) => runIn(diskFolder(folder), { name: runName(folder), config, lock }));
  } catch (error) {
    await lock.release();
    throw error;
  }
}

function refuseUsed(dir: string, folder: string): void {
  const found = Object.values(runFiles).find((file) => isThere(join(folder, file)));
  if (found === undefined) return;
  throw new UsageError(
    `${dir} already holds ${found}: resume that run (--resume ${dir}), or choose another folder (--run)`,
  );
}
