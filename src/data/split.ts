/** Keeping images of a training set apart, to choose by. */
import { UsageError } from '../errors.ts';
import { allocateBytes, checkDataset, type Dataset } from './dataset.ts';
import { permutation, random, streams } from './random.ts';

/** How many of so many images a share is. */
export const keptApart = (length: number, share: number): number => Math.round(length * share);

/**
 * How many images validation leaves to train with: all if the share is 0.
 * @throws UsageError if a share above 0 leaves none, or holds out none.
 */
export function leftToTrain({ name, length }: Pick<Dataset, 'name' | 'length'>, share: number): number {
  const count = keptApart(length, share);
  if (share === 0 || (count >= 1 && count < length)) return length - count;
  throw new UsageError(
    `validation ${share} holds out ${count} of the ${length} training images of ${name}; hold out at least 1 and ` +
      'leave at least 1 to train with',
  );
}

/**
 * The data set in two: a random share of its images (0–1) for validation, the rest to train with. The seed alone
 * decides which; both keep the data set's order.
 * @throws UsageError where one of them would be empty.
 */
export function keepApart(
  dataset: Dataset,
  share: number,
  seed = 0,
): { readonly train: Dataset; readonly validation: Dataset } {
  checkDataset('keepApart', dataset);
  const count = dataset.length - leftToTrain(dataset, share);
  const order = permutation(dataset.length, random(seed, streams.validation));
  return {
    train: subset(dataset, order.subarray(count).toSorted()),
    validation: subset(dataset, order.subarray(0, count).toSorted()),
  };
}

/** The images with these indices, copied. */
export function subset(dataset: Dataset, indices: Uint32Array): Dataset {
  const size = dataset.shape.reduce((product, side) => product * side, 1);
  const pixels = allocateBytes(indices.length * size);
  for (const [i, index] of indices.entries()) {
    pixels.set(dataset.pixels.subarray(index * size, (index + 1) * size), i * size);
  }
  const labels = Uint16Array.from(indices, (index) => dataset.labels[index]!);
  return { ...dataset, pixels, labels, length: indices.length };
}
