/** A session of a network with batch normalization and dropout, on every device. */
import { describe, expect, test } from 'vitest';
import { fromArrays } from '../../src/data/dataset.ts';
import { compose, randomHorizontalFlip, toTensor } from '../../src/data/transforms.ts';
import type { BatchSource, TrainRequest } from '../../src/engine/backend.ts';
import { openReference } from '../../src/engine/reference.ts';
import { initialWeights } from '../../src/model/initialize.ts';
import {
  batchNorm1d,
  batchNorm2d,
  conv2d,
  dropout,
  flatten,
  linear,
  maxPool2d,
  relu,
} from '../../src/model/layers/index.ts';
import { buildNetwork, parametersOf, sequential } from '../../src/model/network.ts';
import { expectAllClose } from '../allclose.ts';
import { devices } from '../devices.ts';
import { randomImages } from '../expected.ts';
import { adam, sharedSession } from './sessions.ts';

const network = buildNetwork(
  sequential([
    conv2d({ out: 5, kernel: 3, padding: 1, bias: false }),
    batchNorm2d(),
    relu(),
    maxPool2d(2),
    conv2d({ out: 6, kernel: 3, bias: false }),
    batchNorm2d({ momentum: 0.4 }),
    relu(),
    dropout(0.2),
    flatten(),
    linear({ out: 12, bias: false }),
    batchNorm1d(),
    relu(),
    dropout(0.4),
    linear(4),
  ]),
  [3, 10, 9],
);
const dataset = fromArrays(
  Uint8Array.from(randomImages([3, 10, 9], 30, 6), (value) => (value + 1) * 128),
  Array.from({ length: 30 }, (_, i) => (i * i) % 4),
  [3, 10, 9],
);
const order = Uint32Array.from({ length: 30 }, (_, i) => (i * 7) % 30);
const transform = compose([randomHorizontalFlip(), toTensor()]);
const source: BatchSource = { dataset, transform, batchSize: 8, order, seed: 3, epoch: 2 };
const request: TrainRequest = { source, optimizer: adam(0.003), from: 0, to: 4 };
const weights = initialWeights(network, 1);
const values = randomImages([3, 10, 9], 30, 8);

