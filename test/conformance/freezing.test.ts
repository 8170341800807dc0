/** Frozen layers and learning rates of layers, on every device. */
import { describe, expect, test } from 'vitest';
import { random } from '../../src/data/random.ts';
import { openReference } from '../../src/engine/reference.ts';
import type { Network, Weights } from '../../src/model/layer.ts';
import { buildNetwork, hasState } from '../../src/model/network.ts';
import { expectAllClose } from '../allclose.ts';
import { type Case, listedCases, normalizedCases, pointwiseCases, randomCase } from '../cases.ts';
import { compareWithReference } from '../compare.ts';
import { devices } from '../devices.ts';
import { sharedSession } from './sessions.ts';
import { images, network, order, request, source, weights } from './small.ts';

/** A stream of `random`, apart from the others. */
const freezingStream = 1104;

interface FrozenCase extends Case {
  readonly title: string;
  readonly frozen: readonly number[];
}

/** Layers to freeze: all up to one, all from one on, or any; at least one with parameters learns. */
function freezings({ model, input, batch }: Case, seed: number): FrozenCase[] {
  const { layers } = buildNetwork(model, input);
  const own = layers.flatMap((layer, i) => (hasState(layer) ? [i] : []));
  const draws = random(seed, freezingStream);
  const at = draws.integer(own.length + 1);
  const ways: [string, number[]][] = [
    ['below', own.slice(0, at)],
    ['above', own.slice(at)],
    ['any', own.filter(() => draws.uniform() < 0.5)],
  ];
  const learns = (frozen: readonly number[]): boolean =>
    own.some((i) => layers[i]!.parameters.length > 0 && !frozen.includes(i));
  return ways.flatMap(([way, frozen]) =>
    frozen.length > 0 && learns(frozen)
      ? [{ model, input, batch, frozen, title: `${model.name}, frozen ${way}: ${frozen}` }]
      : [],
  );
}

const allCases = [
  ...[...listedCases, ...normalizedCases, ...pointwiseCases],
  ...Array.from({ length: 30 }, (_, i) => randomCase(2000 + i)),
].flatMap(freezings);

const others = devices.filter(({ open }) => open !== openReference);

describe.each(others)('$name', ({ open, threads, every }) => {
  // Odd numbers that divide no period of the lists, so that what is taken of them has everything in it.
  const share = every === 1 ? 1 : 4 * every + 1;
  const cases = allCases.filter((_, i) => i % share === 0);
  test.each(cases)('$title', ({ model, input, batch, frozen }) =>
    compareWithReference(open, model, input, { batch, threads, frozen }),
  );
});

const sgd = { kind: 'sgd', lr: 0.05, momentum: 0.9, nesterov: true, weightDecay: 0.1 } as const;
const adamw = {
  kind: 'adamw',
  lr: 0.01,
  betas: [0.9, 0.999],
  epsilon: 1e-2,
  weightDecay: 0.5,
} as const;
/** The convolutions and the linear layer of the small network. */
const [conv1, conv2, head] = network.layers.flatMap((layer, i) => (hasState(layer) ? [i] : [])) as [
  number,
  number,
  number,
];

const namesOf = ({ layers }: Network, chosen: readonly number[]): string[] =>
  chosen.flatMap((i) => layers[i]!.parameters.map(({ name }) => name));

const some = (given: Weights, names: readonly string[]): Weights =>
  new Map([...given].filter(([name]) => names.includes(name)));

const options = [
  {},
  { accumulate: 2, clipNorm: 0.5, averageDecay: 0.9, labelSmoothing: 0.1 },
  { clipNorm: 0.5, averageDecay: 0.9 },
];

