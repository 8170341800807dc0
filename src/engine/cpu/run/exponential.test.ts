import { expect, test } from 'vitest';
import { random } from '../../../data/random.ts';
import { exponential } from './exponential.ts';

test('agrees with Math.exp to two units in the last place', () => {
  const source = random(1, 1300);
  const numbers = Array.from({ length: 20_000 }, (_, i) => -source.uniform() * [1e-9, 1, 20, 700][i % 4]!);
  const multiples = Array.from({ length: 2000 }, (_, i) => (-i * Math.LN2) / 2).filter((x) => x > -708);
  for (const x of [0, -0, -Number.MIN_VALUE, ...numbers, ...multiples]) {
    expect(Math.abs(exponential(x) / Math.exp(x) - 1)).toBeLessThanOrEqual(2 * Number.EPSILON);
  }
});

test('subnormal results, 0 and NaN', () => {
  for (const x of [-709, -720, -745]) {
    expect(Math.abs(exponential(x) - Math.exp(x))).toBeLessThanOrEqual(
      Number.MIN_VALUE + 1e-15 * Math.exp(x),
    );
  }
  expect(exponential(-746)).toBe(0);
  expect(exponential(Number.NEGATIVE_INFINITY)).toBe(0);
  expect(exponential(Number.NaN)).toBeNaN();
});