describe.each(devices)('$name', (device) => {
  const { open } = device;
  // The reference compared with itself would show nothing; it is tested against finite differences and PyTorch.
  const isReference = open === openReference;
  const withSession = sharedSession(device, network, 8, weights);

  test.skipIf(isReference)('trains and evaluates as the reference does, with a smaller last batch', () =>
    withSession(async (session) => {
      const reference = await openReference(network, { batchSize: 8 });
      await reference.setWeights(weights);
      const { losses } = await session.train(request);
      expectAllClose(losses, (await reference.train(request)).losses, 1e-4, 'losses');
      const trained = await session.weights();
      for (const [name, { data }] of await reference.weights()) {
        expectAllClose(trained.get(name)!.data, data, 1e-3, name);
      }
      await reference.setWeights(trained);
      const expected = await reference.evaluate(source);
      expectAllClose([(await session.evaluate(source)).loss], [expected.loss], 1e-5, 'loss');
      const logits = await session.predict(values, 30);
      expectAllClose(logits, await reference.predict(values, 30), 1e-4, 'logits');
      // In evaluation an image's logits do not depend on its neighbors.
      for (const [from, count] of [
        [0, 1],
        [3, 2],
        [5, 9],
      ] as const) {
        const some = await session.predict(values.slice(from * 270, (from + count) * 270), count);
        expectAllClose(some, logits.slice(from * 4, (from + count) * 4), 1e-5, `${count} images`);
      }
    }),
  );

  test('continues mid-epoch with the same bits', () =>
    withSession(async (session) => {
      const whole = await session.train(request);
      const wholeWeights = await session.weights();
      await session.setWeights(weights);
      const first = await session.train({ ...request, to: 1 });
      await session.evaluate(source);
      const second = await session.train({ ...request, from: 1 });
      expect([...first.losses, ...second.losses]).toEqual([...whole.losses]);
      expect(await session.weights()).toEqual(wholeWeights);
    }));

  const ways = { ...request, accumulate: 2, averageDecay: 0.9, clipNorm: 1 };
  test.skipIf(isReference)('trains with accumulated gradients and an average as the reference does', () =>
    withSession(async (session) => {
      const reference = await openReference(network, { batchSize: 8 });
      await reference.setWeights(weights);
      const { losses } = await session.train(ways);
      // Running moments follow each batch, whether or not the optimizer makes its step behind it.
      expectAllClose(losses, (await reference.train(ways)).losses, 1e-4, 'losses');
      const trained = await session.weights();
      for (const [name, { data }] of await reference.weights()) {
        expectAllClose(trained.get(name)!.data, data, 1e-3, name);
      }
    }),
  );

  test('continues from a state, with accumulated gradients and an average', () =>
    withSession(async (session) => {
      await session.train(ways);
      const whole = await session.state();
      await session.setWeights(weights);
      await session.train({ ...ways, to: 2 });
      const state = await session.state();
      expect([...state.moments.firstMoment!.keys()]).toEqual(parametersOf(network).map(({ name }) => name));
      await session.setWeights(initialWeights(network, 9));
      await session.setState(state);
      await session.train({ ...ways, from: 2 });
      expect(await session.state()).toEqual(whole);
      // The average is one of parameters; running moments stay what they are.
      await session.swapAverage();
      const averaged = await session.weights();
      expect(averaged.get('1.running_mean')).toEqual(whole.weights.get('1.running_mean'));
      expect(averaged.get('0.weight')).not.toEqual(whole.weights.get('0.weight'));
    }));

  test('dropout depends on epoch and seed', () =>
    withSession(async (session) => {
      const firstLoss = async (change: Partial<BatchSource>): Promise<number> => {
        await session.setWeights(weights);
        const fixed = { ...source, transform: toTensor(), ...change };
        return (await session.train({ ...request, source: fixed, to: 1 })).losses[0]!;
      };
      const loss = await firstLoss({});
      expect(await firstLoss({})).toBe(loss);
      expect(await firstLoss({ epoch: 3 })).not.toBe(loss);
      expect(await firstLoss({ seed: 4 })).not.toBe(loss);
    }));

  test('computes gradients in training mode without changing weights or running moments', () =>
    withSession(async (session) => {
      const labels = [0, 1, 2, 3, 0, 1, 2, 3];
      const batch = values.slice(0, 8 * 270);
      const first = await session.gradients(batch, labels);
      expect([...first.gradients.keys()]).not.toContain('1.running_mean');
      await session.predict(values, 30);
      expect(await session.gradients(batch, labels)).toEqual(first);
      expect(await session.weights()).toEqual(weights);
    }));

  test('rejects a batch with one value per channel, before the first step', () =>
    withSession(async (session) => {
      const alone = { ...source, order: order.slice(0, 9) };
      await expect(session.gradients(values.slice(0, 270), [1])).rejects.toThrow(
        'sequential: batchNorm1d 10 needs at least two values per channel in training, but a batch of 1 has one; choose a batch size that leaves no batch with a single image',
      );
      await expect(session.train({ ...request, source: alone, from: 1, to: 2 })).rejects.toThrow(
        /batchNorm1d/,
      );
      expect(await session.weights()).toEqual(weights);
    }));

  test('a step that is not applied does not change the running moments', () =>
    withSession(async (session) => {
      const broken = new Map(weights);
      broken.set('13.bias', { shape: [4], data: Float32Array.of(0, Number.NaN, 0, 0) });
      await session.setWeights(broken);
      expect((await session.train(request)).steps).toBe(1);
      expect(await session.weights()).toEqual(broken);
    }));
});
