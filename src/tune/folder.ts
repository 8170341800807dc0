/**
 * A study's folder (Node only). `study.json`, written first and atomically, says what is searched and how. `journal.log`
 * has the trials, `workers/` the workers' heartbeats, and `runs/` a run folder for each trial.
 */
import { readdirSync } from 'node:fs';
import { rm, rmdir } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import * as z from 'zod';
import { check } from '../check.ts';
import { DataError, UsageError, VggError } from '../errors.ts';
import { cannotRead, isThere, readChecked, readWhole, writeJson, writeWhole } from '../files/files.ts';
import { makeFolder } from '../files/make-folder.ts';
import { checkPath } from '../paths.ts';
import { flagOf, shellWord } from '../report/command.ts';
import { parseConfig } from '../train/config.ts';
import { type TrainConfig, trainOptions } from '../train/config-table.ts';
import type { Params } from './distributions.ts';
import { Journal } from './journal.ts';
import {
  type AshaPrunerOptions,
  ashaPruner,
  type MedianPrunerOptions,
  medianPruner,
  noPruner,
  type Pruner,
} from './pruners.ts';
import type { FrozenTrial } from './replay.ts';
import { gridSampler } from './samplers/grid.ts';
import { randomSampler } from './samplers/random.ts';
import type { Sampler } from './samplers/sampler.ts';
import { tpeSampler } from './samplers/tpe.ts';
import { pointOf } from './search-space.ts';
import { configOf, parseSpace, type TuneSpace } from './space.ts';
import { createStudy, loadStudy, type Study } from './study.ts';

export const samplerNames = ['grid', 'random', 'tpe'] as const;
export const prunerNames = ['none', 'median', 'asha'] as const;

const whole = (least: number, standard: number): z.ZodDefault<z.ZodInt> =>
  z.int().min(least).default(standard);

/** A pruner with its options, with Optuna's names. */
export type PrunerSettings =
  | { readonly name: 'none' }
  | ({ readonly name: 'median' } & Required<MedianPrunerOptions>)
  | ({ readonly name: 'asha' } & Required<AshaPrunerOptions>);

const prunerForms: z.ZodType<PrunerSettings> = z.discriminatedUnion('name', [
  z.strictObject({ name: z.literal('none') }),
  z.strictObject({
    name: z.literal('median'),
    startupTrials: whole(0, 5),
    warmupSteps: whole(0, 0),
    interval: whole(1, 1),
  }),
  z.strictObject({ name: z.literal('asha'), minResource: whole(1, 1), reductionFactor: whole(2, 4) }),
]);
/** A name means the pruner with its default options. */
const prunerSchema: z.ZodType<PrunerSettings> = z.preprocess(
  (given) => (typeof given === 'string' ? { name: given } : given),
  prunerForms,
);

/** @throws UsageError if the pruner's name or options are invalid. */
export function parsePruner(given: unknown, where: string): PrunerSettings {
  const checked = check(prunerSchema, given, { at: ['pruner'] });
  if (checked.problems) throw new UsageError(`${where}: ${checked.problems.join('; ')}`);
  return checked.value;
}

/** The content of `study.json`. */
export interface StudySettings {
  /** A config file with candidates, see `parseSpace`. */
  readonly space: unknown;
  readonly sampler: (typeof samplerNames)[number];
  readonly pruner: PrunerSettings;
  readonly seed: number;
  /** Number of configurations in total, not counting promotions and retries. */
  readonly trials: number;
  /** How often a trial is retried after its worker died. */
  readonly retries: number;
  /** Whether trials and the study get reports when they end. */
  readonly report: boolean;
}

const schema: z.ZodType<StudySettings> = z.strictObject({
  space: z.unknown(),
  sampler: z.enum(samplerNames),
  pruner: prunerSchema,
  seed: z.int().min(0),
  trials: z.int().min(1),
  retries: z.int().min(0),
  report: z.boolean().default(true),
});

export const studyFiles = {
  settings: 'study.json',
  journal: 'journal.log',
  workers: 'workers',
  runs: 'runs',
  /** Output of the workers on this machine. */
  logs: 'logs',
  /** While this file exists, all workers on all machines end. */
  stop: 'stop',
  /** The Slurm job that was submitted last. */
  slurm: 'slurm.json',
  report: 'report.html',
} as const;

/** The one study of a folder's journal. */
const studyName = 'vgg';

export interface StudyFolder {
  /** Absolute. */
  readonly folder: string;
  readonly settings: StudySettings;
  readonly space: TuneSpace;
  readonly path: (file: keyof typeof studyFiles) => string;
  /** The training config for a trial's values. */
  readonly configOf: (params: Params) => TrainConfig;
  /** The run folder of a trial. */
  readonly runOf: (trial: number) => string;
  /** Opens the journal. `worker` is stored with the trials that are asked for. */
  readonly open: (worker?: string) => Promise<Study>;
}

