import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { fromArrays } from '../data/dataset.ts';
import { dataLoader } from '../data/loader.ts';
import { random } from '../data/random.ts';
import { channelStatistics } from '../data/statistics.ts';
import { compose, normalize, toTensor } from '../data/transforms.ts';
import { DataError, UsageError } from '../errors.ts';
import { conv2d, flatten, linear, maxPool2d, relu } from '../model/layers/index.ts';
import { sequential } from '../model/network.ts';
import { readSafetensors, writeSafetensors } from '../model/safetensors.ts';
import { readInfo, writeWeights } from '../model/weight-files.ts';
import { compile } from '../train/model.ts';
import { adam } from '../train/optimizers.ts';
import { loadWeights, saveWeights } from './model-files.ts';
import { openModel } from './open-model.ts';

const network = (stride = 1): ReturnType<typeof sequential> =>
  sequential([
    conv2d({ out: 4, kernel: 3, stride }),
    relu(),
    maxPool2d(2),
    flatten(),
    linear({ out: 3, name: 'fc' }),
  ]);
const source = random(3, 100);
const labels = Array.from({ length: 12 }, (_, i) => i % 3);
const pixels = Uint8Array.from(
  labels.flatMap((label) => Array.from({ length: 72 }, () => 70 * label + source.integer(60))),
);
const classes = ['dark', 'gray', 'light'];
const data = fromArrays(pixels, labels, [2, 6, 6], { name: 'shades', classes });
const { mean, std } = channelStatistics(data);
const transform = compose([toTensor(), normalize(mean, std)]);
const loader = dataLoader(data, { batchSize: 4, transform });

let folder: string;
let path: string;
let accuracy: number;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'vggnet-open-'));
  path = join(folder, 'shades.safetensors');
  await using model = await compile(network(), { input: [2, 6, 6], device: 'reference', batchSize: 4 });
  for (let epoch = 1; epoch <= 30; epoch++)
    await model.train(loader, { epoch, optimizer: adam({ lr: 0.02 }) });
  ({ accuracy } = await model.evaluate(loader));
  await saveWeights(model, path);
});
afterAll(() => rm(folder, { recursive: true }));

describe('openModel', () => {
  test('opened to predict, it computes the same and keeps no weights that can be read', async () => {
    await using whole = await openModel(path, { device: 'wasm', threads: 1 });
    await using model = await openModel(path, { device: 'wasm', threads: 1, purpose: 'predict' });
    expect((await model.predict(pixels)).logits).toEqual((await whole.predict(pixels)).logits);
    await expect(model.compiled.weights()).rejects.toThrow("compiled with purpose 'predict'");
    const wrong = { purpose: 'evaluation' as 'predict' };
    await expect(openModel(path, wrong)).rejects.toThrow('openModel: purpose "evaluation" is not one of');
  });

  test('the signal cancels it while weights are read', async () => {
    const controller = new AbortController();
    const opening = openModel(path, { device: 'wasm', threads: 1, signal: controller.signal });
    setTimeout(() => controller.abort(new Error('enough')), 1);
    await expect(opening).rejects.toThrow('enough');
  });

  test('classifies raw images, bytes or floats, normalized as in training', async () => {
    expect(accuracy).toBe(1);
    await using model = await openModel(path, { device: 'reference' });
    expect(model.classes).toEqual(classes);
    expect(model.input).toEqual([2, 6, 6]);
    expect(model.normalization).toEqual({ mean, std });
    const fromBytes = await model.predict(pixels);
    expect([...fromBytes.labels]).toEqual(labels);
    expect((await model.predict(Uint8ClampedArray.from(pixels))).logits).toEqual(fromBytes.logits);
    const fromFloats = await model.predict(Float32Array.from(pixels, (value) => value / 255));
    for (const [i, logit] of fromFloats.logits.entries()) expect(logit).toBeCloseTo(fromBytes.logits[i]!, 4);
    // The transform prepares a data set's images to the same bits.
    for await (const { images } of dataLoader(data, { batchSize: 12, transform: model.transform })) {
      expect((await model.compiled.predict(images)).logits).toEqual(fromBytes.logits);
    }
  });

  test.for<[string, unknown, string]>([
    ['half an image', new Uint8Array(36), '36 values are not whole images of 2×6×6 = 72 values'],
    ['nothing', new Uint8Array(0), '0 values are not whole images'],
    ['a list', [1, 2], 'images are a list; pass a Uint8Array'],
    ['no argument', undefined, 'images are undefined; pass'],
    ['doubles', new Float64Array(72), 'images are of type Float64Array; pass'],
    [
      'floats 0–255',
      new Float32Array(72).fill(255),
      'value 255 of image 0 is not from 0 to 1; divide bytes by 255',
    ],
    ['floats that are normalized already', new Float32Array(144).fill(-1, 80), 'value -1 of image 1 is not'],
    ['NaN', new Float32Array(72).fill(Number.NaN), 'value NaN of image 0'],
  ])('rejects %s', async ([, images, problem]) => {
    await using model = await openModel(path, { device: 'reference' });
    await expect(model.predict(images as never)).rejects.toThrow(UsageError);
    await expect(model.predict(images as never)).rejects.toThrow(problem);
  });

  test('rejects options that contradict the file, unknown options, and a missing path', async () => {
    const open = (options: object): Promise<unknown> => openModel(path, { device: 'reference', ...options });
    await expect(open({ normalization: null })).rejects.toThrow(
      /trained with normalization mean .*the model has none/,
    );
    await expect(open({ classes: ['a', 'b', 'c'] })).rejects.toThrow(
      /its classes are dark, gray, light.*a, b, c/,
    );
    await expect(open({ classes: ['a'] })).rejects.toThrow(/the network has 3 classes, not 1/);
    await expect(open({ threads: 1e6 })).rejects.toThrow(/threads 1000000 is above the limit of 256/);
    await expect(open({ devise: 'wasm' })).rejects.toThrow(/no option "devise"/);
    await expect(openModel(undefined as never)).rejects.toThrow('undefined is not a path');
    await expect(openModel(join(folder, 'none'))).rejects.toThrow(DataError);
  });

  test('needs options for a file that stores no information', async () => {
    const foreign = join(folder, 'foreign.safetensors');
    await using model = await openModel(path, { device: 'reference' });
    const weights = await model.compiled.weights();
    await writeFile(foreign, writeSafetensors(weights, { format: 'pt' }));
    await expect(openModel(foreign)).rejects.toThrow(
      /does not say its network, and its tensors are not those of a known one; name it/,
    );
    const options = { device: 'reference', network: network(), input: [2, 6, 6] } as const;
    await expect(openModel(foreign, options)).rejects.toThrow(/does not say how its images are normalized/);
    await using told = await openModel(foreign, { ...options, normalization: { mean, std } });
    expect(told.classes).toEqual(['0', '1', '2']);
    expect([...(await told.predict(pixels)).labels]).toEqual(labels);
  });
});

