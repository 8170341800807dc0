/** The contract of `src/engine/backend.ts` on every device: what a session takes, returns, rejects and keeps. */
import { describe, expect, test } from 'vitest';
import { fromArrays } from '../../src/data/dataset.ts';
import { random, streams } from '../../src/data/random.ts';
import { applyTransform, imageFromBytes } from '../../src/data/transforms/apply.ts';
import { compose, toTensor } from '../../src/data/transforms.ts';
import type { BatchSource, TrainRequest } from '../../src/engine/backend.ts';
import { openReference } from '../../src/engine/reference.ts';
import { initializationNames } from '../../src/model/initializations.ts';
import { initialWeights } from '../../src/model/initialize.ts';
import { conv2d, flatten, linear, maxPool2d, relu } from '../../src/model/layers/index.ts';
import { buildNetwork, sequential } from '../../src/model/network.ts';
import { shapesOf, type WeightSource } from '../../src/model/weight-streams.ts';
import { expectAllClose } from '../allclose.ts';
import { devices } from '../devices.ts';
import { randomImages } from '../expected.ts';
import { adam, sharedSession } from './sessions.ts';
import { augment, dataset, images, network, order, request, source, weights } from './small.ts';

describe.each(devices)('$name', (device) => {
  const { open, threads, singleLosses = false } = device;
  const withSession = sharedSession(device, network, 7, weights);

  test('returns the weights it was given', () =>
    withSession(async (session) => {
      expect(await session.weights()).toEqual(weights);
    }));

  test('draws the initial weights of each initialization, large tensors by parts', async () => {
    for (const initialization of initializationNames) {
      const layers = [conv2d({ out: 5, kernel: 3 }), relu(), flatten(), linear(301), relu(), linear(3)];
      const drawn = buildNetwork(sequential(layers, { initialization }), [3, 10, 10]);
      const session = await open(drawn, { batchSize: 7, threads });
      try {
        await session.initialize(5);
        expect(await session.weights()).toEqual(initialWeights(drawn, 5));
      } finally {
        await session.close();
      }
    }
  });

  test('predicts batches of any size down to one, and larger than the training batch', () =>
    withSession(async (session) => {
      const all = await session.predict(images, 23);
      expect(all.length).toBe(23 * 9);
      for (const [from, count] of [
        [0, 1],
        [22, 1],
        [3, 2],
        [5, 7],
        [0, 9],
      ] as const) {
        const some = await session.predict(images.slice(from * 270, (from + count) * 270), count);
        expectAllClose(some, all.slice(from * 9, (from + count) * 9), 1e-5, `${count} images`);
      }
    }));

  test('rejects images of another size', () =>
    withSession(async (session) => {
      await expect(session.predict(images.slice(1), 23)).rejects.toThrow(/270/);
    }));

  test('rejects labels that are not a class', () =>
    withSession(async (session) => {
      for (const label of [9, -1, 0.5, Number.NaN]) {
        await expect(session.gradients(images.slice(0, 540), [1, label])).rejects.toThrow(
          `label ${label} of image 1 of the batch is not one of the network's 9 classes`,
        );
      }
    }));

  test('computes gradients without changing the weights', () =>
    withSession(async (session) => {
      const labels = [0, 1, 2, 3, 0, 1, 2];
      const batch = images.slice(0, 7 * 270);
      const first = await session.gradients(batch, labels);
      expect(await session.gradients(batch, labels)).toEqual(first);
      expect(await session.weights()).toEqual(weights);
    }));

  test('evaluate agrees with predict, including the smaller last batch', () =>
    withSession(async (session) => {
      const result = await session.evaluate(source);
      const seen = Array.from(order, (index) => {
        const image = imageFromBytes(dataset.pixels.subarray(index * 396, (index + 1) * 396), dataset.shape);
        return [...applyTransform(augment, image, random(3, streams.transform, 2, index)).values];
      });
      const logits = await session.predict(Float32Array.from(seen.flat()), 23);
      let [loss, correct, topFive] = [0, 0, 0];
      for (const [n, index] of order.entries()) {
        const row = [...logits.slice(n * 9, (n + 1) * 9)];
        const own = row[dataset.labels[index]!]!;
        loss += Math.log(row.reduce((sum, logit) => sum + Math.exp(logit - own), 0)) / 23;
        if (Math.max(...row) === own) correct++;
        if (row.toSorted((a, b) => b - a).indexOf(own) < 5) topFive++;
      }
      expectAllClose([result.loss], [loss], 1e-5, 'loss');
      expect(result).toMatchObject({ images: 23, correct, accuracy: correct / 23, topFive: topFive / 23 });
      expect(topFive).toBeGreaterThan(correct);
      expect(topFive).toBeLessThan(23);
      expect((await session.evaluate({ ...source, order: order.slice(0, 1) })).images).toBe(1);
    }));

  test('reports the steps it has done', () =>
    withSession(async (session) => {
      const reports: number[] = [];
      const result = await session.train({
        ...request,
        onSteps: (steps) => reports.push(...steps.map(({ step }) => step)),
      });
      expect(reports).toEqual([1, 2, 3, 4]);
      expect(result.steps).toBe(4);
      expect(result.images).toBe(23);
    }));
  test('continues where the last call ended', () =>
    withSession(async (session) => {
      const whole = await session.train(request);
      const wholeWeights = await session.weights();
      await session.setWeights(weights);
      const first = await session.train({ ...request, to: 1 });
      const second = await session.train({ ...request, from: 1 });
      expect([...first.losses, ...second.losses]).toEqual([...whole.losses]);
      expect(await session.weights()).toEqual(wholeWeights);
    }));

  test('stops when asked to, and keeps the steps done', () =>
    withSession(async (session) => {
      const aborter = new AbortController();
      aborter.abort();
      expect((await session.train({ ...request, signal: aborter.signal })).steps).toBe(0);
      expect(await session.weights()).toEqual(weights);
      expect((await session.evaluate(source, aborter.signal)).images).toBe(0);
    }));

  test('stops at a loss that is not finite', () =>
    withSession(async (session) => {
      const broken = new Map(weights);
      const bias = new Float32Array(9).fill(Number.NaN, 4, 5);
      broken.set('6.bias', { shape: [9], data: bias });
      await session.setWeights(broken);
      const result = await session.train(request);
      expect(result.steps).toBe(1);
      expect(result.losses[0]).toBeNaN();
    }));

  test('NaN in one batch or in training leaves nothing behind once weights are set again', () =>
    withSession(async (session) => {
      const before = await session.predict(images, 23);
      const broken = images.slice(0, 7 * 270).fill(Number.NaN, 100, 101);
      expect((await session.gradients(broken, [0, 1, 2, 3, 0, 1, 2])).loss).toBeNaN();
      await session.setWeights(weights);
      expect(await session.predict(images, 23)).toEqual(before);
      // The gradient of the second step is NaN in all channels, those of padding included.
      await session.train({ ...request, optimizer: adam(1e30) });
      await session.setWeights(weights);
      expect(await session.predict(images, 23)).toEqual(before);
    }));

  test('is not used with weights that were read in part', () =>
    withSession(async (session) => {
      const before = await session.predict(images, 23);
      const halves: WeightSource = {
        shapes: shapesOf(weights),
        async read(name, from, into) {
          if (name === '6.bias') throw new Error('the disk is gone');
          into.set(
            weights
              .get(name)!
              .data.subarray(from, from + into.length)
              .map((value) => 2 * value),
          );
        },
      };
      await expect(session.setWeights(halves)).rejects.toThrow('the disk is gone');
      for (const use of [
        () => session.predict(images, 23),
        () => session.train(request),
        () => session.state(),
      ])
        await expect(use()).rejects.toThrow('the weights of sequential are incomplete');
      await session.setWeights(weights);
      expect(await session.predict(images, 23)).toEqual(before);
    }));

  test("an error of the caller's function ends training after its step", () =>
    withSession(async (session) => {
      const thrower: TrainRequest = {
        ...request,
        onSteps: () => {
          throw new Error('the caller failed');
        },
      };
      await expect(session.train(thrower)).rejects.toThrow('the caller failed');
      const { optimizerSteps } = await session.state();
      expect(optimizerSteps).toBeGreaterThan(0);
      await session.setWeights(weights);
      await session.train({ ...request, to: optimizerSteps });
      const expected = await session.weights();
      await session.setWeights(weights);
      await session.train(thrower).catch(() => undefined);
      if ((await session.state()).optimizerSteps === optimizerSteps)
        expect(await session.weights()).toEqual(expected);
      // What comes next is not stopped, neither is its second batch.
      await session.setWeights(weights);
      const before = await session.predict(images, 23);
      await session.train({ ...thrower, to: 1 }).catch(() => undefined);
      await session.setWeights(weights);
      const many = Float32Array.from({ length: 10 * images.length }, (_, i) => images[i % images.length]!);
      const logits = await session.predict(many, 230);
      expectAllClose(logits.slice(-before.length), before, 1e-5, 'the last of 230 images');
    }));

  test("an error of the caller's transform keeps the count of steps", () =>
    withSession(async (session) => {
      let calls = 0;
      const transform = compose([
        augment,
        (image) => {
          if (++calls > 10) throw new Error('the transform failed');
          return image;
        },
      ]);
      await expect(session.train({ ...request, source: { ...source, transform } })).rejects.toThrow(
        'the transform failed',
      );
      expect((await session.state()).optimizerSteps).toBe(1);
    }));

  test('a source of weights reads them as they are when it is read', () =>
    withSession(async (session) => {
      const tensors = session.weightSource();
      await session.setWeights(
        new Map(
          [...weights].map(([name, { shape, data }]) => [
            name,
            { shape, data: data.map((value) => 2 * value) },
          ]),
        ),
      );
      const bias = new Float32Array(9);
      await tensors.read('6.bias', 0, bias);
      expect(bias).toEqual(weights.get('6.bias')!.data.map((value) => 2 * value));
    }));

  // The zeros around such images were once shared with other maps. The reference has no such zeros.
  const ofDevice = open === openReference ? test.skip : test;
  ofDevice.each([
    [3, 128, 128],
    [1, 200, 200],
  ] as const)('images of %i×%i×%i: passes in a row are the same', async (...shape) => {
    const narrow = conv2d({ out: 6, kernel: 3, padding: 1 });
    const large = buildNetwork(
      sequential([narrow, relu(), narrow, relu(), maxPool2d(4), flatten(), linear(5)]),
      shape,
    );
    const count = 9;
    const pixels = Uint8Array.from(randomImages(shape, count, 1), (value) => (value + 1) * 128);
    const given = initialWeights(large, 2);
    const data: BatchSource = {
      dataset: fromArrays(pixels, new Array<number>(count).fill(3), shape),
      transform: toTensor(),
      batchSize: count,
      order: Uint32Array.from({ length: count }, (_, i) => i),
      seed: 0,
      epoch: 1,
    };
    const values = Float32Array.from(pixels, (byte) => Math.fround(byte / 255));
    const size = values.length / count;
    const session = await open(large, { batchSize: count, threads });
    try {
      await session.setWeights(given);
      const fresh = await session.predict(values.slice(0, size), 1);
      const evaluated = await session.evaluate(data);
      for (const _ of [1, 2]) {
        expect(await session.predict(values.slice(0, size), 1)).toEqual(fresh);
        expect((await session.evaluate(data)).loss).toBe(evaluated.loss);
      }
      // Few images and many go different ways.
      const all = await session.predict(values, count);
      expectAllClose(all.slice(0, 5), fresh, 1e-5, 'the first of nine images');
    } finally {
      await session.close();
    }
  });

  // Of a network whose logits are its biases. PyTorch 1.13 gives the same losses, and torch.topk the same order.
  describe('loss and ranks of logits', () => {
    const [nan, infinite] = [Number.NaN, Number.POSITIVE_INFINITY];
    const six = [0.5, 3, nan, 3, -1, 2];
    const rows: readonly [logits: number[], label: number, loss: number, correct: number, topFive: number][] =
      [
        [[1, 2, 2], 1, Math.log(2 + Math.exp(-1)), 1, 1],
        [[1, 2, 2], 2, Math.log(2 + Math.exp(-1)), 0, 1],
        [[1e30, 1e30, 0], 0, Math.log(2), 1, 1],
        [[1e30, 0, -1e30], 1, Math.fround(1e30), 0, 1],
        [[-3e38, 3e38, 0], 0, 2 * Math.fround(3e38), 0, 1],
        [[0, 0, -infinite], 0, Math.log(2), 1, 1],
        [[0, 0, -infinite], 2, infinite, 0, 1],
        [[0, infinite, 0], 1, nan, 1, 1],
        [[0, infinite, 0], 0, nan, 0, 1],
        [[-infinite, -infinite], 0, nan, 1, 1],
        // With fewer classes than five, NaN is no hit either.
        [[0, nan, 1], 1, nan, 0, 0],
        [[0, nan, 1], 2, nan, 0, 1],
        [[nan, nan], 0, nan, 0, 0],
        [six, 0, nan, 0, 1],
        [six, 1, nan, 0, 1],
        [six, 2, nan, 0, 0],
        [six, 4, nan, 0, 0],
        [[0, 1, 2, 3, 4, 5], 0, Math.log([0, 1, 2, 3, 4, 5].reduce((sum, x) => sum + Math.exp(x), 0)), 0, 0],
        [[0, 0, 0, 0, 0, 0], 4, Math.log(6), 0, 1],
        [[0, 0, 0, 0, 0, 0], 5, Math.log(6), 0, 0],
      ];
    test.each([2, 3, 6])('of %d classes', async (classes) => {
      const small = buildNetwork(sequential([flatten(), linear(classes)]), [1, 1, 1]);
      const names = Array.from({ length: classes }, (_, c) => String(c));
      const weight = { shape: [classes, 1], data: new Float32Array(classes) };
      const session = await open(small, { batchSize: 1, threads });
      try {
        for (const [logits, label, loss, correct, topFive] of rows) {
          if (logits.length !== classes) continue;
          const what = `[${logits.join(', ')}], label ${label}`;
          const bias = { shape: [classes], data: Float32Array.from(logits) };
          await session.setWeights(new Map(Object.entries({ '1.weight': weight, '1.bias': bias })));
          const one = fromArrays(Uint8Array.of(255), [label], [1, 1, 1], { classes: names });
          const order = Uint32Array.of(0);
          const all: BatchSource = { ...source, dataset: one, transform: toTensor(), batchSize: 1, order };
          const result = await session.evaluate(all);
          expectAllClose([result.loss], [loss], 1e-12, `${what}: loss`);
          expect(result, what).toMatchObject({ correct, topFive });
          const trained = await session.train({ ...request, source: all, to: 1 });
          const single = [Math.fround(loss), 1e-6] as const;
          const [own, tolerance] = singleLosses ? single : ([loss, 1e-12] as const);
          expectAllClose(trained.losses, [own], tolerance, `${what}: loss of a step`);
          expect([...trained.correct], what).toEqual([correct]);
        }
      } finally {
        await session.close();
      }
    });
  });

  test('opened to predict, it takes no state of an optimizer', async () => {
    const session = await open(network, { batchSize: 7, threads, purpose: 'predict' });
    try {
      await session.setWeights(weights);
      const before = await session.predict(images, 23);
      const state = { weights, optimizerSteps: 1, moments: { momentum: weights } };
      await expect(session.setState(state)).rejects.toThrow('it keeps no state of an optimizer');
      expect(await session.predict(images, 23)).toEqual(before);
    } finally {
      await session.close();
    }
  });

  test('cannot be used once closed', async () => {
    const session = await open(network, { batchSize: 7, threads });
    await session.close();
    await expect(session.predict(images, 23)).rejects.toThrow(/closed/);
  });
});
