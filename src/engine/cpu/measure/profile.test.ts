import { expect, test } from 'vitest';
import { conv2d, flatten, linear, relu } from '../../../model/layers/index.ts';
import { buildNetwork, sequential } from '../../../model/network.ts';
import { plainWasmKernels } from '../kernels/provider.ts';
import { profileTraining } from './profile.ts';

const network = buildNetwork(
  sequential([conv2d({ out: 4, kernel: 3 }), relu(), flatten(), linear(2)]),
  [1, 6, 6],
);

test.for([
  ['all steps', {}],
  ['no time, but a step', { seconds: 0 }],
] as const)('a profile with %s has the calls of one step and their times', async ([, limit]) => {
  const source = await plainWasmKernels(false, () => {});
  const { calls, milliseconds } = await profileTraining(network, source, {
    batchSize: 2,
    steps: 5,
    count: true,
    ...limit,
  });
  const kernels = calls.map(({ kernel }) => kernel);
  expect(kernels.filter((kernel) => kernel === 'adam')).not.toHaveLength(0);
  expect(new Set(calls.map(({ operation }) => operation))).toEqual(new Set([undefined, 0, 1]));
  expect(calls.some(({ flops }) => flops > 0)).toBe(true);
  expect(calls.every((call) => call.milliseconds >= 0)).toBe(true);
  expect(milliseconds).toBeGreaterThan(0);
});
