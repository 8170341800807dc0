/**
 * Run folders (Node only): all that there is of one training, in files that anyone can read. `config.json` is written
 * first, so a folder with one is a run. One process writes (`lock`); any other may read at any moment.
 */
import { type Dirent, existsSync, realpathSync, statSync } from 'node:fs';
import { mkdir, readdir, rm, rmdir } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import * as z from 'zod';
import { DataError, UsageError, VggError } from '../errors.ts';
import {
  type AppendFile,
  cannotRead,
  cannotWrite,
  isMissing,
  isThere,
  openAppend,
  readChecked,
  readJson,
  removeLeftovers,
  writeJson,
} from '../files/files.ts';
import { type LockOptions, lockFolder, lockHolder } from '../files/lock.ts';
import { makeFolder } from '../files/make-folder.ts';
import { checkPath, pathInEnvironment } from '../paths.ts';
import { parseConfig, type TrainConfig, usedOptions } from '../train/config.ts';
import type { Timed } from '../train/fit.ts';
import type { EpochRecord, RunEnvironment, RunState } from './records.ts';
import { readMetrics } from './table.ts';

/** The names of a run's files. */
export const runFiles = {
  config: 'config.json',
  environment: 'env.json',
  state: 'state.json',
  metrics: 'metrics.csv',
  log: 'log.txt',
  /** The newest checkpoint, and the one before it. */
  last: 'last.safetensors',
  previous: 'last.previous.safetensors',
  /** The weights of the best epoch. */
  best: 'best.safetensors',
  previousBest: 'best.previous.safetensors',
  report: 'report.html',
} as const;

/** What a folder of several seeds holds; see `seeds.ts`. */
export const seriesFile = 'seeds.json';

/** Whether the folder is one of several seeds. */
export const isSeries = (folder: string): boolean => isThere(join(folder, seriesFile));

/** A folder's name; with that of its series in front, since seeds are called alike in all of them. */
function runName(folder: string): string {
  const parent = dirname(folder);
  return isSeries(parent) ? `${basename(parent)}/${basename(folder)}` : basename(folder);
}

/** What `state.json` holds. */
export interface RunStatus {
  readonly state: RunState;
  /** Why it failed or was interrupted. */
  readonly reason?: string | undefined;
  /** The last epoch begun, the steps of the whole run, the seconds it took so far. */
  readonly epoch: number;
  readonly step: number;
  readonly seconds: number;
  /** The time that the epoch under way had taken at each of the newest checkpoints inside one. */
  readonly parts?: readonly PartTime[] | undefined;
}

/** `step` batches of an epoch, and how long they were trained. */
export interface PartTime extends Timed {
  readonly epoch: number;
  readonly step: number;
}

/** A run that this process writes to. */
export interface Run {
  readonly name: string;
  /** Absolute. */
  readonly folder: string;
  readonly config: TrainConfig;
  /** The path of one of its files. */
  readonly path: (file: keyof typeof runFiles) => string;
  /**
   * To be called before anything is written over: the folder may be another one by now.
   * @throws VggError if it was emptied, moved or replaced since the run was opened, or lacks one of these files.
   */
  readonly requireOwn: (files?: readonly (keyof typeof runFiles)[]) => Promise<void>;
  /** Of its options those that have an effect. */
  readonly writeConfig: (config: TrainConfig) => Promise<void>;
  readonly writeEnvironment: (environment: RunEnvironment) => Promise<void>;
  readonly writeStatus: (status: RunStatus) => Promise<void>;
  /** Appends lines to `log.txt`, each with the time. */
  readonly log: (text: string) => Promise<void>;
  /** Closes the log and lets the next writer in. */
  readonly close: () => Promise<void>;
}

/** A run as it stands. */
export interface RunRecord {
  readonly name: string;
  readonly folder: string;
  readonly config: TrainConfig;
  /** Absent where the run ended before its device was known. */
  readonly env?: RunEnvironment;
  /** Interrupted where nothing says how it ended. */
  readonly state: RunState;
  readonly status?: RunStatus;
  readonly epochs: readonly EpochRecord[];
}

/** A folder that holds a run which cannot be read. */
export interface DamagedRun {
  readonly name: string;
  readonly folder: string;
  readonly problem: string;
}

/**
 * Begins a run in `dir`, which is made where there is none.
 * @throws UsageError where the folder holds a run, VggError where it cannot be written or another process writes to it.
 */
