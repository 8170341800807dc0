import { expect, test } from 'vitest';
import { extentOf, isContiguous, overlap, StridedReader } from './strided.ts';

const numbers = Float32Array.from({ length: 4000 }, (_, i) => i);
const readRun = async (from: number, into: Float32Array): Promise<void> => {
  expect(from + into.length).toBeLessThanOrEqual(numbers.length);
  into.set(numbers.subarray(from, from + into.length));
};

/** All values in the tensor's order, one index after another. */
function plain(shape: readonly number[], strides: readonly number[]): number[] {
  let places = [0];
  for (const [axis, side] of shape.entries())
    places = places.flatMap((place) => Array.from({ length: side }, (_, i) => place + i * strides[axis]!));
  return places;
}

test.each([
  ['transposed', [7, 11], [1, 7]],
  ['channels last', [4, 3, 5, 5], [75, 1, 15, 3]],
  ['a slice', [6, 4], [10, 2]],
  ['expanded', [3, 5, 2], [0, 2, 1]],
  ['one axis', [9], [3]],
  ['axes of one value', [1, 5, 1, 3], [999, 1, 0, 5]],
] as const)('%s tensors are read in any parts', async (_name, shape, strides) => {
  const wanted = plain(shape, strides);
  for (const most of [1, 7, 50, 1000]) {
    const reader = new StridedReader({ shape, strides }, readRun, most);
    for (const [from, length] of [
      [0, wanted.length],
      [3, 5],
      [wanted.length - 1, 1],
      [0, 2],
    ] as const) {
      const part = new Float32Array(Math.min(length, wanted.length - from));
      await reader.read(from, part);
      expect([...part]).toEqual(wanted.slice(from, from + part.length));
    }
  }
});

test('order, extent and overlap', () => {
  expect(isContiguous({ shape: [2, 3], strides: [3, 1] })).toBe(true);
  expect(isContiguous({ shape: [2, 1], strides: [1, 7] })).toBe(true);
  expect(isContiguous({ shape: [2, 3], strides: [1, 2] })).toBe(false);
  expect(isContiguous({ shape: [0, 3], strides: [9, 9] })).toBe(true);
  expect(extentOf({ shape: [2, 3], strides: [10, 2] })).toBe(15);
  expect(extentOf({ shape: [2, 0], strides: [10, 2] })).toBe(0);
  expect(overlap({ shape: [2, 3], strides: [3, 1] })).toBe('none');
  expect(overlap({ shape: [2, 3], strides: [2, 1] })).toBe('overlapping');
  expect(overlap({ shape: [2, 3], strides: [0, 1] })).toBe('repeated');
});

test('a read that fails is repeated', async () => {
  let fails = true;
  const reader = new StridedReader({ shape: [4, 2], strides: [1, 4] }, async (from, into) => {
    if (fails) throw new Error('once');
    await readRun(from, into);
  });
  const part = new Float32Array(8);
  await expect(reader.read(0, part)).rejects.toThrow('once');
  fails = false;
  await reader.read(0, part);
  expect([...part]).toEqual([0, 4, 1, 5, 2, 6, 3, 7]);
});
