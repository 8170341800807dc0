/**
 * Folders of `--seeds` (Node only): `seeds.json` says what is trained, and each seed has its run folder beside it, so
 * that an interrupted series can go on.
 */
import { existsSync } from 'node:fs';
import { rm, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import * as z from 'zod';
import { DataError, UsageError } from '../errors.ts';
import { makeFolder } from '../make-folder.ts';
import { parseConfig, type TrainConfig, usedOptions } from '../train/config.ts';
import { cannotWrite, readJson, writeJson } from './files.ts';
import { type RunRecord, runFiles, seriesFile } from './folder.ts';
import { bestEpoch } from './records.ts';

/** What is trained: `config` with its seed and those that follow, `seeds` in all. */
export interface SeedSeries {
  readonly config: TrainConfig;
  readonly seeds: number;
}

const schema = z.strictObject({ config: z.record(z.string(), z.unknown()), seeds: z.int().min(1) });

export const seedFolder = (series: string, seed: number): string => join(series, `seed-${seed}`);

/** @throws DataError where the file is damaged. */
export async function readSeries(folder: string): Promise<SeedSeries> {
  const path = join(folder, seriesFile);
  const result = schema.safeParse(await readJson(path));
  if (!result.success) throw new DataError(`${path} is damaged: ${z.prettifyError(result.error)}`);
  const { config, seeds } = result.data;
  try {
    return { seeds, config: parseConfig(config, path) };
  } catch (error) {
    throw error instanceof UsageError ? new DataError(error.message, { cause: error }) : error;
  }
}

/** Begins a series. @throws UsageError where the folder holds one, or a run. */
export async function createSeries(folder: string, series: SeedSeries): Promise<void> {
  const found = [seriesFile, runFiles.config].find((file) => existsSync(join(folder, file)));
  if (found !== undefined) {
    throw new UsageError(
      `${folder} already holds ${found}: go on with that (--resume ${folder}), or name another folder (--run)`,
    );
  }
  try {
    makeFolder(folder);
  } catch (error) {
    throw cannotWrite(folder, error);
  }
  await writeSeries(folder, series);
}

export const writeSeries = (folder: string, { seeds, config }: SeedSeries): Promise<void> =>
  writeJson(join(folder, seriesFile), { seeds, config: usedOptions(config) });

/** Removes a series of which no run began, and its folder where nothing else is in it. */
export async function removeSeries(folder: string, { config, seeds }: SeedSeries): Promise<void> {
  const numbers = Array.from({ length: seeds }, (_, i) => config.seed + i);
  if (numbers.some((seed) => existsSync(seedFolder(folder, seed)))) return;
  await rm(join(folder, seriesFile), { force: true });
  await rmdir(folder).catch(() => undefined);
}

/** The test accuracy that a finished run ended with: of the weights that it took back where it ended early. */
export function finalAccuracy({ epochs, status }: RunRecord): number {
  const last = status?.reason === 'no progress' ? bestEpoch(epochs) : epochs.at(-1);
  return last?.testAccuracy ?? Number.NaN;
}
