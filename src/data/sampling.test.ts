import { mkdtempSync, rmSync, truncateSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { writeStored } from '../../test/stored.ts';
import { DataError, UsageError } from '../errors.ts';
import { fromArrays } from './dataset.ts';
import { applyFused, placementNumbers, readPlacement } from './fuse.ts';
import { dataLoader } from './loader.ts';
import { random, streams } from './random.ts';
import { isKnownPlan, planSamples, sampleBytes, sampleFloats } from './sampling.ts';
import { openStored } from './stored-node.ts';
import { applyTransform, imageFromBytes } from './transforms/apply.ts';
import {
  centerCrop,
  colorJitter,
  colorShift,
  compose,
  cutout,
  type Image,
  normalize,
  pad,
  randomCrop,
  randomHorizontalFlip,
  randomResizedCrop,
  resize,
  scaleJitter,
  type Transform,
  toTensor,
} from './transforms.ts';

const folder = mkdtempSync(join(tmpdir(), 'vggnet-sampling-'));
afterAll(() => rmSync(folder, { recursive: true }));
const photos = writeStored(join(folder, 'photos'), { count: 9, least: 20, most: 40 });
const square = fromArrays(new Uint8Array(2 * 3 * 64), [0, 1], [3, 8, 8]);

const flip = randomHorizontalFlip();

/** The kinds of a plan's first part. */
const firstOf = (
  dataset: Parameters<typeof planSamples>[0],
  transforms: readonly Transform[],
): readonly string[] => {
  const { first, fused } = planSamples(dataset, compose(transforms));
  return [
    ...first.map((link) => (typeof link === 'function' ? 'function' : link.kind)),
    fused ? 'fused' : 'floats',
  ];
};

test('the last part of a chain is fused as far as it can be', () => {
  const jitter = colorJitter({ hue: 0.1 });
  expect(firstOf(square, [pad(1), flip, randomCrop(8), toTensor()])).toEqual(['fused']);
  expect(
    firstOf(square, [pad(1), jitter, flip, toTensor(), colorShift(), normalize(0, 1), cutout(2)]),
  ).toEqual([...['pad', 'colorJitter', 'fused']]);
  expect(firstOf(photos, [randomResizedCrop(8), flip, toTensor()])).toEqual(['randomResizedCrop', 'fused']);
  // A crop belongs to the resizing before it.
  expect(firstOf(photos, [scaleJitter(20, 30), randomCrop(16), toTensor()])).toEqual([
    ...['scaleJitter', 'randomCrop', 'fused'],
  ]);
  expect(firstOf(square, [resize([9, 9]), centerCrop(8), toTensor()])).toEqual([
    'resize',
    'centerCrop',
    'fused',
  ]);
  // Zeros behind a crop, and blanking twice.
  expect(firstOf(square, [randomCrop(6), pad(1), toTensor()])).toEqual(['randomCrop', 'fused']);
  expect(firstOf(square, [toTensor(), cutout(2), flip])).toEqual([
    'toTensor',
    'cutout',
    'randomHorizontalFlip',
    'floats',
  ]);
  const mine = (image: Image): Image => image;
  expect(firstOf(square, [flip, mine, toTensor()])).toEqual([
    'randomHorizontalFlip',
    'function',
    'toTensor',
    'floats',
  ]);
  expect(isKnownPlan(planSamples(square, compose([mine, toTensor()])))).toBe(false);
});

test('images of different sizes need a chain that gives them one size', () => {
  const plan = (...transforms: readonly Transform[]) =>
    planSamples(photos, compose([...transforms, toTensor()])).output;
  expect(plan(resize(30), centerCrop([20, 24]))).toEqual([3, 20, 24]);
  expect(plan(resize([12, 10]))).toEqual([3, 12, 10]);
  expect(plan(randomCrop(20))).toEqual([3, 20, 20]);
  expect(plan(pad(2), flip, colorJitter({}), randomCrop(24))).toEqual([3, 24, 24]);
  expect(() => plan(resize(30))).toThrow(UsageError);
  expect(() => plan(resize(30))).toThrow(
    'images of different sizes would keep different sizes; add randomResizedCrop',
  );
  expect(() => plan(scaleJitter(20, 24), randomCrop(21))).toThrow(
    'window of 21×21 is larger than the image of 20×20',
  );
  expect(() => plan(randomCrop(60))).toThrow('randomCrop: the window of 60×60 is larger than the image of');
});

test('both ways of sampling give what the whole chain gives, with the same draws', () => {
  const chain = compose([
    ...[pad(2), colorJitter({ brightness: 0.5, saturation: 0.5 }), randomCrop(16), flip],
    ...[toTensor(), colorShift(0.2), normalize([0.1, 0.2, 0.3], [0.5, 0.6, 0.7]), cutout(3)],
  ]);
  const plan = planSamples(photos, chain);
  const fused = plan.fused!;
  const images = openStored(photos.images);
  const size = 3 * 16 * 16;
  for (let index = 0; index < photos.length; index++) {
    const image = images.read(index);
    const draws = () => random(4, streams.transform, 1, index);
    const expected = applyTransform(chain, imageFromBytes(image.values, image.shape), draws());
    const floats = new Float32Array(size);
    sampleFloats(plan, image, draws(), index, floats);
    for (let i = 0; i < size; i++) expect(floats[i]).toBeCloseTo(expected.values[i]!, 5);
  }
  images.close();
  // What a worker writes, and what a device then computes from it.
  const bytes = 3 * fused.source[1] * fused.source[2];
  const into = { pixels: new Uint8Array(2 * bytes), placements: new Float64Array(2 * placementNumbers) };
  const image = openStored(photos.images).read(4);
  const draws = () => random(1, streams.transform, 1, 4);
  sampleBytes({ ...plan, fused }, image, draws(), 1, into);
  const [own, expected] = [new Float32Array(size), new Float32Array(size)];
  applyFused(fused, into.pixels.subarray(bytes), readPlacement(into.placements, 1, fused), own);
  sampleFloats(plan, image, draws(), 4, expected);
  expect(own).toEqual(expected);
  expect(readPlacement(Float64Array.of(1, 2, 1, 3, 4, 5, 6, 0.1, 0.2, 0.3), 0, fused)).toEqual({
    ...{ top: 1, left: 2, flip: true, shift: [0.1, 0.2, 0.3] },
    hole: { rows: [3, 4], columns: [5, 6] },
  });
});

test('a loader iterates over images in a file', async () => {
  const transform = compose([randomResizedCrop(8), toTensor()]);
  let count = 0;
  for await (const { images, indices, labels, shape } of dataLoader(photos, {
    batchSize: 4,
    transform,
    seed: 2,
  })) {
    expect(shape.slice(1)).toEqual([3, 8, 8]);
    const open = openStored(photos.images);
    for (const [i, index] of indices.entries()) {
      const { shape: own, values } = open.read(index);
      const made = applyTransform(
        transform,
        imageFromBytes(values, own),
        random(2, streams.transform, 1, index),
      );
      for (const [at, value] of made.values.entries()) expect(images[i * 192 + at]).toBeCloseTo(value, 6);
      expect(labels[i]).toBe(photos.labels[index]);
      count++;
    }
    open.close();
  }
  expect(count).toBe(9);
});

test('reading checks the file before it reads', () => {
  const { images } = photos;
  const read =
    (changed: object, index = 0): (() => void) =>
    () => {
      const open = openStored({ ...images, ...changed });
      try {
        open.read(index);
      } finally {
        open.close();
      }
    };
  expect(read({}, 9)).toThrow('has no image 9; prepare the data set again');
  expect(read({}, -1)).toThrow('has no image -1');
  expect(read({ starts: images.starts.map(() => -5) })).toThrow('has no image 0');
  expect(read({ starts: images.starts.map(() => 0.5) })).toThrow('has no image 0');
  expect(read({ sizes: images.sizes.map(() => 0) })).toThrow('has no image 0');
  expect(read({ starts: images.starts.map(() => 1e15) })).toThrow(/but image 0 ends at byte/);
  expect(read({ file: join(folder, 'none') })).toThrow(DataError);
  expect(read({ file: folder })).toThrow(/it is a folder/);
  const cut = writeStored(join(folder, 'cut'), { count: 2 });
  const open = openStored(cut.images);
  truncateSync(cut.images.file, 20);
  expect(() => open.read(1)).toThrow('was truncated while it was read; prepare the data set again');
  open.close();
});
