import { expect, test } from 'vitest';
import { kernelNames, kernelParameters } from '../../../kernels/catalogue.ts';
import type { Network } from '../../../model/layer.ts';
import { buildNetwork } from '../../../model/network.ts';
import { vgg7 } from '../../../model/vgg.ts';
import { trainings } from '../measure/examine.ts';
import type { Call } from './code.ts';
import { planOperations, usualCacheBytes } from './operations.ts';
import { ParameterLayout, trainingArrays } from './parameters.ts';
import { compilePlan, groupSizesOf, planMemory } from './plan.ts';
import { chunkImages } from './timeline.ts';
import { type Rule, squareCount } from './update.ts';

test.each([
  [100, 32],
  [100, 16],
  [100, 17],
  [33, 32],
  [9, 9],
  [8, 2],
  [1, 1],
  [10_000, 16],
])('%i images in %i groups: all of them, none without, never more than before', (batch, groups) => {
  const sizes = groupSizesOf(batch, groups);
  expect(sizes).toHaveLength(groups);
  expect(sizes.reduce((sum, size) => sum + size, 0)).toBe(batch);
  expect(sizes.toSorted((a, b) => b - a)).toEqual(sizes);
  expect(sizes.at(-1)).toBeGreaterThan(0);
  // Chunks are full if there are enough groups.
  expect(sizes[0]).toBeLessThanOrEqual(Math.max(chunkImages, Math.ceil(batch / groups)));
});

test('the last of many groups are small; a few groups are equal', () => {
  expect(groupSizesOf(100, 32).at(-1)).toBe(1);
  expect(groupSizesOf(8, 2)).toEqual([4, 4]);
});

/** The layout of a session that has trained with Adam and all options. */
function layoutOf(network: Network, batch: number, cacheBytes: number = usualCacheBytes): ParameterLayout {
  const optimizer = { kind: 'adam', lr: 0, betas: [0, 0], epsilon: 0, weightDecay: 0 } as const;
  const arrays = trainingArrays(optimizer, { accumulate: 2, clipNorm: 1, averageDecay: 0.9 });
  return new ParameterLayout(planOperations(network, cacheBytes), batch, 1, arrays);
}

const adamRule: Rule = { kind: 'adam', average: false };

/** All kernel calls of a training step's images. */
function callsOf(network: Network, batch: number, cacheBytes: number): readonly Call[] {
  const { phases } = compilePlan(layoutOf(network, batch, cacheBytes), { batch, mode: 'train' }, 0);
  return phases.flatMap(({ items }) => items.flat().filter((call) => 'kernel' in call));
}

/** A call's arguments by name. */
const named = ({ kernel, arguments: values }: Call): Record<string, number> =>
  Object.fromEntries(Object.keys(kernelParameters[kernel]).map((name, i) => [name, values[i]!]));

const narrow = buildNetwork(vgg7({ classes: 10, channels: [16, 32] }), [3, 32, 32]);

test('maps that do not fit the cache, and only these, are prefetched before a transform', () => {
  const calls = callsOf(narrow, 40, 16 * 1024);
  const transforms = calls.flatMap(({ kernel }, i) => (/^winograd\d(Input|Gradient)$/.test(kernel) ? i : []));
  let prefetches = 0;
  for (const i of transforms) {
    const before = calls[i - 1]!;
    // The gradient that a pool's one is spread out to is of one image, and is in the cache.
    if (before.kernel !== 'prefetchRows') continue;
    prefetches++;
    const [prefetch, transform] = [named(before), named(calls[i]!)];
    const size = calls[i]!.kernel === 'winograd4Input' ? 6 : 4;
    expect(prefetch).toMatchObject({
      map: transform.map,
      mapRow: transform.rowStride,
      rows: 4 * (transform.tileRows! - 1) + size,
      length: (4 * (transform.tileColumns! - 1) + size) * transform.pixelStride!,
    });
  }
  expect(prefetches).toBeGreaterThan(transforms.length / 2);
  expect(callsOf(narrow, 40, 64 * 1024 * 1024).map(({ kernel }) => kernel)).not.toContain('prefetchRows');
});

test("a pool's gradient is spread out for an image when the one before is used up, where an image fills blocks", () => {
  const alone = (calls: readonly Call[]): boolean => {
    const kernels = calls.map(({ kernel }) => kernel).filter((kernel) => /^unpool2|gemmTN/.test(kernel));
    return !kernels.some((kernel, i) => kernel === 'unpool2' && kernels[i + 1] === 'unpool2');
  };
  const large = buildNetwork(vgg7({ classes: 10, channels: [16, 32] }), [3, 64, 64]);
  expect(alone(callsOf(large, 40, 16 * 1024))).toBe(true);
  // With small maps several images make a block.
  expect(alone(callsOf(narrow, 40, 16 * 1024))).toBe(false);
});

test('every range of parameters has a sum of squares', () => {
  const layout = layoutOf(narrow, 8);
  const { update } = compilePlan(layout, { batch: 8, mode: 'train' }, 0);
  const [phase] = update({ rule: adamRule, accumulated: undefined, clip: true });
  expect(squareCount(layout.operations)).toBe(phase!.items.length);
});

test('a network that is too large for any machine is planned without listing its parts', () => {
  const options = { channels: [1e6, 1e6], hidden: 1e6 } as const;
  const huge = buildNetwork(vgg7({ classes: 10, ...options }), [3, 32, 32]);
  const { floats } = planMemory(layoutOf(huge, 100), { batch: 100, mode: 'train' });
  expect(floats).toBeGreaterThan(2 ** 49);
});

test("the doctor's trainings use every kernel", () => {
  const called = new Set<string>(['loadImage', 'peak']);
  for (const { network, input, batchSize, optimizer, stepOptions } of trainings) {
    const built = buildNetwork(network, input);
    const layout = layoutOf(built, batchSize);
    const { phases, update } = compilePlan(layout, { batch: batchSize, mode: 'train' }, 0);
    const clip = stepOptions?.clipNorm !== undefined;
    const average = stepOptions?.averageDecay !== undefined;
    const kind = optimizer?.kind === 'sgd' ? 'sgd' : 'adam';
    const updates = update({ rule: { kind, average }, accumulated: undefined, clip });
    for (const call of [...phases, ...updates].flatMap(({ items }) => items.flat())) {
      if ('kernel' in call) called.add(call.kernel);
    }
  }
  expect([...called].sort()).toEqual([...kernelNames].sort());
});
