import { expect, test } from 'vitest';
import { UsageError } from '../errors.ts';
import { stepSchedule } from './schedules.ts';

test('the lecture divides by 3 after each 20 epochs', () => {
  const learningRate = stepSchedule(0.001, 20, 1 / 3);
  expect([1, 20].map(learningRate)).toEqual([0.001, 0.001]);
  expect(learningRate(21)).toBeCloseTo(0.001 / 3, 12);
  expect(learningRate(40)).toBeCloseTo(0.001 / 3, 12);
  expect(learningRate(80)).toBeCloseTo(0.001 / 27, 12);
});

test.each([
  [0, 1 / 3],
  [1.5, 1 / 3],
  [20, 0],
  [20, -1],
  [20, Number.NaN],
])('a step of %d epochs and a factor of %d are refused', (step, gamma) => {
  expect(() => stepSchedule(0.001, step, gamma)).toThrow(UsageError);
});
