import { expect, test } from 'vitest';
import {
  adaptiveAvgPool2d,
  avgPool2d,
  conv2d,
  flatten,
  linear,
  maxPool2d,
  relu,
} from '../model/layers/index.ts';
import { buildNetwork, sequential } from '../model/network.ts';
import { graphOf } from './graph.ts';

const nodesOf = (size: Parameters<typeof adaptiveAvgPool2d>[0]) =>
  graphOf(
    buildNetwork(
      sequential([
        conv2d({ out: 2, kernel: 3, padding: 1 }),
        relu(),
        maxPool2d(2),
        adaptiveAvgPool2d(size),
        flatten(),
        linear(3),
      ]),
      [3, 28, 14],
    ),
  );

test('an adaptive pool that keeps the size vanishes', () => {
  const nodes = nodesOf([14, 7]);
  expect(nodes.map(({ kind }) => kind)).toEqual(['convolution', 'linear']);
  expect(nodes[1]!.input).toEqual([2, 14, 7]);
});

test('one with equal windows is an average pool', () => {
  const node = nodesOf(7)[1]!;
  expect(node).toMatchObject({
    kind: 'averagePool',
    spec: avgPool2d({ kernel: [2, 1] }),
    input: [2, 14, 7],
    output: [2, 7, 7],
  });
  expect(node.layers.map(({ name }) => name)).toEqual(['3']);
});

test('others have windows of their own', () => {
  for (const size of [5, [28, 7], [14, 8]] as const) {
    expect(nodesOf(size).map(({ kind }) => kind)).toEqual(['convolution', 'adaptivePool', 'linear']);
  }
});
