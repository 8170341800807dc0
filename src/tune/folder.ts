/**
 * A study's folder (Node only): `study.json` says what is searched and how, and is written first and whole;
 * `journal.log` has the trials, `workers/` their workers' signs of life, `runs/` a run folder for each trial.
 */
import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import * as z from 'zod';
import { check } from '../check.ts';
import { DataError, UsageError } from '../errors.ts';
import { readChecked, writeJson } from '../files/files.ts';
import { makeFolder } from '../files/make-folder.ts';
import { checkPath } from '../paths.ts';
import { parseConfig, type TrainConfig, trainOptions } from '../train/config.ts';
import type { Params } from './distributions.ts';
import {
  type AshaPrunerOptions,
  ashaPruner,
  type MedianPrunerOptions,
  medianPruner,
  noPruner,
  type Pruner,
} from './pruners.ts';
import { gridSampler } from './samplers/grid.ts';
import { randomSampler } from './samplers/random.ts';
import type { Sampler } from './samplers/sampler.ts';
import { tpeSampler } from './samplers/tpe.ts';
import { configOf, parseSpace, type TuneSpace } from './space.ts';
import { createStudy, loadStudy, type Study } from './study.ts';

export const samplerNames = ['grid', 'random', 'tpe'] as const;
export const prunerNames = ['none', 'median', 'asha'] as const;

const whole = (least: number, standard: number): z.ZodDefault<z.ZodInt> =>
  z.int().min(least).default(standard);

/** A pruner with its options, by Optuna's names for them. */
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
/** A name stands for the pruner with its defaults. */
const prunerSchema: z.ZodType<PrunerSettings> = z.preprocess(
  (given) => (typeof given === 'string' ? { name: given } : given),
  prunerForms,
);

/** @throws UsageError that says what is wrong with a pruner's name or options. */
export function parsePruner(given: unknown, where: string): PrunerSettings {
  const checked = check(prunerSchema, given, { at: ['pruner'] });
  if (checked.problems) throw new UsageError(`${where}: ${checked.problems.join('; ')}`);
  return checked.value;
}

/** What `study.json` holds. */
export interface StudySettings {
  /** A config file with candidates, see `parseSpace`. */
  readonly space: unknown;
  readonly sampler: (typeof samplerNames)[number];
  readonly pruner: PrunerSettings;
  readonly seed: number;
  /** New configurations in all; promotions and retries come besides. */
  readonly trials: number;
  /** How often a trial whose worker ended is tried again. */
  readonly retries: number;
  /** Whether trials and the study get reports as they end. */
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
  /** What the workers of this machine said. */
  logs: 'logs',
  /** Asks all workers to end, wherever they are, while it is there. */
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
  /** The training that a trial's values stand for. */
  readonly configOf: (params: Params) => TrainConfig;
  /** The run folder of a trial. */
  readonly runOf: (trial: number) => string;
  /** Opens the journal; `worker` marks the trials that are asked for. */
  readonly open: (worker?: string) => Study;
}

/**
 * Begins a study in `dir`.
 * @throws UsageError where there is one with other settings, or the space is wrong.
 */
export async function createStudyFolder(dir: string, settings: StudySettings): Promise<StudyFolder> {
  const folder = resolve(checkPath('createStudyFolder: the folder', dir));
  checkPruner(settings.pruner, parseSpace(settings.space, 'the space'));
  if (existsSync(join(folder, studyFiles.settings))) {
    const existing = await openStudyFolder(dir);
    // More trials may be wanted, or reports; everything else would make it another study.
    const other = Object.keys(settings).find((key) => {
      const name = key as keyof StudySettings;
      if (name === 'trials' || name === 'report') return false;
      return JSON.stringify(settings[name]) !== JSON.stringify(existing.settings[name]);
    });
    if (other !== undefined) {
      throw new UsageError(
        `${dir} holds a study with another ${other}; name a new folder with --study, or go on with vgg tune --study ${dir} alone`,
      );
    }
  }
  makeFolder(folder);
  await writeJson(join(folder, studyFiles.settings), settings);
  const study = await createStudy({
    journal: join(folder, studyFiles.journal),
    name: studyName,
    direction: 'maximize',
    space: parseSpace(settings.space, 'the space'),
    loadIfExists: true,
  });
  study.close();
  return openStudyFolder(dir);
}

/** @throws DataError where `dir` holds no study, or a damaged one. */
export async function openStudyFolder(dir: string): Promise<StudyFolder> {
  const folder = resolve(dir);
  const path: StudyFolder['path'] = (file) => join(folder, studyFiles[file]);
  if (!existsSync(path('settings'))) {
    throw new DataError(
      `${dir} holds no study: it has no ${studyFiles.settings}; vgg tune --config begins one`,
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
    runOf: (trial) => join(path('runs'), `trial-${String(trial).padStart(4, '0')}`),
    open: (worker) =>
      loadStudy({
        journal: path('journal'),
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
    case 'median':
      return medianPruner(settings);
    case 'asha':
      return ashaPruner(settings);
    default:
      return settings satisfies never;
  }
}

/** @throws UsageError where no trial is long enough to be pruned. */
function checkPruner(settings: PrunerSettings, { parameters, fixed }: TuneSpace): void {
  if (settings.name !== 'asha') return;
  const searched = parameters.find(({ name }) => name === 'epochs')?.distribution;
  if (searched?.kind === 'categorical') return;
  const epochs = searched?.high ?? fixed.epochs ?? (trainOptions.epochs.default as number);
  if (settings.minResource < epochs) return;
  throw new UsageError(
    `asha: minResource ${settings.minResource} is not below the ${epochs} epochs of a trial, so none would end early`,
  );
}
