/** From a config to loaders: the lecture's transforms, for the training pictures alone where random. */
import type { Dataset, DatasetSplits } from '../data/dataset.ts';
import { type DataLoader, dataLoader } from '../data/loader.ts';
import { keepApart } from '../data/split.ts';
import { channelStatistics } from '../data/statistics.ts';
import {
  compose,
  cutout,
  normalize,
  pad,
  randomCrop,
  randomHorizontalFlip,
  type Transform,
  toTensor,
} from '../data/transforms.ts';
import type { TrainConfig } from '../train/config.ts';

export type LoaderOptions = Pick<
  TrainConfig,
  'batchSize' | 'normalize' | 'augment' | 'cutout' | 'shuffle' | 'seed' | 'validation'
>;

export interface Loaders {
  readonly trainLoader: DataLoader;
  readonly testLoader: DataLoader;
  /** Pictures kept apart from the training's, where there are any. */
  readonly validationLoader?: DataLoader;
}

/** @throws UsageError where a batch is larger than the training set. */
export function loadersOf({ train: all, test }: DatasetSplits, options: LoaderOptions): Loaders {
  const { batchSize, augment, shuffle, seed } = options;
  const { train, validation } =
    options.validation > 0 ? keepApart(all, options.validation, seed) : { train: all };
  // By all of them, so that anyone who has the data set and the config finds the same figures.
  const toFloats = floats(all, options.normalize);
  const [, height, width] = train.shape;
  const transform = compose([
    ...(augment ? [pad(4), randomHorizontalFlip(), randomCrop([height, width])] : []),
    ...toFloats,
    ...(options.cutout > 0 ? [cutout(options.cutout)] : []),
  ]);
  return {
    trainLoader: dataLoader(train, { batchSize, shuffle, seed, transform }),
    testLoader: testLoaderOf(test, batchSize, toFloats),
    ...(validation && { validationLoader: testLoaderOf(validation, batchSize, toFloats) }),
  };
}

/** The test pictures with the training's normalisation and nothing random. */
export function testLoaderFor(
  { train, test }: DatasetSplits,
  options: Pick<LoaderOptions, 'batchSize' | 'normalize'>,
): DataLoader {
  return testLoaderOf(test, options.batchSize, floats(train, options.normalize));
}

function testLoaderOf(test: Dataset, batchSize: number, transforms: readonly Transform[]): DataLoader {
  return dataLoader(test, { batchSize: Math.min(batchSize, test.length), transform: compose(transforms) });
}

function floats(train: Dataset, normalized: boolean): readonly Transform[] {
  if (!normalized) return [toTensor()];
  const { mean, std } = channelStatistics(train);
  return [toTensor(), normalize(mean, std)];
}
