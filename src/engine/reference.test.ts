/** The oracle of all other tests, itself against finite differences of whole networks and Adam's formula. */
import { describe, expect, test } from 'vitest';
import { decisionMargin } from '../../test/margin.ts';
import { fromArrays } from '../data/dataset.ts';
import { random } from '../data/random.ts';
import { toTensor } from '../data/transforms.ts';
import { initialWeights } from '../model/initialize.ts';
import type { LayerSpec, Shape, Weights } from '../model/layer.ts';
import { conv2d, flatten, linear, maxPool2d, relu } from '../model/layers/index.ts';
import { buildNetwork, sequential } from '../model/network.ts';
import { openReference } from './reference.ts';

describe('gradients of a whole network are its finite differences', () => {
  const networks: readonly [string, Shape, readonly LayerSpec[]][] = [
    [
      'two blocks',
      [2, 9, 8],
      [
        conv2d({ out: 3, kernel: 3, padding: 1 }),
        relu(),
        conv2d({ out: 2, kernel: 3 }),
        relu(),
        maxPool2d(2),
        conv2d({ out: 3, kernel: 2, stride: 2, bias: false }),
        relu(),
        flatten(),
        linear(4),
        relu(),
        linear({ out: 3, bias: false }),
      ],
    ],
    [
      'pools that overlap and are padded',
      [1, 7, 7],
      [
        maxPool2d({ kernel: 2, stride: 1 }),
        conv2d({ out: 2, kernel: 3, padding: 2 }),
        maxPool2d({ kernel: 3, stride: 2, padding: 1 }),
        flatten(),
        linear(3),
      ],
    ],
  ];
  test.each(networks)('%s', async (_name, input, layers) => {
    const network = buildNetwork(sequential(layers), input);
    const source = random(3, 1300);
    const size = input.reduce((a, b) => a * b);
    const images = Float32Array.from({ length: 2 * size }, () => 2 * source.uniform() - 1);
    // A power of two, so that float32 weights move by exactly as much.
    const step = 2 ** -12;
    let seed = 1;
    while (decisionMargin(network, initialWeights(network, seed), images) < 4 * step) seed++;
    const weights = initialWeights(network, seed);
    const session = await openReference(network, { batchSize: 2 });
    const labels = [2, 0];
    await session.setWeights(weights);
    const { gradients } = await session.gradients(images, labels);
    for (const [name, { shape, data }] of weights) {
      for (let i = 0; i < data.length; i += 1 + Math.floor(data.length / 20)) {
        const lossAt = async (moved: number): Promise<[at: number, loss: number]> => {
          const changed = data.slice();
          changed[i]! += moved;
          const all: Weights = new Map([...weights, [name, { shape, data: changed }]]);
          await session.setWeights(all);
          return [changed[i]!, (await session.gradients(images, labels)).loss];
        };
        const [above, lossAbove] = await lossAt(step);
        const [below, lossBelow] = await lossAt(-step);
        const expected = (lossAbove - lossBelow) / (above - below);
        expect(gradients.get(name)!.data[i], `${name}[${i}]`).toBeCloseTo(expected, 6);
      }
    }
  });
});

test('an optimizer step is Adam’s', async () => {
  const network = buildNetwork(sequential([flatten(), linear({ out: 2, name: 'fc' })]), [1, 1, 2]);
  const dataset = fromArrays(Uint8Array.of(51, 255), [1], [1, 1, 2], { classes: ['a', 'b'] });
  const session = await openReference(network, { batchSize: 1 });
  const weights = initialWeights(network, 1);
  await session.setWeights(weights);
  const optimizer = { kind: 'adam', lr: 0.01, betas: [0.8, 0.9], epsilon: 1e-3, weightDecay: 0 } as const;
  const order = Uint32Array.of(0);
  const source = { dataset, transform: toTensor(), batchSize: 1, order, seed: 0, epoch: 1 };
  const found = weights.get('fc.weight')!.data.slice();
  const parameters = Array.from(found, (value) => ({ value, first: 0, second: 0 }));
  for (let t = 1; t <= 3; t++) {
    const { gradients } = await session.gradients(Float32Array.of(0.2, 1), [1]);
    await session.train({ source, optimizer, from: 0, to: 1 });
    parameters.forEach((parameter, i) => {
      const gradient = gradients.get('fc.weight')!.data[i]!;
      parameter.first = 0.8 * parameter.first + 0.2 * gradient;
      parameter.second = 0.9 * parameter.second + 0.1 * gradient ** 2;
      const first = parameter.first / (1 - 0.8 ** t);
      const second = parameter.second / (1 - 0.9 ** t);
      parameter.value -= (0.01 * first) / (Math.sqrt(second) + 1e-3);
    });
    const after = (await session.weights()).get('fc.weight')!.data;
    parameters.forEach(
      ({ value }, i) => void expect(after[i], `step ${t}, weight ${i}`).toBeCloseTo(value, 6),
    );
  }
});
