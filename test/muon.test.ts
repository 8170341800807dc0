/** Muon against a plain implementation in PyTorch (`golden/make_muon.py`), on the reference and on WebAssembly. */
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { fromArrays } from '../src/data/dataset.ts';
import { toTensor } from '../src/data/transforms.ts';
import type { OpenSession, Session, TrainRequest } from '../src/engine/backend.ts';
import { openWasm } from '../src/engine/cpu/driver.ts';
import { openReference } from '../src/engine/reference.ts';
import type { Network, Weights } from '../src/model/layer.ts';
import { batchNorm2d, conv2d, flatten, linear, maxPool2d, relu } from '../src/model/layers/index.ts';
import { buildNetwork, parametersOf, sequential } from '../src/model/network.ts';
import { muon, sgd } from '../src/train/optimizers.ts';
import { expectAllClose } from './allclose.ts';
import { randomImages } from './expected.ts';

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
const golden = JSON.parse(readFileSync(new URL('golden/muon.json', import.meta.url), 'utf8')) as Golden;

/** The settings of each case; the script has the same. */
const settings: Readonly<Record<string, Partial<TrainRequest> & Pick<TrainRequest, 'optimizer'>>> = {
  muon: { optimizer: muon({ lr: 0.05, weightDecay: 0 }) },
  'muon, all settings': {
    optimizer: muon({ lr: 0.05, otherLr: 0.3, momentum: 0.8, weightDecay: 0.5 }),
    clipNorm: 0.3,
    accumulate: 2,
  },
};

const network = buildNetwork(
  sequential([
    ...[conv2d({ out: 6, kernel: 3 }), relu(), conv2d({ out: 5, kernel: 3 }), relu(), maxPool2d(2)],
    ...[flatten(), linear(11), relu(), linear(3)],
  ]),
  [1, 7, 7],
);
const dataset = fromArrays(Uint8Array.from(golden.pixels), golden.labels, [1, 7, 7]);

const weightsOf = (values: Readonly<Record<string, readonly number[]>>): Weights =>
  new Map(
    parametersOf(network).map(({ name, shape }) => [name, { shape, data: Float32Array.from(values[name]!) }]),
  );

const sourceOf = (images: typeof dataset, batchSize: number): TrainRequest['source'] => {
  const order = Uint32Array.from({ length: images.length }, (_, i) => i);
  return { dataset: images, transform: toTensor(), batchSize, order, seed: 0, epoch: 1 };
};

describe.each([
  ['reference', openReference],
  ['wasm', openWasm],
] as const)('%s', (_, open) => {
  test.each(Object.entries(golden.cases))('%s', async (name, expected) => {
    const session = await open(network, { batchSize: 4, threads: 1 });
    try {
      await session.setWeights(weightsOf(golden.weights));
      const request = { ...settings[name]!, source: sourceOf(dataset, 4), from: 0, to: 6 };
      const { losses } = await session.train(request);
      expectAllClose(losses, expected.losses, 1e-4, 'losses');
      for (const [parameter, { data }] of await session.weights())
        expectAllClose(data, expected.weights[parameter]!, 1e-3, parameter);
    } finally {
      await session.close();
    }
  });
});

/** Blocks of rows, split layers, biases between rows, wide and tall matrices. */
const large = buildNetwork(
  sequential([
    ...[conv2d({ out: 104, kernel: 3, padding: 1 }), batchNorm2d(), relu(), maxPool2d(2)],
    ...[conv2d({ out: 60, kernel: 3, padding: 1 }), relu(), conv2d({ out: 100, kernel: 2 }), relu()],
    ...[flatten(), linear(160), relu(), linear(200), relu(), linear(5)],
  ]),
  [3, 8, 8],
);
const images = fromArrays(
  Uint8Array.from(randomImages([3, 8, 8], 24, 6), (value) => (value + 1) * 128),
  Array.from({ length: 24 }, (_, i) => i % 5),
  [3, 8, 8],
);

async function trained(
  net: Network,
  open: OpenSession,
  threads: number,
  use: (session: Session) => Promise<void>,
): Promise<Weights> {
  const session = await open(net, { batchSize: 12, threads });
  try {
    await session.initialize(1);
    await use(session);
    return await session.weights();
  } finally {
    await session.close();
  }
}

const train = async (session: Session): Promise<void> => {
  await session.train({ source: sourceOf(images, 12), optimizer: muon(), from: 0, to: 2 });
};

test('any number of threads computes the same bits', async () => {
  const [one, three] = await Promise.all([1, 3].map((threads) => trained(large, openWasm, threads, train)));
  expect(three).toEqual(one);
});

test('large matrices are computed in blocks as the reference does', async () => {
  const [own, expected] = await Promise.all(
    [openWasm, openReference].map((open) => trained(large, open, 1, train)),
  );
  for (const [name, { data }] of own!) expectAllClose(data, expected!.get(name)!.data, 1e-3, name);
});

test('frozen layers keep their weights, and others learn', async () => {
  const before = await trained(large, openWasm, 1, async () => {});
  const after = await trained(large, openWasm, 1, async (session) => {
    await session.freeze([0, 6]);
    await train(session);
  });
  for (const [name, { data }] of after) {
    const changes = data.some((value, i) => value !== before.get(name)!.data[i]);
    expect(changes, name).toBe(!/^(0|6)\./.test(name));
  }
});

test('the singular values of a step are about the learning rate', async () => {
  const before = await trained(large, openWasm, 1, async () => {});
  const lr = 0.02;
  const after = await trained(large, openWasm, 1, async (session) => {
    const optimizer = muon({ lr, weightDecay: 0 });
    await session.train({ source: sourceOf(images, 12), optimizer, from: 0, to: 1 });
  });
  const { name, shape } = parametersOf(large).find((own) => own.shape.join() === '60,104,3,3')!;
  const change = after.get(name)!.data.map((value, i) => value - before.get(name)!.data[i]!);
  // The squared norm is the sum of the squares of 60 singular values from 0.68 to 1.21, if none is tiny.
  const norm = Math.sqrt(change.reduce((sum, value) => sum + value * value, 0));
  expect(norm / lr / Math.sqrt(shape[0]!)).toBeGreaterThan(0.3);
  expect(norm / lr / Math.sqrt(shape[0]!)).toBeLessThan(1.21);
});

test('a network without hidden weights is refused', async () => {
  const only = buildNetwork(sequential([flatten(), linear(5)]), [3, 8, 8]);
  await expect(trained(only, openWasm, 1, train)).rejects.toThrow('muon orthogonalizes the weights of all');
  await trained(only, openWasm, 1, async (session) => {
    await session.train({ source: sourceOf(images, 12), optimizer: sgd(), from: 0, to: 1 });
  });
});
