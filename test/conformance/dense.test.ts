/**
 * Predictions for images of other sizes in one session, plain and dense, against PyTorch (`golden/make_dense.py`) and
 * against the classifier applied to each window of the last feature map.
 */
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { openReference } from '../../src/engine/reference.ts';
import { variantOf } from '../../src/engine/variant.ts';
import { UsageError } from '../../src/errors.ts';
import type { Network, Shape } from '../../src/model/layer.ts';
import {
  adaptiveAvgPool2d,
  batchNorm1d,
  conv2d,
  dropout,
  flatten,
  linear,
  maxPool2d,
  relu,
} from '../../src/model/layers/index.ts';
import { buildNetwork, sequential, sizeOf, tensorsOf } from '../../src/model/network.ts';
import { expectAllClose } from '../allclose.ts';
import { averagedCases, randomCase } from '../cases.ts';
import { denseNetworks, formula, formulaWeights } from '../dense-networks.ts';
import { devices } from '../devices.ts';
import { drawInference, randomImages } from '../expected.ts';
import { adam } from './sessions.ts';
import { source } from './small.ts';

interface DenseCase {
  readonly network: 'split' | 'small' | 'pooled';
  readonly shape: Shape;
  readonly count: number;
  readonly dense: boolean;
  readonly logits: readonly number[];
}

const golden = readFileSync(new URL('../golden/dense.json', import.meta.url), 'utf8');
const { cases } = JSON.parse(golden) as { readonly cases: readonly DenseCase[] };
const heights = [...new Set(cases.map(({ shape }) => shape[1]))];

describe.each(devices)('$name', ({ open, threads, every }) => {
  test.each(Object.entries(denseNetworks))(
    '%s: sizes as in PyTorch',
    { timeout: 120_000 },
    async (name, network) => {
      const session = await open(network, { batchSize: 4, threads });
      try {
        await session.setWeights(formulaWeights(network));
        const own = cases.filter((one) => one.network === name);
        // Twice, because plans are dropped: there are more than are kept.
        for (const { shape, count, dense, logits } of every > 3 ? own : [...own, ...own]) {
          const images = formula(count * sizeOf(shape), 50 + heights.indexOf(shape[1]!), 1);
          const found = await session.predict(images, count, { shape, dense });
          const classes = network.output[0]!;
          const some =
            count === 1 ? found : [...found.subarray(0, classes), ...found.subarray((count - 1) * classes)];
          expectAllClose(some, logits, 1e-5, `${name}, ${shape.join('×')}, ${count} images, dense ${dense}`);
        }
      } finally {
        await session.close();
      }
    },
  );

  test('a session to predict, and one that trains in between', async () => {
    const network = buildNetwork(
      sequential([conv2d({ out: 5, kernel: 3 }), relu(), maxPool2d(2), flatten(), linear(9)]),
      [3, 10, 9],
    );
    const { weights } = drawInference(network, 2, 3);
    const images = randomImages([3, 17, 13], 2, 4);
    const options = { shape: [3, 17, 13], dense: true };
    const results: Float32Array[] = [];
    for (const purpose of ['predict', 'train'] as const) {
      const session = await open(network, { batchSize: 7, threads, purpose });
      try {
        await session.setWeights(weights);
        results.push(await session.predict(images, 2, options));
        if (purpose === 'predict') continue;
        await session.train({ source, optimizer: adam(), from: 0, to: 2 });
        const trained = await session.predict(images, 2, options);
        expect(trained).not.toEqual(results[1]);
        await session.setWeights(weights);
        expect(await session.predict(images, 2, options)).toEqual(results[1]);
      } finally {
        await session.close();
      }
    }
    expectAllClose(results[0]!, results[1]!, 1e-6, 'purposes');
  });

  test('dense is the mean over all windows of the last feature map', async () => {
    const features = [
      ...[conv2d({ out: 6, kernel: 3, padding: 1 }), relu(), maxPool2d(2)],
      ...[conv2d({ out: 8, kernel: 3, padding: 1 }), relu(), maxPool2d(2)],
    ];
    const classifier = [flatten(), linear(20), relu(), dropout(0.5), linear(7)];
    const network = buildNetwork(sequential([...features, ...classifier]), [3, 28, 28]);
    const weights = formulaWeights(network);
    const shape = [3, 49, 61];
    const session = await open(network, { batchSize: 2, threads });
    const tailNetwork = buildNetwork(sequential(classifier), [8, 7, 7]);
    const tail = await open(tailNetwork, { batchSize: 2, threads });
    try {
      await session.setWeights(weights);
      const own = tensorsOf(network).map(({ name }) => weights.get(name)!);
      const names = tensorsOf(tailNetwork).map(({ name }) => name);
      await tail.setWeights(new Map(names.map((name, i) => [name, own[own.length - names.length + i]!])));
      const images = randomImages(shape, 1, 9);
      const dense = await session.predict(images, 1, { shape, dense: true });
      // The features of the large image, from a network of them alone.
      const whole = buildNetwork(sequential([...features, flatten()]), shape);
      const body = await open(whole, { batchSize: 1, threads });
      await body.setWeights(new Map(tensorsOf(whole).map(({ name }, i) => [name, own[i]!])));
      const values = await body.predict(images, 1);
      await body.close();
      const [height, width] = [12, 15];
      const windows: number[] = [];
      for (let y = 0; y + 7 <= height; y++)
        for (let x = 0; x + 7 <= width; x++)
          for (let c = 0; c < 8; c++)
            for (let i = 0; i < 49; i++)
              windows.push(values[(c * height + y + Math.floor(i / 7)) * width + x + (i % 7)]!);
      const count = windows.length / (8 * 49);
      expect(count).toBe(6 * 9);
      const scores = await tail.predict(Float32Array.from(windows), count);
      const mean = Array.from({ length: 7 }, (_, c) => {
        let sum = 0;
        for (let i = 0; i < count; i++) sum += scores[i * 7 + c]!;
        return sum / count;
      });
      expectAllClose(dense, mean, 1e-5, 'dense');
      // At the training size it is the network itself.
      const small = randomImages([3, 28, 28], 3, 10);
      const plain = await session.predict(small, 3);
      expectAllClose(await session.predict(small, 3, { dense: true }), plain, 1e-5, 'training size');
    } finally {
      await session.close();
      await tail.close();
    }
  });
});

