/**
 * From a config to loaders: the lecture's transforms for small images in memory, those of photos for images in a file;
 * random ones only for training images.
 */
import type { DatasetSplits, ImageShape } from '../data/dataset.ts';
import { type DataLoader, dataLoader } from '../data/loader.ts';
import { trainValidationSplit } from '../data/split.ts';
import { type ChannelStatistics, channelStatistics, colorComponents } from '../data/statistics.ts';
import { type AnyDataset, isStored, storedShape } from '../data/stored.ts';
import {
  centerCrop,
  colorJitter,
  colorShift,
  compose,
  cutout,
  imagenetComponents,
  inputTransform,
  normalize as normalizing,
  pad,
  randomCrop,
  randomHorizontalFlip,
  randomResizedCrop,
  randomRotation,
  resize,
  scaleJitter,
  type Transform,
  toTensor,
} from '../data/transforms.ts';
import { UsageError } from '../errors.ts';
import { fitFor, jitterSides } from '../images/fit.ts';
import { checkNormalization } from '../model/info.ts';
import { normalizationPresets } from '../model/normalization-presets.ts';
import type { TrainConfig } from '../train/config-table.ts';

export type LoaderOptions = Pick<
  TrainConfig,
  | 'batchSize'
  | 'normalize'
  | 'normalization'
  | 'augment'
  | 'crop'
  | 'rotation'
  | 'colorJitter'
  | 'colorShift'
  | 'cutout'
  | 'shuffle'
  | 'seed'
  | 'validation'
>;

type Normalizing = Pick<LoaderOptions, 'normalize' | 'normalization'>;

export interface Loaders {
  readonly trainLoader: DataLoader;
  readonly testLoader: DataLoader;
  /** Images held out from training; absent if there are none. */
  readonly validationLoader?: DataLoader;
}

/**
 * Loaders of images for a network's `input`, which is needed for images in a file: those have different sizes.
 * @throws UsageError if a batch is larger than the training set.
 */
export function loadersOf(
  splits: DatasetSplits<AnyDataset>,
  options: LoaderOptions,
  input?: ImageShape,
): Loaders {
  const { train: all, test } = splits;
  const { batchSize, shuffle, seed } = options;
  const heldOut = (from: AnyDataset) => trainValidationSplit(from, options.validation, seed);
  const { train, validation } =
    options.validation > 0
      ? {
          ...heldOut(all),
          ...(splits.trainAsTested && { validation: heldOut(splits.trainAsTested).validation }),
        }
      : { train: all, validation: splits.validation };
  const normalization = normalizationOf(all, options);
  const transform = trainTransform(all, options, normalization, inputOf(all, input));
  const tested = testTransform(all, normalization, inputOf(all, input));
  return {
    trainLoader: dataLoader(train, { batchSize, shuffle, seed, transform }),
    testLoader: testLoaderOf(test, batchSize, tested),
    ...(validation && { validationLoader: testLoaderOf(validation, batchSize, tested) }),
  };
}

/** @throws UsageError if nothing says how large images in a file shall be. */
function inputOf(dataset: AnyDataset, input: ImageShape | undefined): ImageShape {
  if (!isStored(dataset)) return dataset.shape;
  if (input) return input;
  throw new UsageError(
    `${dataset.name}: its images have different sizes; give the shape of the network's input`,
  );
}

/**
 * The chain of training images. What works on bytes comes first, in workers; the rest is computed as the device loads an
 * image.
 */
function trainTransform(
  dataset: AnyDataset,
  options: LoaderOptions,
  normalization: ChannelStatistics | undefined,
  input: ImageShape,
): Transform {
  const { augment, rotation, colorJitter: strength, colorShift: deviation } = options;
  const photos = isStored(dataset);
  const side: readonly [number, number] = [input[1], input[2]];
  const small = augment ? [pad(4), randomHorizontalFlip(), randomCrop(side)] : [];
  return compose([
    ...(photos ? cropsOf(options, input) : small),
    ...(rotation > 0 ? [randomRotation(rotation)] : []),
    ...(strength > 0
      ? [
          colorJitter({
            ...{ brightness: strength, contrast: strength, saturation: strength },
            hue: strength / 4,
          }),
        ]
      : []),
    ...(photos && augment ? [randomHorizontalFlip()] : []),
    toTensor(),
    ...(deviation > 0 ? [colorShift(deviation, photos ? imagenetComponents : colorComponents(dataset))] : []),
    ...(normalization ? [normalizing(normalization.mean, normalization.std)] : []),
    ...(options.cutout > 0 ? [cutout(options.cutout)] : []),
  ]);
}

/** How training photos are cut to the network's input. */
function cropsOf({ augment, crop }: LoaderOptions, input: ImageShape): readonly Transform[] {
  const side: readonly [number, number] = [input[1], input[2]];
  if (!augment) return centerOf(input);
  switch (crop) {
    case 'resized':
      return [randomResizedCrop(side)];
    case 'random':
      return [resize(fitFor(input).resize), randomCrop(side)];
    case 'jitter':
      return [scaleJitter(...jitterSides(input)), randomCrop(side)];
    default:
      return crop satisfies never;
  }
}

function centerOf(input: ImageShape): readonly Transform[] {
  const fit = fitFor(input);
  return [resize(fit.resize), centerCrop(fit.crop)];
}

/** The chain of test images, without randomness. */
export function testTransform(
  dataset: AnyDataset,
  normalization: ChannelStatistics | undefined,
  input: ImageShape,
): Transform {
  const toFloats = inputTransform(normalization);
  return isStored(dataset) ? compose([...centerOf(input), toFloats]) : toFloats;
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
export function normalizationOf(train: AnyDataset, options: Normalizing): ChannelStatistics | undefined {
  const own = normalizationIn(options);
  if (own)
    checkNormalization('normalization', own, isStored(train) ? storedShape(train.images, 0) : train.shape);
  return own === undefined ? channelStatistics(train) : (own ?? undefined);
}

function testLoaderOf(test: AnyDataset, batchSize: number, transform: Transform): DataLoader {
  return dataLoader(test, { batchSize: Math.min(batchSize, test.length), transform });
}