describe('load', () => {
  const made = (options: object, stride = 1): ReturnType<typeof compile> =>
    compile(network(stride), { input: [2, 6, 6], device: 'reference', ...options });

  test('takes the information in the file, and saves it again', async () => {
    await using model = await made({});
    expect(await loadWeights(model, path)).toMatchObject({ dataset: 'shades', classes });
    const copy = join(folder, 'copy.safetensors');
    await saveWeights(model, copy);
    expect(await readInfo(copy)).toEqual(await readInfo(path));
  });

  test('rejects what contradicts it', async () => {
    await using other = await made({ normalization: null });
    await expect(loadWeights(other, path)).rejects.toThrow(
      /trained with normalization mean .* the model has none/,
    );
    // The same parameters, another network.
    const same = sequential([
      conv2d({ out: 4, kernel: 3 }),
      maxPool2d(2),
      relu(),
      flatten(),
      linear({ out: 3, name: 'fc' }),
    ]);
    await using swapped = await compile(same, { input: [2, 6, 6], device: 'reference' });
    await expect(loadWeights(swapped, path)).rejects.toThrow(
      /its weights are for another network: in the file, sequential has relu/,
    );
    await using larger = await compile(network(), { input: [2, 7, 7], device: 'reference' });
    await expect(loadWeights(larger, path)).rejects.toThrow(/for images of 2×6×6, but the model takes 2×7×7/);
  });

  test('a loader whose normalization contradicts compile is rejected', async () => {
    await using model = await made({ normalization: { mean: [0], std: [1] } });
    await expect(model.train(loader, { epoch: 1, optimizer: adam() })).rejects.toThrow(
      /leave it out of compile/,
    );
  });

  test('weights without information are saved and read', async () => {
    await using model = await made({ classes, normalization: null });
    const plain = join(folder, 'plain.safetensors');
    await writeWeights(plain, await model.weights());
    expect(await readInfo(plain)).toBeUndefined();
    expect(await loadWeights(model, plain)).toBeUndefined();
    await saveWeights(model, plain);
    const { metadata } = readSafetensors(new Uint8Array(await readFile(plain)));
    expect(JSON.parse(metadata.vggnet!)).toMatchObject({ classes, normalization: null, input: [2, 6, 6] });
  });
});