export async function createRun(
  dir: string,
  config: TrainConfig,
  environment?: RunEnvironment,
  waiting: Waiting = {},
): Promise<Run> {
  const folder = resolve(checkPath('createRun: the folder', dir));
  refuseUsed(dir, folder);
  makeFolder(folder);
  return locked(
    folder,
    async (run) => {
      // Another process may have begun and ended one meanwhile.
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
 * Opens a run to go on with it.
 * @throws DataError where `dir` holds none or a damaged one, VggError where another process writes to it.
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

/** A run as it stands, whoever writes to it. @throws DataError that names the damaged file. */
export async function readRun(dir: string): Promise<RunRecord> {
  const folder = resolve(checkPath('readRun: the folder', dir));
  const config = await readConfig(folder);
  // Before the state: a run that ends in between is then one that runs, not one that was interrupted.
  const alive = (await lockHolder(folder)) !== undefined;
  const [env, status, metrics] = await Promise.all([
    optional(readChecked(join(folder, runFiles.environment), environmentSchema)),
    readStatus(folder),
    optional(readMetrics(join(folder, runFiles.metrics))),
  ]);
  const ended = status === undefined || status.state === 'running' ? 'interrupted' : status.state;
  return {
    name: runName(folder),
    folder,
    config,
    ...(env && { env }),
    state: alive ? 'running' : ended,
    ...(status && { status }),
    epochs: metrics?.epochs ?? [],
  };
}

/** Undefined where none was written yet. @throws DataError where it is damaged. */
export const readStatus = (folder: string): Promise<RunStatus | undefined> =>
  optional(readChecked(join(folder, runFiles.state), statusSchema));

/** The runs in `root` and in its series of seeds, in the order of their names; none where there is no such folder. */
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
        if (!isThere(join(folder, runFiles.config))) return [];
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

/** The folder of a run or a series of seeds that is named by it, or by its name alone where it is in the usual place. */
export function runPlace(run: string): string {
  const holds = (folder: string): boolean => isThere(join(folder, runFiles.config)) || isSeries(folder);
  const usual = join(runsRoot(), run);
  return !holds(run) && holds(usual) ? usual : run;
}

/** @throws UsageError if two of these folders are the same one, whatever they are called: by a link, for instance. */
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

/** `vgg7-cifar100-20261124-121530`, in local time. */
export function defaultRunName({ model, dataset }: TrainConfig, date: Date): string {
  const two = (value: number): string => String(value).padStart(2, '0');
  const day = `${date.getFullYear()}${two(date.getMonth() + 1)}${two(date.getDate())}`;
  const time = `${two(date.getHours())}${two(date.getMinutes())}${two(date.getSeconds())}`;
  return `${model}-${dataset}-${day}-${time}`;
}

/** Makes a new folder of the default name in `root`, with `-2`, `-3`, … where the name is taken. Returns its path. */
export async function newRunFolder(
  root: string,
  config: TrainConfig,
  date: Date = new Date(),
): Promise<string> {
  checkPath('newRunFolder: the folder', root);
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

/** Removes the files of a run that never began, and its folder where nothing else is in it. */
export async function removeFolder(folder: string): Promise<void> {
  for (const file of Object.values(runFiles))
    await rm(join(folder, file), { force: true }).catch(() => undefined);
  await rmdir(folder).catch(() => undefined);
}

/** How to wait for a writer of which nobody knows whether it still runs; without `onWait` it is an error. */
type Waiting = Pick<LockOptions, 'onWait' | 'signal'>;

/** Takes the folder's lock for what `body` gives; lets go of it where `body` fails. */
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
      throw new VggError(
        `${folder} was emptied, moved or replaced during training, so nothing more is written there; if it was ` +
          'moved, vgg train --resume continues from its new place',
      );
    }
    const missing = files.find((file) => !existsSync(path(file)));
    if (missing === undefined) return;
    throw new VggError(
      `${path(missing)} was deleted during training; put back a copy, and vgg train --resume ${folder} continues`,
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
    `${dir} already holds ${found}: go on with that run (--resume ${dir}), or name another folder (--run)`,
  );
}

async function readConfig(folder: string): Promise<TrainConfig> {
  const path = join(folder, runFiles.config);
  try {
    return parseConfig(await readJson(path), path);
  } catch (error) {
    if (isMissing(error)) {
      throw new DataError(
        isSeries(folder)
          ? `${folder} holds no run itself but those of several seeds: ${await seedsIn(folder)}`
          : `${folder} holds no run: it has no ${runFiles.config}`,
      );
    }
    const { cause } = error as { readonly cause?: NodeJS.ErrnoException };
    if (cause?.code === 'ENOTDIR' && statSync(folder, { throwIfNoEntry: false })?.isFile()) {
      throw new DataError(
        `${folder} is a file, not a run folder; evaluate tests a file of weights with --init`,
      );
    }
    throw error instanceof UsageError ? new DataError(error.message, { cause: error }) : error;
  }
}

/** What to name in place of a series. */
async function seedsIn(series: string): Promise<string> {
  const runs = await listRuns(series);
  return runs.length === 0
    ? `none has begun yet; vgg train --resume ${series} begins them`
    : `name one or several of ${runs.map(({ folder }) => folder).join(' ')}`;
}

const count = z.int().min(0);
const statusSchema: z.ZodType<RunStatus> = z.object({
  state: z.enum(['running', 'finished', 'interrupted', 'failed']),
  reason: z.string().optional(),
  epoch: count,
  step: count,
  seconds: z.number().min(0),
  parts: z
    .array(z.object({ epoch: count, step: count, seconds: z.number().min(0), images: count }))
    .optional(),
});

// Zod's optional keys may hold `undefined`, which JSON cannot: the types then differ in that alone.
const environmentSchema = z.object({
  vggnet: z.string(),
  node: z.string(),
  v8: z.string(),
  platform: z.string(),
  processor: z.string(),
  cores: count,
  memoryBytes: z.number().min(0),
  hostname: z.string(),
  device: z.string(),
  description: z.string(),
  threads: count,
  kernels: z.array(z.object({ after: count, name: z.string() })).optional(),
  git: z.object({ commit: z.string(), dirty: z.boolean() }).optional(),
  command: z.array(z.string()),
  folder: z.string(),
  started: z.string(),
  resumed: z
    .array(
      z.object({
        at: z.string(),
        epoch: count,
        step: count,
        description: z.string(),
        differs: z.string().optional(),
        rates: z.object({ before: z.number(), now: z.number() }).optional(),
      }),
    )
    .optional(),
}) as unknown as z.ZodType<RunEnvironment>;

/** Undefined where the file is missing. */
async function optional<T>(reading: Promise<T>): Promise<T | undefined> {
  try {
    return await reading;
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
}