/** A study that may start or continue; nothing of it is written yet. */
export interface PlannedStudy extends Pick<StudyFolder, 'folder' | 'path'> {
  readonly write: () => Promise<StudyFolder>;
  /** Restores the folder as it was before `write`; only before anyone works on the study. */
  readonly undo: () => Promise<void>;
}

/**
/**
 * Starts a study in `dir`, or continues it.
 * @throws UsageError or DataError as `checkSettings` does.
 */
export async function createStudyFolder(dir: string, settings: StudySettings): Promise<StudyFolder> {
  checkPath('createStudyFolder: the folder', dir);
  return (await planStudy(dir, settings)).write();
}

/** Checks what `createStudyFolder` checks, and writes nothing yet. @throws as `checkSettings` does. */
export async function planStudy(dir: string, given: StudySettings): Promise<PlannedStudy> {
  const settings = await checkSettings(dir, given);
  const { folder, path } = placeOf(dir);
  let undo = async (): Promise<void> => {};
  return {
    folder,
    path,
    undo: () => undo(),
    async write() {
      undo = await rememberFiles(path);
      makeFolder(folder);
      await writeJson(path('settings'), settings);
      const study = await createStudy({
        journal: path('journal'),
        name: studyName,
        direction: 'maximize',
        space: parseSpace(settings.space, 'the space'),
        loadIfExists: true,
      });
      study.close();
      return openStudyFolder(dir);
    },
  };
}

/** Remembers the files that the start of a study changes. Returns `undo`. */
async function rememberFiles(path: StudyFolder['path']): Promise<() => Promise<void>> {
  const contents = await Promise.all(
    (['settings', 'slurm', 'stop'] as const).map(async (name) => {
      const file = path(name);
      return [file, isThere(file) ? await readWhole(file, 1 << 20) : undefined] as const;
    }),
  );
  const own = [path('journal'), `${path('journal')}.lock`, `${path('journal')}.holders`].filter(
    (file) => !isThere(file),
  );
  const folders: string[] = [];
  for (let at = dirname(path('settings')); !isThere(at); at = dirname(at)) folders.push(at);
  return async () => {
    for (const [file, content] of contents) {
      if (content === undefined) await rm(file, { force: true });
      else await writeWhole(file, content);
    }
    for (const file of own) await rm(file, { recursive: true, force: true });
    // Whatever else was put into a folder meanwhile stays, and so does the folder.
    for (const made of folders) await rmdir(made).catch(() => undefined);
  };
}

function placeOf(dir: string): Pick<StudyFolder, 'folder' | 'path'> {
  const folder = resolve(dir);
  return { folder, path: (file) => join(folder, studyFiles[file]) };
}

/**
 * Checks whether a study in `dir` can start, or continue, with these settings. Writes nothing.
 * @returns the settings of the study.
 * @throws UsageError if the study has other settings, or they do not go together.
 * @throws DataError if the journal does not belong to the run folders beside it.
 */
async function checkSettings(dir: string, settings: StudySettings): Promise<StudySettings> {
  const space = parseSpace(settings.space, 'the space');
  checkPruner(settings.pruner, space);
  samplerOf(settings.sampler).check?.(space);
  const { folder, path } = placeOf(dir);
  const runs = runNumbers(path('runs'));
  const trials = isThere(path('journal'))
    ? ((await Journal.open(path('journal'))).state.studyNamed(studyName)?.trials ?? [])
    : [];
  checkRuns(folder, runs, trials);
  if (!isThere(path('settings'))) return settings;
  const { settings: existing } = await openStudyFolder(dir);
  const differing = differences(existing, settings);
  if (differing.length > 0) {
    throw new UsageError(
      `${dir} has a study with other settings: ${differing.join('; ')}. ` +
        `Continue it with vgg tune --study ${shellWord(dir)}, or name a new folder with --study`,
    );
  }
  return { ...existing, trials: settings.trials, report: settings.report };
}

/** What differs between a study and the settings to continue it with. More trials may be wanted, or reports. */
function differences(existing: StudySettings, given: StudySettings): readonly string[] {
  const [before, now] = [existing, given].map(({ space, pruner, sampler, seed, retries }) => {
    const { name, ...ofPruner } = pruner;
    const flags = { sampler, pruner: name, ...ofPruner, seed, retries };
    return new Map<string, unknown>([
      ...Object.entries(flags).map(([key, value]): [string, unknown] => [flagOf(key), value]),
      ...Object.entries(space as object),
    ]);
  }) as [Map<string, unknown>, Map<string, unknown>];
  // Another pruner has other options.
  const isOther = existing.pruner.name !== given.pruner.name;
  const ofPruners = Object.keys({ ...existing.pruner, ...given.pruner }).filter((key) => key !== 'name');
  const skipped = new Set(isOther ? ofPruners.map(flagOf) : []);
  return [...new Set([...before.keys(), ...now.keys()])]
    .filter((name) => !skipped.has(name) && !isDeepStrictEqual(before.get(name), now.get(name)))
    .map((name) => `${name} is ${settingText(before.get(name))} there, ${settingText(now.get(name))} here`);
}

