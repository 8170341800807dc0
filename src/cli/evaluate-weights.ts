/** What `vgg evaluate` tests: weights as they describe themselves and as options complete them, and their test images. */
import { dirname } from 'node:path';
import type { Command } from 'commander';
import type { Dataset } from '../data/dataset.ts';
import { loadDataset } from '../data/load.ts';
import { type DatasetChoice, datasetNames } from '../data/named.ts';
import type { ChannelStatistics } from '../data/statistics.ts';
import { isStored, type StoredDataset } from '../data/stored.ts';
import { UsageError, VggError } from '../errors.ts';
import { joinedPictures, type Pictures, picturesOf } from '../evaluation/pictures.ts';
import { type Chosen, type ModelInfo, refuseContradictions } from '../model/info.ts';
import { openWeights, readInfo } from '../model/weight-files.ts';
import { readAll } from '../model/weight-streams.ts';
import { flagWithValue } from '../report/command.ts';
import { isRun, namedWeights, readConfig, runPlace } from '../runs/folder.ts';
import { normalizationOf } from '../runs/loaders.ts';
import { type OpenedModel, openModel } from '../runs/open-model.ts';
import type { TrainConfig } from '../train/config-table.ts';
import { notFinite } from '../train/finite.ts';
import type { EvaluateOptions } from './evaluate.ts';
import { imagesOf } from './evaluate-output.ts';
import { note } from './output.ts';
import { describedBy } from './weights.ts';

/** Weights, what they say of themselves, and the config of the run that they are in. */
export interface Source {
  readonly path: string;
  readonly info: ModelInfo | undefined;
  readonly config: TrainConfig | undefined;
  readonly choice: DatasetChoice;
}

/** The weights that a user names, with the data set that each is tested on. @throws UsageError if they contradict options. */
export async function namedSources(
  command: Command,
  places: readonly string[],
  options: EvaluateOptions,
): Promise<readonly Source[]> {
  const given = (name: keyof EvaluateOptions): boolean => command.getOptionValueSource(name) === 'cli';
  if (options.normalize !== undefined && (options.normalization !== undefined || options.mean)) {
    throw new UsageError(
      '--normalize measures the training images, and --normalization and --mean say other values; give one of them',
    );
  }
  const chosen: Chosen = {
    ...(given('dataset') && { dataset: options.dataset }),
    ...(options.labels && { labels: options.labels }),
    ...(options.normalize !== undefined && { normalize: options.normalize }),
  };
  const sources: Source[] = [];
  for (const place of places) {
    const path = await namedWeights(place);
    const folder = [runPlace(place), dirname(path)].find(isRun);
    const config = folder === undefined ? undefined : await readConfig(folder);
    const info = await readInfo(path);
    sources.push({ path, info, config, choice: choiceOf(path, info, config, chosen, options) });
  }
  const [first, ...rest] = sources as [Source, ...Source[]];
  for (const { path, choice } of rest) {
    if (choice.dataset === first.choice.dataset && choice.labels === first.choice.labels) continue;
    throw new UsageError(
      `${first.path} was trained on ${first.choice.dataset}, and ${path} on ${choice.dataset}; ` +
        'name the data set to test both on: --dataset',
    );
  }
  return sources;
}

/** The data set that weights are tested on. */
function choiceOf(
  path: string,
  info: ModelInfo | undefined,
  config: TrainConfig | undefined,
  chosen: Chosen,
  options: EvaluateOptions,
): DatasetChoice {
  const known = datasetNames.find((name) => name === info?.dataset);
  if (info) {
    // A data set of a program's own has a name that no flag can repeat.
    const { dataset: _, labels: __, ...own } = info;
    refuseContradictions(path, known ? info : own, chosen, flagWithValue);
    if (info.dataset !== undefined && !known && chosen.dataset === undefined) {
      throw new UsageError(
        `${path}: its weights were trained on ${info.dataset}, which is none of ${datasetNames.join(', ')}; ` +
          'name one of them with --dataset',
      );
    }
  }
  const isGiven = chosen.dataset !== undefined;
  const labels = chosen.labels ?? (isGiven ? undefined : (config?.labels ?? (known && info?.labels)));
  const data = options.data ?? (isGiven ? undefined : config?.data);
  return {
    dataset: isGiven ? options.dataset : (config?.dataset ?? known ?? options.dataset),
    ...(data !== undefined && { data }),
    ...(labels && { labels }),
  };
}

/** A data set's splits, some of which may be image files. */
interface AnySplits {
  readonly train: Dataset | StoredDataset;
  readonly validation?: Dataset | StoredDataset;
  readonly test: Dataset | StoredDataset;
}

/** The data set, and the images to test. @throws UsageError if it has no such images. */
export async function picturesFor(
  [first]: readonly Source[],
  { split }: EvaluateOptions,
): Promise<{ readonly train: Dataset | StoredDataset; readonly pictures: Pictures }> {
  const splits: AnySplits = await loadDataset(first!.choice);
  const { train, validation, test } = splits;
  const chosen = split === 'all' ? [train, validation, test] : [splits[split]];
  const { picturesOfFiles } = await import('../evaluation/stored-pictures.ts');
  const [some, ...more] = chosen.flatMap((dataset) =>
    dataset ? [isStored(dataset) ? picturesOfFiles(dataset) : picturesOf(dataset)] : [],
  );
  if (!some)
    throw new UsageError(
      `${first!.choice.dataset} has no ${split} images of its own; choose another --split`,
    );
  return { train, pictures: joinedPictures([some, ...more]) };
}

/** Opens weights. What they do not say comes from options, and for data sets of small images from these. */
export async function openSource(
  { path, info, config }: Source,
  train: Dataset | StoredDataset,
  options: EvaluateOptions,
): Promise<OpenedModel> {
  const { device, threads, key } = options;
  const described = await describedBy(path, options);
  const isFixed = !isStored(train);
  const knowsNormalization = described.normalization !== undefined || info?.normalization !== undefined;
  const normalize = options.normalize ?? config?.normalize ?? (isFixed ? false : undefined);
  return openModel(path, {
    ...described,
    ...(info === undefined && described.input === undefined && isFixed && { input: train.shape }),
    ...(!knowsNormalization && normalize !== undefined && { normalization: measuredOf(train, normalize) }),
    device,
    ...(threads !== undefined && { threads }),
    ...(key !== undefined && { key }),
    purpose: 'predict',
    onNotice: note,
  });
}

/** The normalization by the training images, or none. @throws UsageError for image files. */
function measuredOf(train: Dataset | StoredDataset, normalize: boolean): ChannelStatistics | null {
  if (!isStored(train)) return normalizationOf(train, { normalize }) ?? null;
  if (!normalize) return null;
  throw new UsageError('--normalize measures data sets in memory; give --normalization, or --mean and --std');
}

/** The error for a loss that is not finite; it names the weight that is not, if there is one. */
export async function lossError(
  sources: readonly Source[],
  models: readonly OpenedModel[],
  { key, split }: EvaluateOptions,
  loss: number,
): Promise<VggError> {
  for (const [i, { path }] of sources.entries()) {
    await using file = await openWeights(path, models[i]!.compiled.network, { key });
    const found = notFinite(await readAll(file));
    if (found === undefined) continue;
    return new VggError(
      `${path}: the loss on ${imagesOf(split)} is ${loss}, because its weights are not finite (${found}); evaluate other weights`,
    );
  }
  const paths = sources.map(({ path }) => path).join(', ');
  return new VggError(`${paths}: the loss on ${imagesOf(split)} is ${loss}; evaluate other weights`);
}
