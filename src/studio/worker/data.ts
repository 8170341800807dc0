/** The data sets of the studio in a worker, and what experiments do to them. */
import type { Dataset, DatasetSplits } from '../../data/dataset.ts';
import { permutation, random, streams } from '../../data/random.ts';
import type { AnyDataset } from '../../data/stored.ts';
import { isStored } from '../../data/stored.ts';
import { UsageError } from '../../errors.ts';

/** Kept, because drawing it takes a third of a second. */
let shapesSplits: DatasetSplits | undefined;

/** @throws UsageError if there is no such data set here. */
export async function loadSplits(name: string): Promise<DatasetSplits> {
  if (name === 'shapes') {
    shapesSplits ??= (await import('../../data/shapes.ts')).shapes();
    return shapesSplits;
  }
  throw new UsageError(`the data set ${name} is not in this browser; add its files first`);
}

/** The training images with labels in another order: nothing in an image says its label any more. */
export function withShuffledLabels<Splits extends DatasetSplits<AnyDataset>>(
  splits: Splits,
  seed: number,
): Splits {
  const { train } = splits;
  const order = permutation(train.length, random(seed, streams.shuffle, 0));
  const labels = Uint16Array.from(order, (index) => train.labels[index]!);
  return { ...splits, train: { ...train, labels } };
}

/** The first training images only. @throws UsageError if there are not so many. */
export function withFewImages<Splits extends DatasetSplits>(splits: Splits, count: number): Splits {
  const { train } = splits;
  if (!(Number.isInteger(count) && count >= 1 && count <= train.length))
    throw new UsageError(`trainImages ${count} is not a whole number from 1 to ${train.length}`);
  const pixels = train.pixels.subarray(0, (train.pixels.length / train.length) * count);
  return { ...splits, train: { ...train, pixels, labels: train.labels.subarray(0, count), length: count } };
}

/** @throws UsageError for images that are in a file. */
export function inMemory(dataset: AnyDataset): Dataset {
  if (!isStored(dataset)) return dataset;
  throw new UsageError(`${dataset.name}: its images are in a file, which this view cannot show`);
}
