import { describe, expect, test } from 'vitest';
import { random } from '../data/random.ts';
import type { OpenSession } from '../engine/backend.ts';
import { openCpuSession } from '../engine/cpu/driver.ts';
import { plainWasmKernels } from '../engine/cpu/kernels/provider.ts';
import { openReference } from '../engine/reference.ts';
import { initialWeights } from '../model/initialize.ts';
import { batchNorm1d, conv2d, dropout, flatten, linear, maxPool2d, relu } from '../model/layers/index.ts';
import { buildNetwork, sequential } from '../model/network.ts';
import { featureLayers, gradCam, headBehind, lastFeatureLayer, openBackbone } from './explain.ts';

const network = buildNetwork(
  sequential([
    conv2d({ out: 5, kernel: 3, padding: 1 }),
    relu(),
    maxPool2d(2),
    conv2d({ out: 6, kernel: 3, padding: 1, name: 'last' }),
    relu(),
    maxPool2d(2),
    flatten(),
    linear({ out: 20, name: 'hidden' }),
    batchNorm1d({ name: 'norm' }),
    relu(),
    dropout(0.5),
    linear({ out: 3, name: 'scores' }),
  ]),
  [3, 12, 8],
);
const source = random(0, 99);
const weights = new Map(initialWeights(network, 4));
// As after a training: moments that are neither 0 nor 1.
for (const name of ['norm.running_mean', 'norm.running_var', 'norm.weight', 'norm.bias']) {
  const { shape, data } = weights.get(name)!;
  weights.set(name, { shape, data: data.map(() => 0.2 + source.uniform()) });
}
const images = Float32Array.from({ length: 2 * 3 * 12 * 8 }, () => source.normal());
const openHere: OpenSession = (net, options) =>
  openCpuSession(net, { ...options, kernels: plainWasmKernels, shared: false });

test('a feature map is a convolution with what belongs to it, or a pool', () => {
  expect(featureLayers(network)).toEqual([1, 2, 4, 5]);
  expect(lastFeatureLayer(network)).toBe(4);
  expect(lastFeatureLayer(buildNetwork(sequential([flatten(), linear(2)]), [1, 2, 2]))).toBeUndefined();
});

test('kernels yield the maps behind any layer as the reference does, channel by channel', async () => {
  for (let last = 0; last < network.layers.length; last++) {
    await using exact = await openBackbone(network, weights, last, openReference);
    await using fast = await openBackbone(network, weights, last, openHere);
    const [a, b] = [await exact.maps(images), await fast.maps(images)];
    expect(a.count).toBe(2);
    expect(a.shape).toEqual(network.layers[last]!.output);
    expect(b.data).toHaveLength(a.data.length);
    for (const [i, value] of a.data.entries()) expect(b.data[i]).toBeCloseTo(value, 5);
  }
});

describe('Grad-CAM', () => {
  test('weighs maps by the mean of finite differences of the score', async () => {
    // Maps without a tie that a pool would have to break, so that scores are smooth.
    const shape = network.layers[4]!.output;
    const data = Float32Array.from({ length: 2 * 6 * 6 * 4 }, () => source.uniform());
    const maps = { count: 2, shape, data };
    const head = headBehind(network, weights, 4);
    // The same layers as a network of their own give scores for any feature map.
    const behind = buildNetwork(
      sequential(network.layers.slice(5).map(({ spec, name }) => ({ ...spec, name }))),
      maps.shape,
    );
    const session = await openReference(behind, { batchSize: 1 });
    await session.setWeights(new Map([...weights].filter(([name]) => /^(hidden|norm|scores)\./.test(name))));
    const [channels, height, width] = maps.shape as [number, number, number];
    const area = height * width;
    const map = maps.data.slice(channels * area);
    const step = 1e-3;
    const scores = (values: Float32Array): Promise<Float32Array> => session.predict(values, 1);
    const sums = [0, 1, 2].map(() => new Float64Array(area));
    for (let c = 0; c < channels; c++) {
      const slopes = [0, 0, 0];
      for (let i = 0; i < area; i++) {
        const up = map.slice();
        const down = map.slice();
        up[c * area + i]! += step;
        down[c * area + i]! -= step;
        const [above, below] = [await scores(up), await scores(down)];
        for (const label of slopes.keys()) slopes[label]! += (above[label]! - below[label]!) / (2 * step);
      }
      for (const [label, sum] of sums.entries()) {
        for (let i = 0; i < area; i++) sum[i]! += (slopes[label]! / area) * map[c * area + i]!;
      }
    }
    expect(sums.some((sum) => Math.max(...sum) > 0)).toBe(true);
    for (const [label, sum] of sums.entries()) {
      const largest = Math.max(...sum);
      const heat = gradCam(head, maps, 1, label);
      expect([heat.height, heat.width]).toEqual([height, width]);
      for (const [i, value] of sum.entries()) {
        expect(heat.values[i]).toBeCloseTo(largest > 0 ? Math.max(value, 0) / largest : 0, 2);
      }
    }
    await session.close();
  });

  test('is dark where nothing speaks for the class', async () => {
    const none = new Map(
      [...weights].map(([name, { shape, data }]) => [name, { shape, data: data.map(() => 0) }]),
    );
    await using backbone = await openBackbone(network, none, 4, openReference);
    const heat = gradCam(headBehind(network, none, 4), await backbone.maps(images), 0, 0);
    expect([...heat.values].every((value) => value === 0)).toBe(true);
  });
});
