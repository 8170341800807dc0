import { expect, test } from 'vitest';
import { buildNetwork } from '../../model/network.ts';
import { vgg7 } from '../../model/vgg.ts';
import { planOperations } from './operations.ts';
import { chunkImages, compilePlan, groupSizesOf, SessionMemory } from './plan.ts';

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
  // Chunks are full where there are groups enough.
  expect(sizes[0]).toBeLessThanOrEqual(Math.max(chunkImages, Math.ceil(batch / groups)));
});

test('the last of many groups are small, those of a few are equal', () => {
  expect(groupSizesOf(100, 32).at(-1)).toBe(1);
  expect(groupSizesOf(8, 2)).toEqual([4, 4]);
});

test('maps that do not fit the cache are touched before they are transformed, others are not', () => {
  const kernelsOf = (cacheBytes: number): string[] => {
    const network = buildNetwork(vgg7({ classes: 10, channels: [16, 32] }), [3, 16, 16]);
    const memory = new SessionMemory(planOperations(network, cacheBytes), 40, 1);
    const { phases } = compilePlan(memory, 40, 'train', 1, 0);
    return phases.flatMap(({ items }) =>
      items.flat().flatMap((call) => ('kernel' in call ? call.kernel : [])),
    );
  };
  const small = kernelsOf(16 * 1024);
  const transforms = small.flatMap((name, i) => (/winograd\d(Input|Gradient)$/.test(name) ? i : []));
  expect(transforms.length).toBeGreaterThan(0);
  expect(new Set(transforms.map((i) => small[i - 1]))).toEqual(new Set(['touch']));
  expect(kernelsOf(64 * 1024 * 1024)).not.toContain('touch');
});
