import { expect, test } from 'vitest';
import { UsageError } from '../errors.ts';
import { fromArrays } from './dataset.ts';
import { type Batch, batchSource, type DataLoaderOptions, dataLoader } from './loader.ts';
import { permutation, random, streams } from './random.ts';
import { applyTransform, imageFromBytes } from './transforms/apply.ts';
import { compose, type Image, pad, randomCrop, randomHorizontalFlip, toTensor } from './transforms.ts';

const pixels = Uint8Array.from({ length: 10 * 12 }, (_, i) => (i * 37) % 256);
const labels = Array.from({ length: 10 }, (_, i) => (i * 7) % 4);
const dataset = fromArrays(pixels, labels, [3, 2, 2], { name: 'ten' });

async function collect(batches: AsyncIterable<Batch>): Promise<Batch[]> {
  const all: Batch[] = [];
  for await (const batch of batches) all.push(batch);
  return all;
}

const indicesOf = (batches: readonly Batch[]): number[] => batches.flatMap(({ indices }) => [...indices]);

test('cuts the data set into batches, the last one smaller', async () => {
  const loader = dataLoader(dataset, { batchSize: 4 });
  const batches = await collect(loader);
  expect(loader.length).toBe(3);
  expect(batches.map(({ shape }) => shape)).toEqual([
    [4, 3, 2, 2],
    [4, 3, 2, 2],
    [2, 3, 2, 2],
  ]);
  expect(batches.map(({ images }) => images.length)).toEqual([48, 48, 24]);
  expect(indicesOf(batches)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  expect(batches.flatMap((batch) => [...batch.labels])).toEqual(labels);
  const scale = Math.fround(1 / 255);
  expect(batches.flatMap(({ images }) => [...images])).toEqual(
    [...pixels].map((byte) => Math.fround(byte * scale)),
  );
});

test('dropLast drops the smaller batch, also in a batch source', async () => {
  const loader = dataLoader(dataset, { batchSize: 4, dropLast: true });
  expect(loader.length).toBe(2);
  expect((await collect(loader)).map(({ labels }) => labels.length)).toEqual([4, 4]);
  expect(batchSource(loader, 1).order.length).toBe(8);
  expect(dataLoader(dataset, { batchSize: 5, dropLast: true }).length).toBe(2);
});

test('one batch may contain the whole set', async () => {
  expect((await collect(dataLoader(dataset, { batchSize: 10 }))).length).toBe(1);
});

test('each pass is the next epoch, in an order that depends only on seed and epoch', async () => {
  const loader = dataLoader(dataset, { batchSize: 3, shuffle: true, seed: 5 });
  const first = indicesOf(await collect(loader));
  const second = indicesOf(await collect(loader));
  expect(first).toEqual([...permutation(10, random(5, streams.shuffle, 1))]);
  expect(second).toEqual([...permutation(10, random(5, streams.shuffle, 2))]);
  expect(indicesOf(await collect(loader.epoch(1)))).toEqual(first);
  expect(indicesOf(await collect(loader))).toEqual([...permutation(10, random(5, streams.shuffle, 3))]);
  expect([...batchSource(loader, 2).order]).toEqual(second);
  const other = dataLoader(dataset, { batchSize: 3, shuffle: true, seed: 6 });
  expect(indicesOf(await collect(other))).not.toEqual(first);
});

test('what an image draws depends on seed, epoch and image, not on order or batch', async () => {
  const transform = compose([pad(1), randomHorizontalFlip(), randomCrop(2), toTensor()]);
  const byIndex = async (options: DataLoaderOptions, epoch: number): Promise<number[][]> => {
    const found: number[][] = [];
    for (const { images, indices } of await collect(dataLoader(dataset, options).epoch(epoch))) {
      for (const [i, index] of indices.entries()) found[index] = [...images.slice(i * 12, (i + 1) * 12)];
    }
    return found;
  };
  const plain = await byIndex({ batchSize: 4, transform, seed: 9 }, 3);
  expect(await byIndex({ batchSize: 3, transform, seed: 9, shuffle: true }, 3)).toEqual(plain);
  expect(await byIndex({ batchSize: 4, transform, seed: 9 }, 4)).not.toEqual(plain);
  expect(await byIndex({ batchSize: 4, transform, seed: 8 }, 3)).not.toEqual(plain);
  for (const [index, values] of plain.entries()) {
    const image = imageFromBytes(pixels.subarray(index * 12, (index + 1) * 12), dataset.shape);
    const expected = applyTransform(transform, image, random(9, streams.transform, 3, index));
    for (const [i, value] of values.entries()) expect(value).toBeCloseTo(expected.values[i]!, 6);
  }
  // A function in the chain takes the general path and must draw the same.
  const general = await byIndex({ batchSize: 4, transform: compose([transform, (x) => x]), seed: 9 }, 3);
  for (const [i, value] of general.flat().entries()) expect(value).toBeCloseTo(plain.flat()[i]!, 6);
});

test('batch sources carry what backends need', () => {
  const loader = dataLoader(dataset, { batchSize: 4, seed: 3 });
  expect(batchSource(loader, 7)).toEqual({
    dataset,
    transform: toTensor(),
    batchSize: 4,
    order: Uint32Array.of(0, 1, 2, 3, 4, 5, 6, 7, 8, 9),
    seed: 3,
    epoch: 7,
  });
});

test.each<[DataLoaderOptions, string]>([
  [{ batchSize: 11 }, 'batch size 11 is larger than the 10 images of ten; use at most 10'],
  [{ batchSize: 0 }, 'batch size 0 is not'],
  [{ batchSize: 2.5 }, 'batch size 2.5 is not'],
  [{ batchSize: 2, seed: -1 }, 'seed -1 is not'],
  [{ batchSize: 2, seed: 2 ** 53 }, 'seed 9007199254740992 is not'],
  [{ batchSize: 2, transform: pad(1) }, 'add toTensor()'],
])('wrong options %j', (options, message) => {
  expect(() => dataLoader(dataset, options)).toThrow(UsageError);
  expect(() => dataLoader(dataset, options)).toThrow(message);
});

test('a wrong epoch and images of different shapes are rejected', async () => {
  expect(() => dataLoader(dataset, { batchSize: 2 }).epoch(-1)).toThrow('epoch -1 is not');
  const uneven = (image: Image): Image =>
    image.values[0] === pixels[12] ? { shape: [1, 1, 1], values: new Float32Array(1) } : image;
  const loader = dataLoader(dataset, { batchSize: 2, transform: uneven });
  await expect(collect(loader)).rejects.toThrow(
    'the transform gave image 1 the shape [1, 1, 1] and others [3, 2, 2]; all images of a batch need the same shape',
  );
});
