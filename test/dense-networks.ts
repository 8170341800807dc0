/** The networks and weights of `golden/make_dense.py`. Keep the two in step. */
import type { Network, Weights } from '../src/model/layer.ts';
import {
  adaptiveAvgPool2d,
  batchNorm1d,
  batchNorm2d,
  conv2d,
  dropout,
  flatten,
  linear,
  maxPool2d,
  relu,
} from '../src/model/layers/index.ts';
import { buildNetwork, sequential, sizeOf, tensorsOf } from '../src/model/network.ts';

/** The formula of the script: whole numbers, scaled. */
export function formula(length: number, key: number, scale: number): Float32Array {
  return Float32Array.from(
    { length },
    (_, i) => (((i * 7919 + (key + 1) * 104729) % 1009) / 1009) * 2 * scale - scale,
  );
}

function networkOf(channels: number, size: number | readonly [number, number], hidden: number): Network {
  const layers = [
    ...[conv2d({ out: 8, kernel: 3, padding: 1 }), batchNorm2d(), relu(), maxPool2d(2)],
    ...[conv2d({ out: channels, kernel: 3, padding: 1 }), relu(), maxPool2d(2)],
    ...[adaptiveAvgPool2d(size), flatten(), dropout(0.5), linear(hidden), relu()],
    ...[linear(12), batchNorm1d(), relu(), linear(7)],
  ];
  return buildNetwork(sequential(layers), [3, 24, 20]);
}

export const denseNetworks: Readonly<Record<'split' | 'small' | 'pooled', Network>> = {
  split: networkOf(32, [6, 5], 140),
  small: networkOf(9, [6, 5], 10),
  pooled: networkOf(9, 1, 10),
};

export function formulaWeights(network: Network): Weights {
  return new Map(
    tensorsOf(network).map(({ name, shape }, key) => {
      const fan = shape.length > 1 ? sizeOf(shape.slice(1)) : 4;
      const data = formula(sizeOf(shape), key, 2 / Math.sqrt(fan));
      const isVariance = name.endsWith('running_var');
      return [name, { shape, data: isVariance ? data.map((value) => Math.abs(value) + 0.5) : data }];
    }),
  );
}
