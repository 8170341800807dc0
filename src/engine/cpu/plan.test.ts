import { expect, test } from 'vitest';
import { chunkImages, groupSizesOf } from './plan.ts';

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
