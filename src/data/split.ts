/** Splits validation images from a training set. */
import { UsageError } from '../errors.ts';
import { allocateBytes, type Dataset } from './dataset.ts';
import { permutation, random, streams } from './random.ts';
import { type AnyDataset, checkAnyDataset, isStored, storedSubset } from './stored.ts';

/** The number of validation images in a share of `length` images. */
export const validationCount = (length: number, share: number): number => Math.round(length * share);

/**
 * The number of training images that validation leaves; all if the share is 0.
 * @throws UsageError if a share above 0 leaves none, or holds out none.
 */
export function leftToTrain({ name, length }: Pick<Dataset, 'name' | 'length'>, share: number): number {
  const count = validationCount(length, share);
  if (share === 0 || (count >= 1 && count < length)) return length - count;
  throw new UsageError(
    `validation ${share} holds out ${count} of the ${length} training images of ${name}; choose a share that holds out ` +
      'at least 1 and leaves at least 1',
  );
}

/**
 * Splits a data set into a random share (0–1) of validation images and the remaining training images. The choice
 * depends only on the seed; both parts keep the order of the data set.
 * @throws UsageError if one part would be empty.
 */
export function trainValidationSplit<Split extends AnyDataset>(
  dataset: Split,
  share: number,
  seed = 0,
): { readonly train: Split; readonly validation: Split } {
  checkAnyDataset('trainValidationSplit', dataset);
  const count = dataset.length - leftToTrain(dataset, share);
  const order = permutation(dataset.length, random(seed, streams.validation));
  return {
    train: subset(dataset, order.subarray(count).toSorted()),
    validation: subset(dataset, order.subarray(0, count).toSorted()),
  };
}

/** A new data set of the images with these indices; those in memory are copied. */
export function subset<Split extends AnyDataset>(dataset: Split, indices: Uint32Array): Split;
export function subset(dataset: AnyDataset, indices: Uint32Array): AnyDataset {
  const labels = Uint16Array.from(indices, (index) => dataset.labels[index]!);
  const { length } = indices;
  if (isStored(dataset)) {
    return { ...dataset, images: storedSubset(dataset.images, indices), labels, length };
  }
  const size = dataset.shape.reduce((product, side) => product * side, 1);
  const pixels = allocateBytes(indices.length * size);
  for (const [i, index] of indices.entries()) {
    pixels.set(dataset.pixels.subarray(index * size, (index + 1) * size), i * size);
  }
  return { ...dataset, pixels, labels, length };
}
