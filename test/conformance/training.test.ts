/** Optimizers and training options on every device: they train as the reference does, and resume with the same bits. */
import { describe, expect, test } from 'vitest';
import { compose, cutout } from '../../src/data/transforms.ts';
import type { MuonOptions, SgdOptions, TrainRequest } from '../../src/engine/backend.ts';
import { openReference } from '../../src/engine/reference.ts';
import type { Weights } from '../../src/model/layer.ts';
import { expectAllClose } from '../allclose.ts';
import { devices } from '../devices.ts';
import { adam, sharedSession } from './sessions.ts';
import { augment, network, request, source, weights } from './small.ts';

const sgd: SgdOptions = { kind: 'sgd', lr: 0.05, momentum: 0.9, nesterov: false, weightDecay: 0 };
const muon: MuonOptions = { kind: 'muon', lr: 0.02, otherLr: 0.5, momentum: 0.95, weightDecay: 0 };
const ways: [string, Partial<TrainRequest>][] = [
  // A larger epsilon, since Adam divides small gradients by their own size, rounding included.
  ['with weight decay', { optimizer: { ...adam(0.01), epsilon: 1e-2, weightDecay: 0.1 } }],
  ['with AdamW', { optimizer: { ...adam(0.01), epsilon: 1e-2, kind: 'adamw', weightDecay: 0.5 } }],
  ['with SGD and weight decay', { optimizer: { ...sgd, weightDecay: 0.1 } }],
  ["with Nesterov's momentum", { optimizer: { ...sgd, nesterov: true } }],
  ['with Muon', { optimizer: muon }],
  [
    'with Muon and all of it',
    {
      optimizer: { ...muon, weightDecay: 0.5, momentum: 0.8 },
      rates: Float64Array.of(0.01, 0.02, 0.01, 0.005),
      rateFactors: [1, 1, 1, 0.5, 1, 1, 2],
      clipNorm: 0.2,
      accumulate: 2,
      averageDecay: 0.5,
    },
  ],
  ['with a rate for each step', { optimizer: sgd, rates: Float64Array.of(0.001, 0.01, 0.02, 0.005) }],
  ['with label smoothing', { optimizer: sgd, labelSmoothing: 0.2 }],
  ['with mixup', { optimizer: sgd, mixup: 0.4 }],
  ['with cutout', { optimizer: sgd, source: { ...source, transform: compose([augment, cutout(5)]) } }],
  ['with clipped gradients', { clipNorm: 0.05, optimizer: sgd }],
  ['with accumulated gradients', { optimizer: sgd, accumulate: 3 }],
  [
    'with accumulated gradients and a function among the transforms',
    {
      optimizer: sgd,
      accumulate: 3,
      source: { ...source, transform: compose([augment, (image) => image]) },
    },
  ],
  ['with a moving average', { optimizer: sgd, averageDecay: 0.9 }],
  [
    'with all of it',
    {
      optimizer: { ...sgd, nesterov: true, weightDecay: 0.01 },
      rates: Float64Array.of(0.1, 0.2, 0.1, 0.05),
      labelSmoothing: 0.1,
      mixup: 1,
      clipNorm: 0.2,
      accumulate: 2,
      averageDecay: 0.5,
    },
  ],
];

describe.each(devices)('$name', (device) => {
  const { open, threads } = device;
  // The reference compared with itself would show nothing; it is tested against finite differences and PyTorch.
  const isReference = open === openReference;
  const withSession = sharedSession(device, network, 7, weights);

  test.skipIf(isReference)('trains as the reference does, with augmentation and a smaller last batch', () =>
    withSession(async (session) => {
      const reference = await openReference(network, { batchSize: 7 });
      await reference.setWeights(weights);
      const result = await session.train(request);
      const expected = await reference.train(request);
      expectAllClose(result.losses, expected.losses, 1e-4, 'losses');
      const trained = await session.weights();
      for (const [name, { data }] of await reference.weights()) {
        expectAllClose(trained.get(name)!.data, data, 1e-3, name);
      }
    }),
  );

  test.skipIf(isReference).each(ways)('%s', (_, way) =>
    withSession(async (session) => {
      const reference = await openReference(network, { batchSize: 7 });
      await reference.setWeights(weights);
      const result = await session.train({ ...request, ...way });
      const expected = await reference.train({ ...request, ...way });
      expectAllClose(result.losses, expected.losses, 1e-4, 'losses');
      expect(result.correct).toEqual(expected.correct);
      const [state, expectedState] = [await session.state(), await reference.state()];
      expect(state.optimizerSteps).toBe(expectedState.optimizerSteps);
      expect(Object.keys(state.moments)).toEqual(Object.keys(expectedState.moments));
      const all = { weights: state.weights, ...state.moments };
      for (const [kind, tensors] of Object.entries({
        weights: expectedState.weights,
        ...expectedState.moments,
      })) {
        for (const [name, { data }] of tensors) {
          expectAllClose(all[kind as 'weights'].get(name)!.data, data, 1e-3, `${kind} of ${name}`);
        }
      }
    }),
  );

  test.each(ways)('%s: a saved state resumes with the same bits', (_, way) =>
    withSession(async (session) => {
      // Inside an epoch, where a group of accumulated batches ends.
      const from = way.accumulate ?? 1;
      const whole = { ...request, ...way };
      await session.train({ ...whole, to: from });
      const saved = await session.state();
      const rest = { ...whole, from, ...(way.rates && { rates: way.rates.subarray(from) }) };
      await session.train(rest);
      const expected = await session.state();
      await session.setWeights(
        new Map([...weights].map(([name, { shape, data }]) => [name, { shape, data: data.map(() => 1) }])),
      );
      await session.setState(saved);
      await session.train(rest);
      expect(await session.state()).toEqual(expected);
    }),
  );

  test('accumulated batches are one batch of all their images', async () => {
    const one = await openAndTrain(12, 1);
    const three = await openAndTrain(4, 3);
    for (const [name, { data }] of one) expectAllClose(three.get(name)!.data, data, 1e-4, name);
  });

  const openAndTrain = async (batchSize: number, accumulate: number): Promise<Weights> => {
    const session = await open(network, { batchSize, threads });
    try {
      await session.setWeights(weights);
      const to = Math.ceil(23 / batchSize);
      const optimizer = { ...sgd, lr: 0.01 };
      await session.train({ ...request, optimizer, source: { ...source, batchSize }, to, accumulate });
      return await session.weights();
    } finally {
      await session.close();
    }
  };

  test('the moving average swaps with the weights and back', () =>
    withSession(async (session) => {
      await session.train({ ...request, averageDecay: 0.9 });
      const { weights: last, moments } = await session.state();
      await session.swapAverage();
      expect(await session.weights()).toEqual(moments.average);
      const averaged = await session.evaluate(source);
      await session.swapAverage();
      expect(await session.weights()).toEqual(last);
      expect((await session.evaluate(source)).loss).not.toBe(averaged.loss);
    }));
});
