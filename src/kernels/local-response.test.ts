import { expect, test } from 'vitest';
import { exponentArguments } from './local-response.ts';

test.each([
  [0, { whole: 0, fraction: 0, digits: 0 }],
  [0.75, { whole: 0, fraction: 3 * 2 ** 22, digits: 2 }],
  [0.5, { whole: 0, fraction: 2 ** 23, digits: 1 }],
  [2, { whole: 2, fraction: 0, digits: 0 }],
  [1.125, { whole: 1, fraction: 2 ** 21, digits: 3 }],
  [1 - 2 ** -30, { whole: 1, fraction: 0, digits: 0 }],
])('%d is a sum of powers of ½', (exponent, expected) => {
  expect(exponentArguments(exponent)).toEqual(expected);
});

test('any exponent is within 2^−25', () => {
  for (const exponent of [0.1, 0.6, 1.3, 3.999]) {
    const { whole, fraction, digits } = exponentArguments(exponent);
    expect(Math.abs(whole + fraction / 2 ** 24 - exponent)).toBeLessThanOrEqual(2 ** -25);
    expect(digits).toBeLessThanOrEqual(24);
  }
});
