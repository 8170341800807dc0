/** From a config to loaders: the lecture's transforms; random ones only for training images. */
import type { Dataset, DatasetSplits } from '../data/dataset.ts';
import { type DataLoader, dataLoader } from '../data/loader.ts';
import { trainValidationSplit } from '../data/split.ts';
import { type ChannelStatistics, channelStatistics } from '../data/statistics.ts';
import type { AnyDataset } from '../data/stored.ts';
import {
  compose,
  cutout,
  inputTransform,
  pad,
  randomCrop,
  randomHorizontalFlip,
  type Transform,
} from '../data/transforms.ts';
import type { TrainConfig } from '../train/config-table.ts';

export type LoaderOptions = Pick<
  TrainConfig,
  'batchSize' | 'normalize' | 'augment' | 'cutout' | 'shuffle' | 'seed' | 'validation'
>;

export interface Loaders {
  readonly trainLoader: DataLoader;
  readonly testLoader: DataLoader;
  /** Images held out from training; absent if there are none. */
  readonly validationLoader?: DataLoader;
}

/** @throws UsageError if a batch is larger than the training set. */
export function loadersOf(splits: DatasetSplits, options: LoaderOptions): Loaders {
  const { train: all, test } = splits;
  const { batchSize, augment, shuffle, seed } = options;
  const { train, validation } =
    options.validation > 0
      ? trainValidationSplit(all, options.validation, seed)
      : { train: all, validation: splits.validation };
  const toFloats = inputTransform(normalizationOf(all, options));
  const [, height, width] = train.shape;
  const transform = compose([
    ...(augment ? [pad(4), randomHorizontalFlip(), randomCrop([height, width])] : []),
    toFloats,
    ...(options.cutout > 0 ? [cutout(options.cutout)] : []),
  ]);
  return {
    trainLoader: dataLoader(train, { batchSize, shuffle, seed, transform }),
    testLoader: testLoaderOf(test, batchSize, toFloats),
    ...(validation && { validationLoader: testLoaderOf(validation, batchSize, toFloats) }),
  };
}

/**
 * Mean and standard deviation that normalize a network's input; undefined without normalization. The only source for
 * training, tests and reports. Computed from all training images, held-out ones included, so that data set and config
 * determine the values.
 */
export function normalizationOf(
  train: AnyDataset,
  { normalize }: Pick<LoaderOptions, 'normalize'>,
): ChannelStatistics | undefined {
  return normalize ? channelStatistics(train) : undefined;
}

/** The test images, normalized as in training, without random transforms. */
export function testLoaderFor(
  { train, test }: DatasetSplits,
  options: Pick<LoaderOptions, 'batchSize' | 'normalize'>,
): DataLoader {
  return testLoaderOf(test, options.batchSize, inputTransform(normalizationOf(train, options)));
}

function testLoaderOf(test: Dataset, batchSize: number, transform: Transform): DataLoader {
  return dataLoader(test, { batchSize: Math.min(batchSize, test.length), transform });
}
