/**
 * Splits a data set into batches in a seeded order and transforms each image. Use it directly
 * (`for await (const { images, labels } of loader)`); training passes `batchSource` to its backend, which does the
 * same in its workers. Order and draws depend only on (seed, epoch, image):
 * `permutation(length, random(seed, streams.shuffle, epoch))` and `random(seed, streams.transform, epoch, index)`.
 */
import type { BatchSource } from '../engine/backend.ts';
import { UsageError } from '../errors.ts';
import { checkOptions } from '../options.ts';
import type { Dataset } from './dataset.ts';
import { permutation, random, streams } from './random.ts';
import { type AnyDataset, checkAnyDataset, isStored } from './stored.ts';
import type { OpenImages } from './stored-node.ts';
import { requireTensor, type Transform, toTensor } from './transforms.ts';

export interface DataLoaderOptions {
  readonly batchSize: number;
  /** Whether to shuffle each epoch. Default false: the order of the data set. */
  readonly shuffle?: boolean;
  /** Must produce floats. Default `toTensor()`. Use random transforms only for training. */
  readonly transform?: Transform;
  /** A whole number from 0 to 2⁵³ − 1. Default 0. */
  readonly seed?: number;
  /** Whether to drop a smaller last batch. Default false. */
  readonly dropLast?: boolean;
}

/** One batch. Its arrays are not reused. */
export interface Batch {
  /** [N, C, H, W], after the transform. */
  readonly images: Float32Array;
  /** [N]. */
  readonly labels: Uint16Array;
  /** [N] positions in the data set. */
  readonly indices: Uint32Array;
  readonly shape: readonly [count: number, channels: number, height: number, width: number];
}

/** Each pass (`for await`) is the next epoch, starting with epoch 1. */
export interface DataLoader extends AsyncIterable<Batch> {
  readonly dataset: AnyDataset;
  readonly batchSize: number;
  readonly shuffle: boolean;
  readonly transform: Transform;
  readonly seed: number;
  readonly dropLast: boolean;
  /** Number of batches in an epoch. */
  readonly length: number;
  /** The batches of the given epoch; does not count as a pass. */
  epoch(epoch: number): AsyncIterable<Batch>;
}

/** Creates a loader. @throws UsageError if an option is out of range or the transform does not fit the images. */
export function dataLoader(dataset: AnyDataset, options: DataLoaderOptions): DataLoader {
  checkAnyDataset('dataLoader', dataset);
  checkOptions<DataLoaderOptions>('dataLoader', options, {
    batchSize: 'required',
    shuffle: 'optional',
    transform: 'optional',
    seed: 'optional',
    dropLast: 'optional',
  });
  const { batchSize, shuffle = false, transform = toTensor(), seed = 0, dropLast = false } = options;
  checkBatchSize(batchSize, dataset);
  if (!Number.isSafeInteger(seed) || seed < 0) {
    throw new UsageError(`dataLoader: seed ${seed} is not a whole number from 0 to 2^53 − 1`);
  }
  requireTensor(transform);
  const batches = dataset.length / batchSize;
  let passes = 0;
  const loader: DataLoader = {
    dataset,
    batchSize,
    shuffle,
    transform,
    seed,
    dropLast,
    length: dropLast ? Math.floor(batches) : Math.ceil(batches),
    epoch: (epoch) => {
      const source = batchSource(loader, epoch);
      return { [Symbol.asyncIterator]: () => iterate(source) };
    },
    [Symbol.asyncIterator]: () => {
      passes += 1;
      return iterate(batchSource(loader, passes));
    },
  };
  return loader;
}

/** One epoch of the loader, in the form that backends take. */
export function batchSource(loader: DataLoader, epoch: number): BatchSource {
  if (!Number.isInteger(epoch) || epoch < 0 || epoch >= 2 ** 32) {
    throw new UsageError(`dataLoader: epoch ${epoch} is not a whole number from 0 to 2^32 − 1`);
  }
  const { dataset, transform, batchSize, seed } = loader;
  const all = loader.shuffle
    ? permutation(dataset.length, random(seed, streams.shuffle, epoch))
    : Uint32Array.from({ length: dataset.length }, (_, i) => i);
  const order = all.subarray(0, Math.min(loader.length * batchSize, dataset.length));
  return { dataset, transform, batchSize, order, seed, epoch };
}

async function* iterate(source: BatchSource): AsyncGenerator<Batch, void, undefined> {
  const { dataset, order, batchSize, seed, epoch } = source;
  const { planSamples, sampleFloats } = await import('./sampling.ts');
  const plan = planSamples(dataset, source.transform);
  const [channels, height, width] = plan.output;
  const size = channels * height * width;
  const images = await openImages(dataset);
  try {
    for (let start = 0; start < order.length; start += batchSize) {
      const indices = order.slice(start, start + batchSize);
      const values = new Float32Array(indices.length * size);
      for (const [i, index] of indices.entries()) {
        const draws = random(seed, streams.transform, epoch, index);
        sampleFloats(plan, images.read(index), draws, index, values.subarray(i * size, (i + 1) * size));
      }
      const labels = Uint16Array.from(indices, (index) => dataset.labels[index]!);
      yield { images: values, labels, indices, shape: [indices.length, channels, height, width] };
    }
  } finally {
    images.close();
  }
}

/** Reads the images of any data set one by one; those in a file need Node. */
export async function openImages(dataset: AnyDataset): Promise<OpenImages> {
  if (isStored(dataset)) return (await import('./stored-node.ts')).openStored(dataset.images);
  return imagesOf(dataset.pixels, dataset.shape);
}

/** Reads images in memory, [N, …shape]. */
export function imagesOf(pixels: Uint8Array, shape: Dataset['shape']): OpenImages {
  const size = shape[0] * shape[1] * shape[2];
  return {
    read: (index) => ({ shape, values: pixels.subarray(index * size, (index + 1) * size) }),
    close: () => undefined,
  };
}

/** @throws UsageError if the batch size is below 1 or larger than the data set. */
export function checkBatchSize(batchSize: number, { name, length }: Pick<Dataset, 'name' | 'length'>): void {
  if (!Number.isInteger(batchSize) || batchSize < 1) {
    throw new UsageError(`dataLoader: batch size ${batchSize} is not a whole number ≥ 1`);
  }
  if (batchSize > length) {
    throw new UsageError(
      `dataLoader: batch size ${batchSize} is larger than the ${length} images of ${name}; use at most ${length}`,
    );
  }
}
