/**
 * A run folder: everything about one training, in plain files. `config.json` is written first, so a folder that has one
 * is a run. One process or page writes; others may read at any time. The folder is on disk (`folder.ts`, `run.ts`) or in a
 * browser's store.
 */
import * as z from 'zod';
import { shortName } from '../data/named.ts';
import { tilesSchema } from '../engine/webgpu/tiles-schema.ts';
import { DamagedRunError } from '../errors.ts';
import { type AppendFile, type Folder, optional, readOptionalIn, writeJsonIn } from '../files/folder.ts';
import { usedOptions } from '../train/config.ts';
import type { TrainConfig } from '../train/config-table.ts';
import type { Timed } from '../train/loop-state.ts';
import type { EpochRecord } from '../train/records.ts';
import { shellWord } from '../words.ts';
import type { RunEnvironment, RunState } from './records.ts';
import { readMetricsIn } from './table.ts';

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

/** What `state.json` holds. */
export interface RunStatus {
  readonly state: RunState;
  /** Why it failed or was interrupted. */
  readonly reason?: string | undefined;
  /** The current epoch, the steps of the whole run, and the seconds so far. */
  readonly epoch: number;
  readonly step: number;
  readonly seconds: number;
  /** Time spent in the epoch at each of the newest mid-epoch checkpoints. */
  readonly parts?: readonly PartTime[] | undefined;
}

/** Time of the first `step` batches of an epoch. */
export interface PartTime extends Timed {
  readonly epoch: number;
  readonly step: number;
}

/** The contents of a run folder. */
export interface RunRecord {
  readonly name: string;
  readonly folder: string;
  readonly config: TrainConfig;
  /** Absent if the run ended before its device was known. */
  readonly env?: RunEnvironment;
  /** `interrupted` if nothing says how the run ended. */
  readonly state: RunState;
  readonly status?: RunStatus;
  readonly epochs: readonly EpochRecord[];
}

/** A run folder that cannot be read. */
export interface DamagedRun {
  readonly name: string;
  readonly folder: string;
  readonly problem: string;
}

/** What a run's files hold besides its config; `alive` is whether it is being trained. @throws DataError */
export async function readRecord(
  folder: Folder,
  config: TrainConfig,
  alive: boolean,
): Promise<Omit<RunRecord, 'name' | 'folder'>> {
  const [env, status, metrics] = await Promise.all([
    readEnvironment(folder),
    readStatus(folder),
    optional(readMetricsIn(folder, runFiles.metrics)),
  ]);
  const ended = status === undefined || status.state === 'running' ? 'interrupted' : status.state;
  return {
    config,
    ...(env && { env }),
    state: alive ? 'running' : ended,
    ...(status && { status }),
    epochs: metrics?.epochs ?? [],
  };
}

/** Undefined if none was written yet. @throws DataError if the file is damaged. */
export const readStatus = (folder: Folder): Promise<RunStatus | undefined> =>
  readOptionalIn(folder, runFiles.state, statusSchema);

/** Undefined if none was written yet. @throws DataError if the file is damaged. */
export const readEnvironment = (folder: Folder): Promise<RunEnvironment | undefined> =>
  readOptionalIn(folder, runFiles.environment, environmentSchema);

/** A run that this process or page writes to. */
export interface Run {
  readonly name: string;
  /** On disk, absolute. */
  readonly folder: string;
  readonly config: TrainConfig;
  /** Its files. */
  readonly files: Folder;
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

/** What keeps others from writing to a folder. */
export interface WriterLock {
  readonly isHeld: () => Promise<boolean>;
  readonly release: () => Promise<void>;
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

/** The run in a locked folder. */
export function runIn(
  files: Folder,
  { name, config, lock }: { readonly name: string; readonly config: TrainConfig; readonly lock: WriterLock },
): Run {
  const { path: folder } = files;
  const path: Run['path'] = (file) => files.pathOf(runFiles[file]);
  let log: Promise<AppendFile> | undefined;
  const requireOwn: Run['requireOwn'] = async (needed = []) => {
    if (!(await lock.isHeld())) {
      throw new DamagedRunError(
        `${folder} was emptied, moved or replaced during training, so nothing more is written there; if it was ` +
          'moved, continue with vgg train --resume and its new path',
      );
    }
    const names = needed.length > 0 ? await files.names() : [];
    const missing = needed.find((file) => !names.includes(runFiles[file]));
    if (missing === undefined) return;
    throw new DamagedRunError(
      `${path(missing)} was deleted during training; restore it, then continue with vgg train --resume ${shellWord(folder)}`,
    );
  };
  const writeOwn = async (file: keyof typeof runFiles, value: unknown): Promise<void> => {
    await requireOwn();
    await writeJsonIn(files, runFiles[file], value);
  };
  return {
    name,
    folder,
    config,
    files,
    path,
    requireOwn,
    writeConfig: (own) => writeOwn('config', usedOptions(own)),
    writeEnvironment: (environment) => writeOwn('environment', environment),
    writeStatus: (status) => writeOwn('state', status),
    log: async (text) => {
      log ??= requireOwn().then(() => files.append(runFiles.log));
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
  };
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

// Zod's optional keys may hold `undefined`, which JSON cannot; the types differ only in that.
const environmentSchema = z.object({
  vggnet: z.string(),
  node: z.string().optional(),
  v8: z.string().optional(),
  browser: z.string().optional(),
  platform: z.string(),
  processor: z.string(),
  cores: count,
  memoryBytes: z.number().min(0),
  hostname: z.string(),
  device: z.string(),
  description: z.string(),
  threads: count,
  kernels: z.array(z.object({ after: count, name: z.string() })).optional(),
  images: z.string().optional(),
  tiles: tilesSchema.optional(),
  cacheBytes: z
    .int()
    .min(2 ** 14)
    .max(2 ** 30)
    .optional(),
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
