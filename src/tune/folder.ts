/**
 * A study's folder (Node only): `study.json` says what is searched and how, and is written first and whole;
 * `journal.log` has the trials, `workers/` their workers' signs of life, `runs/` a run folder for each trial.
 */
import { existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import * as z from 'zod';
import { DataError, UsageError } from '../errors.ts';
import { readJson, writeJson } from '../runs/files.ts';
import { parseConfig, type TrainConfig } from '../train/config.ts';
import type { Params } from './distributions.ts';
import { ashaPruner, medianPruner, noPruner, type Pruner } from './pruners.ts';
import { gridSampler } from './samplers/grid.ts';
import { randomSampler } from './samplers/random.ts';
import type { Sampler } from './samplers/sampler.ts';
import { tpeSampler } from './samplers/tpe.ts';
import { configOf, parseSpace, type TuneSpace } from './space.ts';
import { createStudy, loadStudy, type Study } from './study.ts';

export const samplerNames = ['grid', 'random', 'tpe'] as const;
export const prunerNames = ['none', 'median', 'asha'] as const;

/** What `study.json` holds. */
export interface StudySettings {
  /** A config file with candidates, see `parseSpace`. */
  readonly space: unknown;
  readonly sampler: (typeof samplerNames)[number];
  readonly pruner: (typeof prunerNames)[number];
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
  pruner: z.enum(prunerNames),
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
  const folder = resolve(dir);
  parseSpace(settings.space, 'the space');
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
  await mkdir(folder, { recursive: true });
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
  const result = schema.safeParse(await readJson(path('settings')));
  if (!result.success)
    throw new DataError(`${path('settings')} is damaged: ${z.prettifyError(result.error)}`);
  const settings = result.data;
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

function prunerOf(name: StudySettings['pruner']): Pruner {
  switch (name) {
    case 'none':
      return noPruner();
    case 'median':
      return medianPruner();
    case 'asha':
      return ashaPruner();
    default:
      return name satisfies never;
  }
}
