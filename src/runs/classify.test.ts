/** Image files classified by opened models. */
import { copyFile, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { DataError, UsageError, VggError } from '../errors.ts';
import { decodeImage } from '../images/decode.ts';
import { fitImage } from '../images/fit.ts';
import { conv2d, flatten, linear, maxPool2d, relu } from '../model/layers/index.ts';
import { sequential } from '../model/network.ts';
import { parseGivenConfig } from '../train/config.ts';
import { compile } from '../train/model.ts';
import { saveWeights } from './model-files.ts';
import { type OpenedModel, openModel } from './open-model.ts';
import { createRun } from './run.ts';

const network = sequential([conv2d({ out: 4, kernel: 3 }), relu(), maxPool2d(8), flatten(), linear(6)]);
const classes = ['cat', 'dog', 'fox', 'hen', 'owl', 'pig'];
const normalization = { mean: [0.5], std: [0.2] };
const photo = (name: string): string => `test/golden/images/${name}`;

let folder: string;
const file = (name: string): string => join(folder, `${name}.safetensors`);
async function save(name: string, input: readonly number[]): Promise<void> {
  const options = { device: 'reference', input, classes, normalization, seed: 3 } as const;
  await using model = await compile(network, options);
  await saveWeights(model, file(name));
}
const open = (name: string): Promise<OpenedModel> => openModel(file(name), { device: 'reference' });
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'vggnet-classify-'));
  await save('small', [3, 32, 32]);
  await save('wide', [3, 64, 96]);
  await save('gray', [1, 32, 32]);
  await save('four', [4, 32, 32]);
});
afterAll(() => rm(folder, { recursive: true, force: true }));

test.each([
  ['small', 3, { resize: 32, crop: [32, 32] }],
  ['wide', 3, { resize: 110, crop: [64, 96] }],
  ['gray', 1, { resize: 32, crop: [32, 32] }],
] as const)('%s networks see the image resized and cropped', async (name, channels, fit) => {
  await using model = await open(name);
  const path = photo('420.jpg');
  const bytes = new Uint8Array(await readFile(path));
  const fitted = fitImage(await decodeImage(bytes), fit, channels);
  const { probabilities, labels } = await model.predict(fitted);
  const found = await model.classify(path);
  expect(found).toHaveLength(5);
  expect(found[0]!.index).toBe(labels[0]);
  for (const [i, { index, probability, ...one }] of found.entries()) {
    expect(one.class).toBe(classes[index]);
    expect(probability).toBe(probabilities[index]);
    if (i > 0) expect(probability).toBeLessThanOrEqual(found[i - 1]!.probability);
  }
  expect(await model.classify(bytes)).toEqual(found);
  expect(await model.classify(bytes, { top: 2 })).toEqual(found.slice(0, 2));
  const all = await model.classify(bytes, { top: 100 });
  expect(all.map(({ index }) => index).sort()).toEqual([0, 1, 2, 3, 4, 5]);
  const others = await model.classify([photo('gray.jpg'), bytes], { top: 1 });
  expect(others).toEqual([await model.classify(photo('gray.jpg'), { top: 1 }), found.slice(0, 1)]);
});

test('the EXIF orientation is applied unless it is to be ignored', async () => {
  await using model = await open('wide');
  const [turned, upright] = await model.classify([photo('orientation-3.jpg'), photo('orientation-1.jpg')]);
  const [first, second] = await model.classify([photo('orientation-3.jpg'), photo('orientation-1.jpg')], {
    orientation: 'ignore',
  });
  expect(second).toEqual(upright);
  // The pixels of both files are the same.
  expect(first).toEqual(upright);
  expect(turned).not.toEqual(upright);
});

test('equal probabilities are in the order of the classes; outputs that are no numbers are refused', async () => {
  await using model = await open('small');
  const weights = await model.compiled.weights();
  for (const weight of weights.values()) weight.data.fill(0);
  await model.compiled.setWeights(weights);
  const found = await model.classify(photo('tiny.jpg'));
  expect(found.map(({ index }) => index)).toEqual([0, 1, 2, 3, 4]);
  expect(found[0]!.probability).toBeCloseTo(1 / 6, 6);
  [...weights.values()].at(-1)!.data.fill(Number.NaN);
  await model.compiled.setWeights(weights);
  await expect(model.classify(photo('tiny.jpg'))).rejects.toThrow(VggError);
  await expect(model.classify(photo('tiny.jpg'))).rejects.toThrow('outputs are not finite numbers');
});

test('what is refused names the file', async () => {
  await using model = await open('small');
  const svg = join(folder, 'drawing.jpg');
  await writeFile(svg, '<svg xmlns="http://www.w3.org/2000/svg"/>');
  await expect(model.classify([photo('tiny.jpg'), svg])).rejects.toThrow(
    `${svg}: the file is an SVG drawing`,
  );
  await expect(model.classify(join(folder, 'none.jpg'))).rejects.toThrow(DataError);
  await expect(model.classify(folder)).rejects.toThrow('cannot be read: it is a folder');
  const wrong = (files: unknown, options?: object): Promise<unknown> =>
    model.classify(files as string, options);
  await expect(wrong(undefined)).rejects.toThrow('undefined is no image file; pass a path');
  await expect(wrong([photo('tiny.jpg'), 3])).rejects.toThrow(UsageError);
  await expect(wrong(new Float32Array(3072))).rejects.toThrow('the bytes are an object');
  await expect(wrong(svg, { top: 0 })).rejects.toThrow('top 0 is not a whole number ≥ 1');
  await expect(wrong(svg, { topk: 3 })).rejects.toThrow('there is no option "topk"; did you mean "top"?');
  await using four = await open('four');
  await expect(four.classify(photo('tiny.jpg'))).rejects.toThrow(
    'takes 4×32×32 values, and image files have 3',
  );
});

test('a run folder stands for its best weights', async () => {
  const place = join(folder, 'run');
  const run = await createRun(place, parseGivenConfig({}, 'test'));
  await run.close();
  await expect(openModel(place)).rejects.toThrow(
    /has no best weights.*Continue the run with vgg train --resume/,
  );
  await copyFile(file('small'), join(place, 'last.safetensors'));
  await expect(openModel(place)).rejects.toThrow(/Name its last weights: .*last.safetensors/);
  await copyFile(file('small'), join(place, 'best.safetensors'));
  await using model = await openModel(place, { device: 'reference' });
  expect(model.classes).toEqual(classes);
  const empty = join(folder, 'empty');
  await mkdir(empty);
  await expect(openModel(empty)).rejects.toThrow('is not a run folder');
});
