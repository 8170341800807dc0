/**
 * A training with several seeds (Node only): one after the other, each in a run folder of its own if there is a folder.
 * An interrupted series resumes where it ended: finished seeds are kept, the interrupted one continues with the same
 * bits, and the missing ones are trained.
 */
import { withAbsolutePaths } from '../data/places.ts';
import { UsageError } from '../errors.ts';
import { checkOptions, checkWhole, mostSeeds } from '../options.ts';
import { checkPath } from '../paths.ts';
import { parseConfig } from '../train/config.ts';
import type { TrainConfigInput } from '../train/config-table.ts';
import { percent } from '../words.ts';
import { isRun, type RunRecord, readRun } from './folder.ts';
import { resumedConfig } from './place-node.ts';
import { finalAccuracy } from './records.ts';
import {
  createSeries,
  meanAndDeviation,
  readSeries,
  removeSeries,
  type SampleFigures,
  type SeedSeries,
  seedFolder,
  seedsOf,
  writeSeries,
} from './series-folder.ts';
import { runTraining, type TrainingOptions, type TrainingResult } from './training.ts';

export interface SeedsOptions extends Pick<TrainingOptions, 'onNotice' | 'signal'> {
  /** How many seeds, from the config's own on; by default, a resumed series keeps its number. */
  readonly seeds?: number;
  /** Starts a series in this folder. Without `folder` and `resume`, nothing is written. */
  readonly folder?: string;
  /** Resumes the series in this folder. */
  readonly resume?: string;
  /** Called before a seed is trained; finished ones are not trained again. */
  readonly onSeed?: (seed: Pick<SeedRun, 'seed' | 'folder'>) => SeedCallbacks | undefined;
}

/** What follows the training of one seed. */
export interface SeedCallbacks
  extends Pick<TrainingOptions, 'onStart' | 'onPrepare' | 'callbacks' | 'control' | 'live'> {
  /** Called after the training, before its model is closed. */
  readonly onEnd?: (result: TrainingResult) => void | Promise<void>;
}

/** A trained seed. */
export interface SeedRun {
  readonly seed: number;
  /** Its run folder; undefined if nothing is written. */
  readonly folder: string | undefined;
  /** Of the final weights; undefined if the metrics of a finished run are missing. */
  readonly testAccuracy: number | undefined;
}

/** All seeds, and the mean and sample deviation of their test accuracy. */
export interface SeedsResult extends SampleFigures {
  readonly runs: readonly SeedRun[];
}

/**
 * Trains according to `config` with consecutive seeds: all options of a new series, or those that change when a series
 * resumes.
 * @throws UsageError for wrong options; what `runTraining` throws, and the series can then resume.
 */
export async function trainSeeds(config: TrainConfigInput, options: SeedsOptions): Promise<SeedsResult> {
  checkOptions<SeedsOptions>('trainSeeds', options, {
    seeds: 'optional',
    folder: 'optional',
    resume: 'optional',
    onSeed: 'optional',
    onNotice: 'optional',
    signal: 'optional',
  });
  const { seeds, folder, resume } = options;
  for (const path of [folder, resume]) if (path !== undefined) checkPath('trainSeeds: the folder', path);
  if (seeds !== undefined) checkWhole('trainSeeds', 'seeds', seeds, 1, mostSeeds);
  const given = withAbsolutePaths(parseConfig(config, 'trainSeeds: config'));
  if (resume !== undefined) {
    const series = await resumedSeries(resume, config, seeds);
    await writeSeries(resume, series);
    return trainAll(resume, series, config, options);
  }
  if (seeds === undefined) throw new UsageError('trainSeeds: the option seeds is missing');
  const series = { config: given, seeds };
  if (folder === undefined) return trainAll(undefined, series, {}, options);
  await createSeries(folder, series);
  try {
    return await trainAll(folder, series, {}, options);
  } finally {
    await removeSeries(folder, series);
  }
}

/**
 * The series in `folder` with changes, which are checked for all its runs before anything is written.
 * @throws UsageError for a change that is not allowed, DataError for a damaged run.
 */
export async function resumedSeries(
  folder: string,
  changes: TrainConfigInput,
  seeds?: number,
): Promise<SeedSeries> {
  const before = await readSeries(folder);
  const series = { config: resumedConfig(before.config, changes), seeds: seeds ?? before.seeds };
  for (const seed of seedsOf(before)) {
    const own = seedFolder(folder, seed);
    if (!isRun(own)) continue;
    const { config, status } = await readRun(own);
    resumedConfig(config, ofEach(changes), status?.step);
  }
  return series;
}

/** The changes of a series as changes of its runs, each of which has its own seed. */
const ofEach = ({ seed: _, ...changes }: TrainConfigInput): TrainConfigInput => changes;

/** Trains every seed: skips finished ones and continues those that were started. */
async function trainAll(
  folder: string | undefined,
  series: SeedSeries,
  changes: TrainConfigInput,
  options: SeedsOptions,
): Promise<SeedsResult> {
  const { onNotice = console.warn } = options;
  const runs: SeedRun[] = [];
  for (const seed of seedsOf(series)) {
    const own = folder === undefined ? undefined : seedFolder(folder, seed);
    const started = own !== undefined && isRun(own);
    const known = started ? await readRun(own) : undefined;
    let testAccuracy: number | undefined;
    if (known?.state === 'finished' && !isLonger(known, ofEach(changes))) {
      testAccuracy = finalAccuracy(known);
      onNotice(`${own} is finished${testAccuracy === undefined ? '' : `: ${percent(testAccuracy)}`}.`);
    } else {
      const config = started ? ofEach(changes) : { ...series.config, seed };
      testAccuracy = await trainSeed(config, { seed, folder: own, started }, options);
    }
    runs.push({ seed, folder: own, testAccuracy });
  }
  const known = runs.flatMap(({ testAccuracy }) => testAccuracy ?? []);
  return { runs, ...meanAndDeviation(known) };
}

/** Whether changes move the end of a run. */
function isLonger({ config, status }: RunRecord, changes: TrainConfigInput): boolean {
  const { epochs, steps } = resumedConfig(config, changes, status?.step);
  return epochs !== config.epochs || steps !== config.steps;
}

/** Starts or continues one seed. Returns its test accuracy. */
async function trainSeed(
  config: TrainConfigInput,
  {
    seed,
    folder,
    started,
  }: { readonly seed: number; readonly folder: string | undefined; readonly started: boolean },
  { onSeed, onNotice, signal }: SeedsOptions,
): Promise<number | undefined> {
  const given = onSeed?.({ seed, folder }) ?? {};
  checkOptions<SeedCallbacks>('trainSeeds: onSeed', given, {
    onStart: 'optional',
    onPrepare: 'optional',
    callbacks: 'optional',
    control: 'optional',
    live: 'optional',
    onEnd: 'optional',
  });
  const { onEnd, ...callbacks } = given;
  const result = await runTraining(config, {
    ...callbacks,
    ...(folder !== undefined && (started ? { resume: folder } : { folder })),
    ...(onNotice && { onNotice }),
    ...(signal && { signal }),
  });
  await using _ = result.training.model;
  await onEnd?.(result);
  return result.testAccuracy;
}
