/** From the data options to loaders: the lecture's transforms, for the training pictures alone where random. */
import type { Dataset, DatasetSplits } from '../data/dataset.ts';
import { type DataLoader, dataLoader } from '../data/loader.ts';
import { channelStatistics } from '../data/statistics.ts';
import {
  compose,
  normalize,
  pad,
  randomCrop,
  randomHorizontalFlip,
  type Transform,
  toTensor,
} from '../data/transforms.ts';

export interface LoaderOptions {
  readonly batchSize: number;
  /** By mean and deviation of each channel over the training pictures. */
  readonly normalize: boolean;
  readonly augment: boolean;
  readonly shuffle: boolean;
  readonly seed: number;
}

export interface Loaders {
  readonly trainLoader: DataLoader;
  readonly testLoader: DataLoader;
}

/** @throws UsageError where a batch is larger than the training set. */
export function loadersOf({ train, test }: DatasetSplits, options: LoaderOptions): Loaders {
  const { batchSize, augment, shuffle, seed } = options;
  const toFloats = floats(train, options.normalize);
  const [, height, width] = train.shape;
  const augmentation = [pad(4), randomHorizontalFlip(), randomCrop([height, width])];
  return {
    trainLoader: dataLoader(train, {
      batchSize,
      shuffle,
      seed,
      transform: compose(augment ? [...augmentation, ...toFloats] : toFloats),
    }),
    testLoader: testLoaderOf(test, batchSize, toFloats),
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
