/**
 * Runs that this process writes to (Node only): creates and opens run folders, each locked for one writer.
 */
import { existsSync } from 'node:fs';
import { mkdir, rm, rmdir } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { shortName } from '../data/named.ts';
import { DamagedRunError, UsageError } from '../errors.ts';
import {
  type AppendFile,
  cannotWrite,
  isThere,
  openAppend,
  removeLeftovers,
  writeJson,
} from '../files/files.ts';
import { type LockOptions, lockFolder } from '../files/lock.ts';
import { makeFolder } from '../files/make-folder.ts';
import { checkArgument } from '../options.ts';
import { checkPath } from '../paths.ts';
import { usedOptions } from '../train/config.ts';
import type { TrainConfig } from '../train/config-table.ts';
import { shellWord } from '../words.ts';
import { type RunStatus, readConfig, runFiles, runName } from './folder.ts';
import type { RunEnvironment } from './records.ts';

/** A run that this process writes to. */
export interface Run {
  readonly name: string;
  /** Absolute. */
  readonly folder: string;
  readonly config: TrainConfig;
  /** The path of one of its files. */
  readonly path: (file: keyof typeof runFiles) => string;
  /**
   * Must be called before a file is overwritten: the path may lead to another folder by now.
   * @throws VggError if the folder was emptied, moved or replaced since the run was opened, or lacks one of `files`.
   */
  readonly requireOwn: (files?: readonly (keyof typeof runFiles)[]) => Promise<void>;
  /** Writes the options that have an effect. */
  readonly writeConfig: (config: TrainConfig) => Promise<void>;
  readonly writeEnvironment: (environment: RunEnvironment) => Promise<void>;
  readonly writeStatus: (status: RunStatus) => Promise<void>;
  /** Appends lines to `log.txt`, each with the time. */
  readonly log: (text: string) => Promise<void>;
  /** Closes the log and releases the lock. */
  readonly close: () => Promise<void>;
}

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

/** `vgg7-cifar100-20261124-121530`, in local time. */
export function defaultRunName({ model, dataset }: TrainConfig, date: Date): string {
  const two = (value: number): string => String(value).padStart(2, '0');
  const day = `${date.getFullYear()}${two(date.getMonth() + 1)}${two(date.getDate())}`;
  const time = `${two(date.getHours())}${two(date.getMinutes())}${two(date.getSeconds())}`;
  // A path's last part, without characters that file systems or shells treat specially.
  const name = shortName(dataset)
    .replaceAll(/[^\p{L}\p{M}\p{N}._-]+/gu, '-')
    .slice(0, 60);
  return `${model}-${name}-${day}-${time}`;
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
  const path: Run['path'] = (file) => join(folder, runFiles[file]);
  let log: Promise<AppendFile> | undefined;
  const requireOwn: Run['requireOwn'] = async (files = []) => {
    if (!(await lock.isHeld())) {
      throw new DamagedRunError(
        `${folder} was emptied, moved or replaced during training, so nothing more is written there; if it was ` +
          'moved, continue with vgg train --resume and its new path',
      );
    }
    const missing = files.find((file) => !existsSync(path(file)));
    if (missing === undefined) return;
    throw new DamagedRunError(
      `${path(missing)} was deleted during training; restore it, then continue with vgg train --resume ${shellWord(folder)}`,
    );
  };
  const writeOwn = async (file: keyof typeof runFiles, value: unknown): Promise<void> => {
    await requireOwn();
    await writeJson(path(file), value);
  };
  try {
    return await body((config) => ({
      name: runName(folder),
      folder,
      config,
      path,
      requireOwn,
      writeConfig: (own) => writeOwn('config', usedOptions(own)),
      writeEnvironment: (environment) => writeOwn('environment', environment),
      writeStatus: (status) => writeOwn('state', status),
      log: async (text) => {
        log ??= requireOwn().then(() => openAppend(path('log')));
        const time = new Date().toISOString();
        const lines = text.split('\n').map((line) => `${time} ${line}\n`);
        await (await log).append(lines.join(''));
      },
      close: async () => {
        try {
          await (await log)?.close();
        } finally {
          log = undefined;
          await lock.release();
        }
      },
    }));
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