function settingText(value: unknown): string {
  if (value === undefined) return 'not set';
  const text = typeof value === 'string' ? value : JSON.stringify(value);
  return text.length > 60 ? `${text.slice(0, 60)}…` : text;
}

/** Whether the values are a training of this study. Optuna can add trials with other ones, which no command repeats. */
export function isRepeatable({ space, configOf }: StudyFolder, params: Params): boolean {
  try {
    configOf(params);
    return pointOf(space, params) !== undefined;
  } catch (error) {
    if (error instanceof VggError) return false;
    throw error;
  }
}

/** The trials that have run folders. */
export function runNumbers(runs: string): readonly number[] {
  if (!isThere(runs)) return [];
  try {
    return readdirSync(runs).flatMap((name) => /^trial-(\d+)$/.exec(name)?.slice(1).map(Number) ?? []);
  } catch (error) {
    throw cannotRead(runs, error);
  }
}

/**
 * Checks that no trial has a run folder before it started. `runs` must be listed before `trials` is read.
 * @throws DataError if the journal is older than the run folders, for instance because it was restored from a backup.
 */
export function checkRuns(folder: string, runs: readonly number[], trials: readonly FrozenTrial[]): void {
  const hasStarted = (trial: FrozenTrial | undefined): boolean =>
    trial !== undefined && (trial.state !== 'waiting' || trial.started !== undefined);
  const early = runs.filter((number) => !hasStarted(trials[number]));
  if (early.length === 0) return;
  const [first] = early.toSorted((a, b) => a - b);
  throw new DataError(
    `${join(folder, studyFiles.journal)} is older than the folders in ${studyFiles.runs}/: ` +
      `${trialFolder(first!)} exists, but the journal says that trial ${first} has not started. ` +
      `Restore the journal that belongs to these runs, or move ${early.length === 1 ? 'this folder' : `these ${early.length} folders`} away`,
  );
}

const trialFolder = (trial: number): string => `trial-${String(trial).padStart(4, '0')}`;

/** @throws DataError if `dir` has no study, or a damaged one. */
export async function openStudyFolder(dir: string): Promise<StudyFolder> {
  const { folder, path } = placeOf(dir);
  if (!isThere(path('settings'))) {
    throw new DataError(
      `${dir} has no study (no ${studyFiles.settings}); start one with vgg tune --config exercise --study ${shellWord(dir)}, or with your own space`,
    );
  }
  const settings = await readChecked(path('settings'), schema);
  const space = parseSpace(settings.space, path('settings'));
  return {
    folder,
    settings,
    space,
    path,
    configOf: (params) => parseConfig(configOf(space, params), path('settings')),
    runOf: (trial) => join(path('runs'), trialFolder(trial)),
    open: async (worker) =>
      loadStudy({
        journal: await Journal.open(path('journal'), { create: false }),
        name: studyName,
        space,
        sampler: samplerOf(settings.sampler),
        pruner: prunerOf(settings.pruner),
        seed: settings.seed,
        ...(worker !== undefined && { worker }),
      }),
  };
}

function samplerOf(name: StudySettings['sampler']): Sampler {
  switch (name) {
    case 'grid':
      return gridSampler();
    case 'random':
      return randomSampler();
    case 'tpe':
      return tpeSampler();
    default:
      return name satisfies never;
  }
}

function prunerOf(settings: PrunerSettings): Pruner {
  switch (settings.name) {
    case 'none':
      return noPruner();
    case 'median': {
      const { name, ...options } = settings;
      return medianPruner(options);
    }
    case 'asha': {
      const { name, ...options } = settings;
      return ashaPruner(options);
    }
    default:
      return settings satisfies never;
  }
}

/** @throws UsageError if no trial is long enough to be pruned. */
function checkPruner(settings: PrunerSettings, { parameters, fixed }: TuneSpace): void {
  if (settings.name !== 'asha') return;
  const searched = parameters.find(({ name }) => name === 'epochs')?.distribution;
  if (searched?.kind === 'categorical') return;
  const epochs = searched?.high ?? fixed.epochs ?? (trainOptions.epochs.default as number);
  if (settings.minResource < epochs) return;
  throw new UsageError(
    `asha: minResource ${settings.minResource} is not below the ${epochs} epochs of a trial, so no trial would end early; lower it, or train longer`,
  );
}
