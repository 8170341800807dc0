/** The optimizers against PyTorch's (`golden/make_optimizers.py`), on the reference and on WebAssembly. */
import { readFileSync } from 'node:fs';
import { describe, test } from 'vitest';
import { fromArrays } from '../src/data/dataset.ts';
import { toTensor } from '../src/data/transforms.ts';
import type { TrainRequest } from '../src/engine/backend.ts';
import { openWasm } from '../src/engine/cpu/driver.ts';
import { openReference } from '../src/engine/reference.ts';
import type { Weights } from '../src/model/layer.ts';
import { conv2d, flatten, linear, relu } from '../src/model/layers/index.ts';
import { buildNetwork, parametersOf, sequential } from '../src/model/network.ts';
import { adam, adamw, sgd } from '../src/train/optimizers.ts';
import { expectAllClose } from './allclose.ts';

interface Golden {
  readonly pixels: readonly number[];
  readonly labels: readonly number[];
  readonly weights: Readonly<Record<string, readonly number[]>>;
  readonly cases: Readonly<
    Record<
      string,
      { readonly losses: readonly number[]; readonly weights: Readonly<Record<string, readonly number[]>> }
    >
  >;
}
const golden = JSON.parse(readFileSync(new URL('golden/optimizers.json', import.meta.url), 'utf8')) as Golden;

/** The settings of each case; the script has the same. */
const settings: Readonly<Record<string, Partial<TrainRequest> & Pick<TrainRequest, 'optimizer'>>> = {
  'adam, weight decay': { optimizer: adam({ lr: 0.01, weightDecay: 0.1 }) },
  adamw: { optimizer: adamw({ lr: 0.01, weightDecay: 0.3 }) },
  sgd: { optimizer: sgd({ lr: 0.05, momentum: 0.9, weightDecay: 0.01 }) },
  'sgd without momentum': { optimizer: sgd({ lr: 0.05, momentum: 0 }) },
  'sgd, nesterov': { optimizer: sgd({ lr: 0.05, momentum: 0.8, nesterov: true, weightDecay: 0.01 }) },
  'label smoothing': { optimizer: sgd({ lr: 0.05, momentum: 0.9 }), labelSmoothing: 0.2 },
  clipped: { optimizer: sgd({ lr: 0.05, momentum: 0.9 }), clipNorm: 0.3 },
  accumulated: { optimizer: sgd({ lr: 0.05, momentum: 0.9 }), accumulate: 2 },
};

const network = buildNetwork(
  sequential([conv2d({ out: 4, kernel: 3 }), relu(), flatten(), linear(3)]),
  [1, 5, 5],
);
const dataset = fromArrays(Uint8Array.from(golden.pixels), golden.labels, [1, 5, 5]);

describe.each([
  ['reference', openReference],
  ['wasm', openWasm],
] as const)('%s', (_, open) => {
  test.each(Object.entries(golden.cases))('%s', async (name, expected) => {
    const session = await open(network, { batchSize: 4, threads: 1 });
    try {
      const weights: Weights = new Map(
        parametersOf(network).map((parameter) => [
          parameter.name,
          { shape: parameter.shape, data: Float32Array.from(golden.weights[parameter.name]!) },
        ]),
      );
      await session.setWeights(weights);
      const order = Uint32Array.from(golden.labels, (__, i) => i);
      const source = { dataset, transform: toTensor(), batchSize: 4, order, seed: 0, epoch: 1 };
      const { losses } = await session.train({ ...settings[name]!, source, from: 0, to: 6 });
      expectAllClose(losses, expected.losses, 1e-5, 'losses');
      for (const [parameter, { data }] of await session.weights()) {
        expectAllClose(data, expected.weights[parameter]!, 1e-4, parameter);
      }
    } finally {
      await session.close();
    }
  });
});
