import { expect, test } from 'vitest';
import { fromArrays } from '../data/dataset.ts';
import { dataLoader } from '../data/loader.ts';
import { flatten, linear } from '../model/layers/index.ts';
import { sequential } from '../model/network.ts';
import { findLearningRate, type RatePoint } from './lr-find.ts';
import { compile, type Model } from './model.ts';
import { adam, sgd } from './optimizers.ts';

const loader = dataLoader(
  fromArrays(
    Uint8Array.from({ length: 120 }, (_, i) => ((Math.floor(i / 4) % 3) * 100 + i * 7) % 256),
    Array.from({ length: 30 }, (_, i) => i % 3),
    [1, 2, 2],
  ),
  { batchSize: 10, shuffle: true },
);

const small = (): Promise<Model> =>
  compile(sequential([flatten(), linear(3)]), { input: [1, 2, 2], device: 'reference', batchSize: 10 });

test('the rate rises by the same factor each step, across epochs; the model is restored', async () => {
  await using model = await small();
  const before = await model.state();
  const heard: RatePoint[] = [];
  const { points } = await findLearningRate({
    model,
    loader,
    optimizer: adam(),
    from: 1e-4,
    to: 1e-2,
    steps: 21,
    onStep: (_, point) => heard.push(point),
  });
  expect(points).toEqual(heard);
  expect(points).toHaveLength(21);
  for (const [i, { lr }] of points.entries()) expect(lr).toBeCloseTo(1e-4 * 10 ** (i / 10), 10);
  expect(points[0]!.smoothed).toBeCloseTo(points[0]!.loss, 12);
  expect(await model.state()).toEqual(before);
});

test('it stops where the loss explodes, and suggests lower rates', async () => {
  await using model = await small();
  const { points, steepest, tenthOfLowest } = await findLearningRate({
    model,
    loader,
    optimizer: sgd(),
    from: 1e-3,
    to: 1e6,
    steps: 200,
  });
  expect(points.length).toBeLessThan(200);
  const last = points.at(-1)!.lr;
  expect(steepest).toBeLessThan(last / 10);
  expect(tenthOfLowest).toBeLessThan(last / 10);
});

test('a loss that is never finite gives no rate', async () => {
  await using model = await small();
  const weights = new Map(
    [...(await model.weights())].map(([name, { shape }]) => {
      const size = shape.reduce((a, b) => a * b, 1);
      return [name, { shape, data: new Float32Array(size).fill(Number.NaN) }] as const;
    }),
  );
  await model.setWeights(weights);
  const found = findLearningRate({ model, loader, optimizer: sgd(), from: 1e-3 });
  await expect(found).rejects.toThrow(
    'lr-find: the loss is not finite in the first step, at learning rate 0.001: start lower (--from)',
  );
});

test('wrong rates are rejected', async () => {
  await using model = await small();
  const find = (options: object): Promise<unknown> =>
    findLearningRate({ model, loader, optimizer: sgd(), ...options });
  await expect(find({ from: 1, to: 1 })).rejects.toThrow('rates from 1 to 1 do not rise');
  await expect(find({ steps: 9 })).rejects.toThrow('9 steps are too few');
});
