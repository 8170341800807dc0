/**
 * How close two tensors are, in the measure of all gradient tests: the largest difference over the expected tensor's
 * largest value. Floating-point sums in another order differ by a share of the sum's size, not of each result's.
 */
import { expect } from 'vitest';

export interface Difference {
  /** Largest difference over the scale, the expected values' largest by default; 0 for equal tensors. */
  readonly relative: number;
  /** Where the largest difference is. */
  readonly index: number;
}

export function difference(
  actual: ArrayLike<number>,
  expected: ArrayLike<number>,
  scale?: number,
): Difference {
  let largest = 0;
  let worst = -1;
  let index = 0;
  for (let i = 0; i < expected.length; i++) {
    largest = Math.max(largest, Math.abs(expected[i]!));
    // NaN where one is expected is right; anywhere else it is the worst difference there is.
    const apart = Object.is(actual[i], expected[i]) ? 0 : Math.abs(actual[i]! - expected[i]!);
    if (apart > worst || Number.isNaN(apart)) {
      worst = Number.isNaN(apart) ? Number.POSITIVE_INFINITY : apart;
      index = i;
    }
  }
  return { relative: worst <= 0 ? 0 : worst / (scale ?? largest), index };
}

/**
 * Fails with the place of the largest difference where it is above `tolerance`, relative to the largest expected value
 * or to `scale`.
 */
export function expectAllClose(
  actual: ArrayLike<number>,
  expected: ArrayLike<number>,
  tolerance: number,
  what: string,
  scale?: number,
): void {
  expect(actual.length, `${what}: number of values`).toBe(expected.length);
  const { relative, index } = difference(actual, expected, scale);
  const found = `${what}: differs by ${relative.toExponential(1)} of the largest value at index ${index}`;
  expect(relative, `${found} (${actual[index]} instead of ${expected[index]})`).toBeLessThanOrEqual(
    tolerance,
  );
}
