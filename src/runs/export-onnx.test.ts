import { mkdir, mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { UsageError, VggError } from '../errors.ts';
import { batchNorm1d, flatten, linear } from '../model/layers/index.ts';
import { sequential } from '../model/network.ts';
import { writeOnnx } from '../model/onnx/onnx.ts';
import { openWeights } from '../model/weight-files.ts';
import { compile } from '../train/model.ts';
import { exportOnnx } from './export-onnx.ts';
import { saveWeights } from './model-files.ts';
import { openModel } from './open-model.ts';

const network = sequential([flatten(), linear(3), batchNorm1d(), linear(2)]);
const data = { classes: ['cat', 'dog'], normalization: { mean: [0.5], std: [0.25] } };

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'vggnet-onnx-'));
});
afterAll(() => rm(folder, { recursive: true }));

test('a compiled model, an opened one, and weights in a file or in memory give the same file', async () => {
  const options = { softmax: true, preprocess: true };
  const [weights, ...files] = ['a', 'b', 'c', 'd'].map((name) => join(folder, name)) as [string, ...string[]];
  await using model = await compile(network, { input: [1, 2, 2], device: 'reference', ...data });
  await saveWeights(model, weights);
  await using opened = await openModel(weights, { device: 'reference' });
  await using file = await openWeights(weights, model.network);
  const expected = await writeOnnx({ ...model.info, weights: await model.weights() }, options);
  for (const [i, source] of [model, opened, { ...model.info, weights: file }].entries()) {
    const { bytes, input, output } = await exportOnnx(source, files[i]!, options);
    expect(Buffer.compare(await readFile(files[i]!), expected)).toBe(0);
    expect(bytes).toBe(expected.length);
    expect(input).toEqual({ name: 'images', shape: [1, 2, 2], description: 'pixels from 0 to 255' });
    expect(output).toEqual({ name: 'probabilities', shape: [2] });
  }
});

test('a file that cannot be written whole is not written', async () => {
  const place = join(folder, 'empty');
  await mkdir(place);
  await using model = await compile(network, { input: [1, 2, 2], device: 'reference' });
  const bad = async (): Promise<void> => {
    throw new VggError('unreadable');
  };
  const shapes = new Map([...(await model.weights())].map(([name, { shape }]) => [name, shape]));
  const weights = { shapes, read: bad };
  await expect(exportOnnx({ ...model.info, weights }, join(place, 'a.onnx'))).rejects.toThrow('unreadable');
  expect(await readdir(place)).toEqual([]);
  await expect(exportOnnx(model, join(place, 'none', 'a.onnx'))).rejects.toThrow(
    /cannot be written: no such file/,
  );
});

test('wrong arguments are told in words', async () => {
  const path = join(folder, 'wrong.onnx');
  await using model = await compile(network, { input: [1, 2, 2], device: 'reference' });
  await expect(exportOnnx(model, ' ')).rejects.toThrow(/the file is empty/);
  await expect(exportOnnx(null as never, path)).rejects.toThrow(UsageError);
  await expect(exportOnnx({} as never, path)).rejects.toThrow(
    /model is an object, not a model, or \{ \.\.\.info, weights \}/,
  );
  await expect(exportOnnx(model, path, { preprocess: true })).rejects.toThrow(
    /needs the normalization of the images/,
  );
});
