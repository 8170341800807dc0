/** Frozen layers and learning rates of layers against PyTorch's (`golden/make_freezing.py`). */
import { readFileSync } from 'node:fs';
import { describe, test } from 'vitest';
import { fromArrays } from '../src/data/dataset.ts';
import { toTensor } from '../src/data/transforms.ts';
import { openWasm } from '../src/engine/cpu/driver.ts';
import { openReference } from '../src/engine/reference.ts';
import type { Weights } from '../src/model/layer.ts';
import { batchNorm2d, conv2d, flatten, linear, maxPool2d, relu } from '../src/model/layers/index.ts';
import { buildNetwork, sequential, tensorsOf } from '../src/model/network.ts';
import { adamw, sgd } from '../src/train/optimizers.ts';
import { expectAllClose } from './allclose.ts';

type Tensors = Readonly<Record<string, readonly number[]>>;

interface Golden {
  readonly pixels: readonly number[];
  readonly labels: readonly number[];
  readonly weights: Tensors;
  readonly cases: Readonly<
    Record<
      string,
      {
        readonly frozen: readonly number[];
        readonly factors: readonly number[];
        readonly optimizer: 'sgd' | 'adamw';
        readonly losses: readonly number[];
        readonly weights: Tensors;
      }
    >
  >;
}
const golden = JSON.parse(readFileSync(new URL('golden/freezing.json', import.meta.url), 'utf8')) as Golden;

const optimizers = {
  sgd: sgd({ lr: 0.05, momentum: 0.9, weightDecay: 0.01 }),
  adamw: adamw({ lr: 0.01, weightDecay: 0.3 }),
};

const network = buildNetwork(
  sequential([
    ...[conv2d({ out: 4, kernel: 3, padding: 1, bias: false }), batchNorm2d(), relu(), maxPool2d(2)],
    ...[conv2d({ out: 5, kernel: 3, padding: 1, bias: false }), batchNorm2d(), relu()],
    ...[flatten(), linear(3)],
  ]),
  [1, 6, 6],
);
const dataset = fromArrays(Uint8Array.from(golden.pixels), golden.labels, [1, 6, 6]);

describe.each([
  ['reference', openReference],
  ['wasm', openWasm],
] as const)('%s', (_, open) => {
  test.each(Object.entries(golden.cases))('%s', async (name, { frozen, factors, optimizer, ...expected }) => {
    const session = await open(network, { batchSize: 8, threads: 1 });
    try {
      const weights: Weights = new Map(
        tensorsOf(network).map((tensor) => [
          tensor.name,
          { shape: tensor.shape, data: Float32Array.from(golden.weights[tensor.name]!) },
        ]),
      );
      await session.setWeights(weights);
      await session.freeze(frozen);
      const order = Uint32Array.from(golden.labels, (__, i) => i);
      const source = { dataset, transform: toTensor(), batchSize: 8, order, seed: 0, epoch: 1 };
      const { losses } = await session.train({
        ...{ optimizer: optimizers[optimizer], rateFactors: factors },
        ...{ source, from: 0, to: 3 },
      });
      expectAllClose(losses, expected.losses, 1e-5, `${name}: losses`);
      for (const [tensor, { data }] of await session.weights()) {
        expectAllClose(data, expected.weights[tensor]!, 1e-4, `${name}: ${tensor}`);
      }
    } finally {
      await session.close();
    }
  });
});
