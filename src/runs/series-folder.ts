/**
 * Folders of several seeds (Node only): `seeds.json` says what to train, and each seed has its run folder next to it,
 * so that an interrupted series can resume (`series.ts`).
 */
import { rm, rmdir } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import * as z from 'zod';
import { DataError, UsageError, VggError } from '../errors.ts';
import { isThere, readChecked, writeJson } from '../files/files.ts';
import { makeFolder } from '../files/make-folder.ts';
import { mostSeeds } from '../options.ts';
import { parseConfig, usedOptions } from '../train/config.ts';
import type { TrainConfig } from '../train/config-table.ts';
import { type DamagedRun, isSeries, listRuns, type RunRecord, runFiles, seriesFile } from './folder.ts';
import { finalAccuracy } from './records.ts';

/** A series trains `config` with `seeds` consecutive seeds, starting with its own. */
export interface SeedSeries {
  readonly config: TrainConfig;
  readonly seeds: number;
}

const schema = z.strictObject({
  config: z.record(z.string(), z.unknown()),
  seeds: z.int().min(1).max(mostSeeds),
});

export const seedFolder = (series: string, seed: number): string => join(series, `seed-${seed}`);

/** The seeds that a series trains, in order. */
export const seedsOf = ({ config, seeds }: SeedSeries): readonly number[] =>
  Array.from({ length: seeds }, (_, i) => config.seed + i);

/** @throws DataError if the file is damaged. */
export async function readSeries(folder: string): Promise<SeedSeries> {
  const path = join(folder, seriesFile);
  const { config, seeds } = await readChecked(path, schema);
  try {
    return { seeds, config: parseConfig(config, path) };
  } catch (error) {
    throw error instanceof UsageError ? new DataError(error.message, { cause: error }) : error;
  }
}

/** Creates a series. @throws UsageError if the folder already holds a series or a run. */
export async function createSeries(folder: string, series: SeedSeries): Promise<void> {
  const found = [seriesFile, runFiles.config].find((file) => isThere(join(folder, file)));
  if (found !== undefined) {
    throw new UsageError(
      `${folder} already holds ${found}: resume it (--resume ${folder}), or choose another folder (--run)`,
    );
  }
  makeFolder(folder);
  await writeSeries(folder, series);
}

export const writeSeries = (folder: string, { seeds, config }: SeedSeries): Promise<void> =>
  writeJson(join(folder, seriesFile), { seeds, config: usedOptions(config) });

/** Removes a series if none of its runs started, and its folder if it is then empty. */
export async function removeSeries(folder: string, series: SeedSeries): Promise<void> {
  if (seedsOf(series).some((seed) => isThere(seedFolder(folder, seed)))) return;
  await rm(join(folder, seriesFile), { force: true });
  await rmdir(folder).catch(() => undefined);
}

/** Statistics of a sample. An empty sample has no mean, a single value no deviation. */
export interface SampleFigures {
  readonly mean?: number;
  readonly deviation?: number;
}

export function meanAndDeviation(values: readonly number[]): SampleFigures {
  if (values.length === 0) return {};
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  if (values.length === 1) return { mean };
  const squares = values.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  return { mean, deviation: Math.sqrt(squares / (values.length - 1)) };
}

/** The contents of a series. */
export interface SeriesRecord extends SampleFigures {
  readonly name: string;
  readonly folder: string;
  /** Number of seeds to train. */
  readonly seeds: number;
  /** Of the finished seeds, in order. */
  readonly testAccuracy: readonly number[];
}

/** The runs of `listRuns(root)`; after the runs of each series comes its `SeriesRecord`. */
export async function listWithSeries(
  root: string,
): Promise<readonly (RunRecord | DamagedRun | SeriesRecord)[]> {
  const runs = await listRuns(root);
  const listed: (RunRecord | DamagedRun | SeriesRecord)[] = [];
  for (const [i, run] of runs.entries()) {
    listed.push(run);
    const folder = dirname(run.folder);
    const next = runs[i + 1];
    if (!isSeries(folder) || (next && dirname(next.folder) === folder)) continue;
    listed.push(await seriesRecord(basename(folder), folder, runs));
  }
  return listed;
}

async function seriesRecord(
  name: string,
  folder: string,
  runs: readonly (RunRecord | DamagedRun)[],
): Promise<SeriesRecord | DamagedRun> {
  try {
    const series = await readSeries(folder);
    const testAccuracy = seedsOf(series).flatMap((seed) => {
      const run = runs.find((known) => known.folder === seedFolder(folder, seed));
      return run && 'state' in run && run.state === 'finished' ? (finalAccuracy(run) ?? []) : [];
    });
    return { name, folder, seeds: series.seeds, testAccuracy, ...meanAndDeviation(testAccuracy) };
  } catch (error) {
    if (!(error instanceof VggError)) throw error;
    return { name, folder, problem: error.message };
  }
}