describe.each(devices)('$name', (device) => {
  const { open } = device;
  const isReference = open === openReference;
  const withSession = sharedSession(device, network, 7, weights);
  /** The same, with nothing frozen at the end: other tests use the session. */
  const withFrozen = <T>(frozen: readonly number[], use: Parameters<typeof withSession<T>>[0]): Promise<T> =>
    withSession(async (session) => {
      await session.freeze(frozen);
      try {
        return await use(session);
      } finally {
        await session.freeze([]);
      }
    });
  const labels = order.map((i) => i % 9).subarray(0, 7);

  test.each([[[conv1]], [[conv1, conv2]], [[conv2]], [[head]], [[conv2, head]]])(
    'layers %j frozen: the others have the gradients of the whole network',
    async (frozen) => {
      const batch = images.subarray(0, 7 * 3 * 10 * 9);
      const whole = await withSession((session) => session.gradients(batch, labels));
      const part = await withFrozen(frozen, (session) => session.gradients(batch, labels));
      expect(part.loss).toBeCloseTo(whole.loss, 6);
      const learning = namesOf(
        network,
        [conv1, conv2, head].filter((i) => !frozen.includes(i)),
      );
      expect([...part.gradients.keys()]).toEqual(learning);
      for (const [name, { data }] of part.gradients) {
        expectAllClose(data, whole.gradients.get(name)!.data, 1e-5, name);
      }
    },
  );

  test.each(options.flatMap((own) => [sgd, adamw].map((optimizer) => ({ ...own, optimizer }))))(
    'frozen parameters keep their bits, the others learn as on the reference: %j',
    (own) =>
      withFrozen([conv1, conv2], async (session) => {
        await session.train({ ...request, ...own });
        const state = await session.state();
        const still = namesOf(network, [conv1, conv2]);
        expect(some(state.weights, still)).toEqual(some(weights, still));
        for (const moment of Object.values(state.moments)) {
          expect([...moment.keys()]).toEqual(namesOf(network, [head]));
        }
        const reference = await openReference(network, { batchSize: 7 });
        await reference.setWeights(weights);
        await reference.freeze([conv1, conv2]);
        await reference.train({ ...request, ...own });
        for (const [name, { data }] of await reference.weights()) {
          expectAllClose(state.weights.get(name)!.data, data, 1e-3, name);
        }
      }),
  );

  test.each(options)('a state with frozen layers resumes with the same bits: %j', (own) =>
    withFrozen([conv1], async (session) => {
      const whole = { ...request, ...own, optimizer: adamw };
      await session.train({ ...whole, to: 2 });
      const saved = await session.state();
      await session.train({ ...whole, from: 2 });
      const expected = await session.state();
      await session.setWeights(weights);
      await session.setState(saved);
      await session.train({ ...whole, from: 2 });
      expect(await session.state()).toEqual(expected);
    }),
  );

  test.each(options)('after unfreezing, the optimizer starts anew: %j', async (own) => {
    const whole = { ...request, ...own, optimizer: adamw };
    const trained = await withFrozen([conv1, conv2], async (session) => {
      await session.train({ ...whole, to: 2 });
      const { weights: between } = await session.state();
      await session.freeze([]);
      expect((await session.state()).optimizerSteps).toBe(0);
      await session.train({ ...whole, from: 2 });
      return { between, after: await session.state() };
    });
    const fresh = await withSession(async (session) => {
      await session.setWeights(trained.between);
      await session.train({ ...whole, from: 2 });
      return session.state();
    });
    expect(trained.after).toEqual(fresh);
  });

  test('freezing back and forth leaves nothing of the memory of another training', async () => {
    const averaged = { ...request, optimizer: sgd, averageDecay: 0.9 };
    // As many arrays as the training before, but others; the layers frozen last are those of then.
    const trained = await withSession(async (session) => {
      await session.train({ ...request, optimizer: adamw });
      const { weights: between } = await session.state();
      await session.freeze([conv1]);
      await session.freeze([]);
      await session.train(averaged);
      return { between, after: await session.state() };
    });
    const fresh = await withSession(async (session) => {
      await session.setWeights(trained.between);
      await session.train(averaged);
      return session.state();
    });
    expect(trained.after).toEqual(fresh);
  });

  test('the average of a network with frozen layers swaps with the weights and back', () =>
    withFrozen([conv1], async (session) => {
      await session.train({ ...request, averageDecay: 0.9 });
      const { weights: last, moments } = await session.state();
      await session.swapAverage();
      expect(await session.weights()).toEqual(new Map([...last, ...moments.average!]));
      await session.swapAverage();
      expect(await session.weights()).toEqual(last);
    }));

  test('gradients with respect to images pass frozen layers', async () => {
    const output = network.layers.length - 1;
    const one = {
      images: images.subarray(0, 2 * 270),
      count: 2,
      layers: [],
      backward: { given: new Map([[output, Float32Array.from({ length: 18 }, (_, i) => i - 9)]]) },
    };
    const plain = await withSession((session) => session.features(one));
    const frozen = await withFrozen([conv1, conv2], async (session) => {
      await session.train(request);
      await session.setState({ weights, optimizerSteps: 0, moments: {} });
      return session.features(one);
    });
    expect(frozen.gradient).toEqual(plain.gradient);
  });

  test('freezing everything is refused', () =>
    withSession((session) =>
      expect(session.freeze([conv1, conv2, head])).rejects.toThrow('nothing is left to train'),
    ));

  test.skipIf(isReference).each(options)(
    'layers learn at rates of their own, as on the reference: %j',
    (own) =>
      withSession(async (session) => {
        const rateFactors = network.layers.map((_, i) => (i === head ? 1 : i === conv1 ? 0.1 : 3));
        for (const optimizer of [sgd, adamw]) {
          const way = { ...request, ...own, optimizer, rateFactors };
          const reference = await openReference(network, { batchSize: 7 });
          await reference.setWeights(weights);
          await session.setWeights(weights);
          await session.train(way);
          await reference.train(way);
          const [actual, expected] = [await session.state(), await reference.state()];
          for (const [name, { data }] of expected.weights) {
            expectAllClose(actual.weights.get(name)!.data, data, 1e-3, name);
          }
          await session.setWeights(weights);
          await session.train({ ...way, rateFactors: network.layers.map(() => 1) });
          expect(await session.weights()).not.toEqual(actual.weights);
        }
      }),
  );

  test('one factor for all layers is a factor of the rate', () =>
    withSession(async (session) => {
      await session.train({ ...request, optimizer: sgd, rateFactors: network.layers.map(() => 0.5) });
      const halved = await session.weights();
      await session.setWeights(weights);
      await session.train({ ...request, optimizer: { ...sgd, lr: sgd.lr / 2 } });
      expect(await session.weights()).toEqual(halved);
    }));

  test('a wrong number of factors is refused', () =>
    withSession((session) =>
      expect(session.train({ ...request, source, rateFactors: [1, 2] })).rejects.toThrow(
        '2 factors of learning rates',
      ),
    ));
});
