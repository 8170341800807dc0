import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { writeStored } from '../../test/stored.ts';
import { fromArrays } from '../data/dataset.ts';
import { colorComponents } from '../data/statistics.ts';
import {
  centerCrop,
  colorJitter,
  colorShift,
  compose,
  cutout,
  imagenetComponents,
  normalize,
  pad,
  randomCrop,
  randomHorizontalFlip,
  randomResizedCrop,
  randomRotation,
  resize,
  scaleJitter,
  toTensor,
} from '../data/transforms.ts';
import { parseConfig } from '../train/config.ts';
import { loadersOf, normalizationOf } from './loaders.ts';

const folder = mkdtempSync(join(tmpdir(), 'vggnet-loaders-'));
afterAll(() => rmSync(folder, { recursive: true }));
const photos = writeStored(join(folder, 'photos'), { count: 20, least: 30, most: 60 });
const splits = { train: photos, test: photos };
const base = { ...parseConfig({}, 'test'), batchSize: 4 };
const input = [3, 224, 224] as const;

const transformOf = (options: Partial<typeof base>, side: number = input[1]) =>
  loadersOf(splits, { ...base, ...options }, [3, side, side]).trainLoader.transform;

test('photos are cropped as the options say, and tested on the center', () => {
  const flip = randomHorizontalFlip();
  expect(transformOf({})).toEqual(compose([randomResizedCrop([224, 224]), flip, toTensor()]));
  expect(transformOf({ crop: 'random' })).toEqual(
    compose([resize(256), randomCrop([224, 224]), flip, toTensor()]),
  );
  expect(transformOf({ crop: 'jitter' })).toEqual(
    compose([scaleJitter(256, 512), randomCrop([224, 224]), flip, toTensor()]),
  );
  expect(transformOf({ crop: 'jitter' }, 112)).toEqual(
    compose([scaleJitter(128, 256), randomCrop([112, 112]), flip, toTensor()]),
  );
  const center = compose([resize(256), centerCrop([224, 224]), toTensor()]);
  expect(transformOf({ augment: false })).toEqual(center);
  const { testLoader, validationLoader } = loadersOf(splits, { ...base, validation: 0.2 }, input);
  expect(testLoader.transform).toEqual(center);
  expect(validationLoader!.transform).toEqual(center);
  expect(validationLoader!.dataset.length).toBe(4);
  // A small network sees the whole shorter side.
  expect(loadersOf(splits, base, [3, 32, 32]).testLoader.transform).toEqual(
    compose([resize(32), centerCrop(32), toTensor()]),
  );
  expect(() => loadersOf(splits, base)).toThrow('give the shape of the network');
});

test('held-out photos are those that are prepared for tests', () => {
  const small = writeStored(join(folder, 'small'), { count: 20, least: 20, most: 25 });
  const { trainLoader, validationLoader } = loadersOf(
    { ...splits, trainAsTested: small },
    { ...base, validation: 0.2 },
    input,
  );
  const { dataset } = validationLoader!;
  const images = (dataset as unknown as typeof photos).images;
  expect(images.file).toBe(small.images.file);
  const trained = (trainLoader.dataset as unknown as typeof photos).images;
  expect(trained.file).toBe(photos.images.file);
  expect([...trained.sources, ...images.sources].toSorted()).toEqual(photos.images.sources.toSorted());
});

test('changes of bytes come before the part that the device computes', () => {
  const { mean, std } = normalizationOf(photos, { normalize: true })!;
  const options = { rotation: 15, colorJitter: 0.4, colorShift: 0.1, cutout: 8, normalize: true };
  expect(transformOf(options)).toEqual(
    compose([
      ...[randomResizedCrop([224, 224]), randomRotation(15)],
      colorJitter({ brightness: 0.4, contrast: 0.4, saturation: 0.4, hue: 0.1 }),
      ...[randomHorizontalFlip(), toTensor(), colorShift(0.1, imagenetComponents)],
      ...[normalize(mean, std), cutout(8)],
    ]),
  );
});

test('small images take the same options, with their own components of color', () => {
  const pixels = Uint8Array.from({ length: 8 * 3 * 16 }, (_, i) => (i * 71) % 256);
  const small = fromArrays(pixels, [0, 1, 0, 1, 0, 1, 0, 1], [3, 4, 4]);
  const options = { ...base, rotation: 5, colorShift: 0.2 };
  const { trainLoader, testLoader } = loadersOf({ train: small, test: small }, options);
  expect(trainLoader.transform).toEqual(
    compose([
      ...[pad(4), randomHorizontalFlip(), randomCrop([4, 4]), randomRotation(5)],
      ...[toTensor(), colorShift(0.2, colorComponents(small))],
    ]),
  );
  expect(testLoader.transform).toEqual(toTensor());
});
