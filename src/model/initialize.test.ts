import { expect, test } from 'vitest';
import { random, streams } from '../data/random.ts';
import { fillInitial, initialTensors, initialWeights, sourceOfInitial } from './initialize.ts';
import { batchNorm1d, flatten, linear } from './layers/index.ts';
import { buildNetwork, parametersOf, sequential } from './network.ts';
import { readAll } from './weight-streams.ts';

const network = buildNetwork(sequential([flatten(), linear(7), batchNorm1d(), linear(5)]), [1, 3, 5]);
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

test('a part has the values of the whole', async () => {
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
