/** From a config to loaders: the lecture's transforms; random ones only for training images. */
import type { Dataset, DatasetSplits } from '../data/dataset.ts';
import { type DataLoader, dataLoader } from '../data/loader.ts';
import { trainValidationSplit } from '../data/split.ts';
import { type ChannelStatistics, channelStatistics } from '../data/statistics.ts';
import {
  compose,
  cutout,
  inputTransform,
  pad,
  randomCrop,
  randomHorizontalFlip,
  type Transform,
} from '../data/transforms.ts';
import { checkNormalization } from '../model/info.ts';
import { normalizationPresets } from '../model/normalization-presets.ts';
import type { TrainConfig } from '../train/config-table.ts';

export type LoaderOptions = Pick<
  TrainConfig,
  'batchSize' | 'normalize' | 'normalization' | 'augment' | 'cutout' | 'shuffle' | 'seed' | 'validation'
>;

type Normalizing = Pick<LoaderOptions, 'normalize' | 'normalization'>;

export interface Loaders {
  readonly trainLoader: DataLoader;
  readonly testLoader: DataLoader;
  /** Images held out from training; absent if there are none. */
  readonly validationLoader?: DataLoader;
}

/** @throws UsageError if a batch is larger than the training set. */
export function loadersOf({ train: all, test }: DatasetSplits, options: LoaderOptions): Loaders {
  const { batchSize, augment, shuffle, seed } = options;
  const { train, validation } =
    options.validation > 0 ? trainValidationSplit(all, options.validation, seed) : { train: all };
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

/** The normalization that the options alone determine: null for none; undefined if it is that of the data set. */
function normalizationIn({ normalize, normalization }: Normalizing): ChannelStatistics | null | undefined {
  if (!normalize) return null;
  if (typeof normalization !== 'string') return normalization;
  const { mean, std } = normalizationPresets[normalization];
  return { mean, std };
}

/**
 * Mean and standard deviation that normalize a network's input; undefined without normalization. The only source for
 * training, tests and reports. Those of a data set are computed from all training images, held-out ones included, so
 * that data set and config determine the values.
 * @throws UsageError if they are not for the images' channels.
 */
export function normalizationOf(train: Dataset, options: Normalizing): ChannelStatistics | undefined {
  const own = normalizationIn(options);
  if (own) checkNormalization('normalization', own, train.shape);
  return own === undefined ? channelStatistics(train) : (own ?? undefined);
}

/** The test images, normalized as in training, without random transforms. */
export function testLoaderFor(
  { train, test }: DatasetSplits,
  options: Pick<LoaderOptions, 'batchSize'> & Normalizing,
): DataLoader {
  return testLoaderOf(test, options.batchSize, inputTransform(normalizationOf(train, options)));
}

function testLoaderOf(test: Dataset, batchSize: number, transform: Transform): DataLoader {
  return dataLoader(test, { batchSize: Math.min(batchSize, test.length), transform });
}