/** Random networks on larger images, as they are or dense, whichever is possible. */
const randomVariants = [
  ...averagedCases,
  ...Array.from({ length: 200 }, (_, i) => randomCase(i + 1)),
].flatMap(({ model, input }, i) => {
  if (input.length !== 3 || model.layers.length === 0) return [];
  const network = buildNetwork(model, input);
  const [channels = 1, height = 1, width = 1] = input;
  const shape = [channels, height + (i % 5), width + ((i * 3) % 7)];
  return [false, true].flatMap((dense) => {
    const variant = { input: shape, dense };
    try {
      variantOf(network, variant);
      return [{ network, variant }];
    } catch (error) {
      if (error instanceof UsageError) return [];
      throw error;
    }
  });
});

test('many random networks have variants', () => {
  expect(randomVariants.filter(({ variant }) => variant.dense).length).toBeGreaterThan(50);
  expect(randomVariants.filter(({ variant }) => !variant.dense).length).toBeGreaterThan(5);
});

describe.each(devices.filter(({ threads, open }) => threads === 1 && open !== openReference))(
  'random networks, $name',
  ({ open, every }) => {
    test('are those of the reference', { timeout: 300_000 }, async () => {
      for (const { network, variant } of randomVariants.filter((_, i) => i % every === 0)) {
        const { input: shape, dense } = variant;
        const count = network.layers.length % 2 === 0 ? 9 : 2;
        const { weights } = drawInference(network, 2, 1);
        const images = randomImages(shape, count, 2);
        const results: Float32Array[] = [];
        for (const opener of [openReference, open]) {
          const session = await opener(network, { batchSize: 2, threads: 1 });
          await session.setWeights(weights);
          results.push(await session.predict(images, count, { shape, dense }));
          await session.close();
        }
        expectAllClose(
          results[1]!,
          results[0]!,
          1e-4,
          `${network.name} at ${shape.join('×')}, dense ${dense}`,
        );
      }
    });
  },
);

describe('sizes and networks that do not fit', () => {
  const refused = (network: Network, input: Shape, dense: boolean): unknown => {
    try {
      return variantOf(network, { input, dense });
    } catch (error) {
      expect(error).toBeInstanceOf(UsageError);
      return (error as Error).message;
    }
  };
  const fixed = buildNetwork(sequential([conv2d({ out: 4, kernel: 3 }), flatten(), linear(3)]), [3, 8, 8]);

  test.each<[string, Network, Shape, boolean, RegExp]>([
    [
      'no adaptive pool',
      fixed,
      [3, 9, 8],
      false,
      /3×9×8 do not fit: layer 2 would get 168 values instead of 144/,
    ],
    ['smaller', fixed, [3, 7, 9], true, /feature map of 5×7 is smaller than the classifier's window of 6×6/],
    [
      'another number of channels',
      fixed,
      [1, 8, 8],
      true,
      /takes images of 3 channels, not of shape \[1,8,8\]/,
    ],
    ['no whole number', fixed, [3, 8.5, 8], true, /not of shape \[3,8\.5,8\]/],
    [
      'too small for a kernel',
      denseNetworks.pooled,
      [3, 3, 3],
      false,
      /does not take images of 3×3×3: .*max/,
    ],
    [
      'a pool that does not slide',
      buildNetwork(sequential([adaptiveAvgPool2d(3), flatten(), linear(3)]), [3, 8, 8]),
      [3, 9, 9],
      true,
      /cannot be evaluated densely: its adaptive pool turns the map of 8×8 at the training size into 3×3/,
    ],
    [
      'a normalization of positions',
      buildNetwork(sequential([flatten(), batchNorm1d(), linear(3)]), [3, 4, 4]),
      [3, 9, 9],
      true,
      /cannot be evaluated densely: layer 1 normalizes each position/,
    ],
    [
      'vectors',
      buildNetwork(sequential([linear(3)]), [5]),
      [6],
      false,
      /takes 5 values, and only networks for images take other sizes/,
    ],
  ])('%s', (_name, network, input, dense, message) => {
    expect(refused(network, input, dense)).toMatch(message);
  });

  test('a pool of windows that move by one place slides', () => {
    const network = buildNetwork(sequential([adaptiveAvgPool2d(7), flatten(), linear(3)]), [3, 8, 8]);
    const { layers } = variantOf(network, { input: [3, 10, 9], dense: true });
    expect(layers[0]!.spec).toMatchObject({ kind: 'avgPool2d', kernel: [2, 2], stride: [1, 1] });
    expect(layers[0]!.output).toEqual([3, 9, 8]);
  });
});
