import { expect, test } from 'vitest';
import { random } from '../data/random.ts';
import { DataError } from '../errors.ts';
import { fromHalf, packHalves, roundedToHalf, toHalf, unpackHalves } from './half.ts';

// Node's own halves are the oracle.
const halves = new Float16Array(1);
const bits = new Uint16Array(halves.buffer);

test('every half is read as Node reads it, and written back', () => {
  for (let half = 0; half < 65_536; half++) {
    bits[0] = half;
    expect(fromHalf(half)).toBe(halves[0]!);
    if (!Number.isNaN(halves[0]!)) expect(toHalf(halves[0]!)).toBe(half);
  }
});

test('values are rounded to the nearest half, ties to even', () => {
  const source = random(1, 2);
  const check = (value: number): void => {
    halves[0] = value;
    expect(toHalf(value)).toBe(bits[0]);
  };
  for (let i = 0; i < 20_000; i++) check(Math.fround(source.normal() * 10 ** (5 - 14 * source.uniform())));
  for (let half = 0; half < 0x7bff; half++) check((fromHalf(half) + fromHalf(half + 1)) / 2);
  for (const value of [65_519.99, 65_520, -65_520, 1e30, 2 ** -25, 2 ** -26, 0, -0])
    check(Math.fround(value));
  expect(toHalf(Number.NaN) & 0x7fff).toBeGreaterThan(0x7c00);
});

test('packed weights come back rounded; truncated ones are rejected', () => {
  const weights = new Map([
    ['a.weight', { shape: [2, 2], data: Float32Array.of(1, -0.1, 1e-9, 300.7) }],
    ['a.bias', { shape: [1], data: Float32Array.of(7) }],
  ]);
  const { tensors, bytes } = packHalves(weights);
  expect(bytes).toHaveLength(10);
  expect(unpackHalves(tensors, bytes)).toEqual(roundedToHalf(weights));
  expect(() => unpackHalves(tensors, bytes.subarray(2))).toThrow(DataError);
});
