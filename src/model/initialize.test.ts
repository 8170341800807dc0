import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { random, streams } from '../data/random.ts';
import { UsageError } from '../errors.ts';
import { type Initialization, initializationNames, withInitialization } from './initializations.ts';
import { fillInitial, initialTensors, initialWeights, sourceOfInitial } from './initialize.ts';
import type { Shape } from './layer.ts';
import { batchNorm1d, batchNorm2d, conv2d, flatten, linear, relu } from './layers/index.ts';
import { createModel } from './models.ts';
import { buildNetwork, parametersOf, sequential } from './network.ts';
import { readAll } from './weight-streams.ts';

const model = sequential([flatten(), linear(7), batchNorm1d(), linear(5)]);
const network = buildNetwork(model, [1, 3, 5]);
const seed = 2 ** 40 + 5;

test('each parameter draws from its own stream, one value after the other', () => {
  const weights = initialWeights(network, seed);
  for (const [position, { name, initial }] of parametersOf(network).entries()) {
    if (!('uniform' in initial)) continue;
    const source = random(seed, streams.initialization, position);
    const { data } = weights.get(name)!;
    expect(data).toEqual(data.map(() => (2 * source.uniform() - 1) * initial.uniform));
  }
  expect([...weights.get('2.weight')!.data]).toEqual(new Array(7).fill(1));
  expect([...weights.get('2.running_mean')!.data]).toEqual(new Array(7).fill(0));
});

test.each(initializationNames)('a part has the values of the whole, %s', async (initialization) => {
  const network = buildNetwork(withInitialization(model, initialization), [1, 3, 5]);
  const weights = initialWeights(network, seed);
  const source = sourceOfInitial(network, seed);
  expect(await readAll(source)).toEqual(weights);
  for (const [name, tensor] of initialTensors(network)) {
    const { data } = weights.get(name)!;
    for (const [from, to] of [
      [0, 3],
      [1, data.length],
      [3, 4],
    ] as const) {
      const part = new Float32Array(to - from);
      fillInitial(tensor, seed, from, part);
      expect(part).toEqual(data.subarray(from, to));
      await source.read(name, from, part.fill(0));
      expect(part).toEqual(data.subarray(from, to));
    }
  }
});

describe('by name', () => {
  const layers = [conv2d({ out: 6, kernel: [3, 5] }), batchNorm2d(), relu(), flatten(), linear(7)];
  const parameters = (initialization?: Initialization) =>
    parametersOf(
      buildNetwork(sequential(layers, initialization === undefined ? {} : { initialization }), [4, 5, 9]),
    ).map(({ initial }) => initial);
  const [one, zero] = [{ constant: 1 }, { constant: 0 }];

  test('torchvision: normal by fan-out, linear layers normal with 0.01, biases 0', () => {
    expect(parameters('torchvision')).toEqual([
      { normal: Math.sqrt(2 / (6 * 15)) },
      ...[zero, one, zero],
      { normal: 0.01 },
      zero,
    ]);
  });

  test('glorot: uniform by both fans, biases 0', () => {
    expect(parameters('glorot')).toEqual([
      { uniform: Math.sqrt(6 / (10 * 15)) },
      ...[zero, one, zero],
      { uniform: Math.sqrt(6 / (6 * 3 * 5 + 7)) },
      zero,
    ]);
  });

  test('pytorch is the default', () => {
    expect(parameters('pytorch')).toEqual(parameters());
    expect(parameters()[1]).toEqual({ uniform: 1 / Math.sqrt(60) });
    expect(initialWeights(buildNetwork(withInitialization(model, 'pytorch'), [1, 3, 5]), seed)).toEqual(
      initialWeights(network, seed),
    );
  });

  test('a model may be made with one; unknown names are refused', () => {
    const made = createModel('vgg11', { classes: 2, options: { initialization: 'glorot' } });
    expect(made.initialization).toBe('glorot');
    expect(createModel('vgg11', { classes: 2 }).initialization).toBe('torchvision');
    expect(createModel('simplified', { classes: 2 }).initialization).toBeUndefined();
    for (const refused of [
      () => withInitialization(model, 'glorott' as never),
      () => sequential([], { initialization: 'glorott' as never }),
      () => buildNetwork({ ...model, initialization: 'glorott' as never }, [1, 3, 5]),
    ]) {
      expect(refused).toThrow(UsageError);
      expect(refused).toThrow(/glorott.*glorot/);
    }
    expect(() => withInitialization(model, 3 as never)).toThrow(
      'withInitialization: initialization 3 is not one of pytorch, torchvision, glorot',
    );
  });
});

interface Moments {
  readonly mean: number;
  readonly variance: number;
  readonly kurtosis: number;
}
interface Golden {
  readonly initialization: Initialization;
  readonly shape: Shape;
  readonly weight: Moments;
  readonly bias: Moments;
}
const goldens = JSON.parse(
  readFileSync(new URL('../../test/golden/initial.json', import.meta.url), 'utf8'),
) as readonly Golden[];

function momentsOf(values: Float32Array): Moments {
  const average = (of: (value: number) => number): number =>
    values.reduce((sum, value) => sum + of(value), 0) / values.length;
  const mean = average((value) => value);
  const variance = average((value) => (value - mean) ** 2);
  const kurtosis = variance > 0 ? average((value) => (value - mean) ** 4) / variance ** 2 : 0;
  return { mean, variance, kurtosis };
}

test.each(goldens)('$initialization draws $shape as PyTorch does', ({ initialization, shape, ...golden }) => {
  const [out = 0, channels = 0, height, width = 0] = shape;
  const built =
    height === undefined
      ? buildNetwork(sequential([linear(out)], { initialization }), [channels])
      : buildNetwork(sequential([conv2d({ out, kernel: [height, width] }), flatten()], { initialization }), [
          channels,
          height,
          width,
        ]);
  const weights = initialWeights(built, 5);
  for (const tensor of ['weight', 'bias'] as const) {
    const { data } = weights.get(`0.${tensor}`)!;
    const [own, theirs] = [momentsOf(data), golden[tensor]];
    // Both are samples: five standard errors of a difference.
    const within = (quantity: keyof Moments, standardError: number): void => {
      const difference = Math.abs(own[quantity] - theirs[quantity]);
      expect(difference, `${quantity} of ${tensor}`).toBeLessThanOrEqual(5 * Math.SQRT2 * standardError);
    };
    within('mean', Math.sqrt(theirs.variance / data.length));
    within('variance', theirs.variance * Math.sqrt(Math.max(0, theirs.kurtosis - 1) / data.length));
    within('kurtosis', theirs.variance > 0 ? Math.sqrt(24 / data.length) : 0);
  }
});
