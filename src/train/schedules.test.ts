import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { UsageError } from '../errors.ts';
import {
  constantSchedule,
  cosineSchedule,
  multiStepSchedule,
  nextPlateau,
  oneCycleSchedule,
  type PlateauState,
  plateauSchedule,
  type Schedule,
  stepSchedule,
  withWarmup,
} from './schedules.ts';

/** Rates of all steps of a training, which `totalSteps` may end inside an epoch. */
const course = (
  schedule: Schedule,
  epochs: number,
  stepsPerEpoch: number,
  totalSteps = epochs * stepsPerEpoch,
): number[] =>
  Array.from({ length: totalSteps }, (_, i) =>
    schedule({
      epoch: Math.floor(i / stepsPerEpoch) + 1,
      step: i % stepsPerEpoch,
      stepsPerEpoch,
      epochs,
      totalSteps,
      plateaus: 0,
    }),
  );

const expectClose = (actual: readonly number[], expected: readonly number[]): void => {
  expect(actual).toHaveLength(expected.length);
  for (const [i, value] of actual.entries()) expect(Math.abs(value - expected[i]!)).toBeLessThan(1e-12);
};

test('the lecture divides by 3 after each 20 epochs', () => {
  const rates = course(stepSchedule(0.001, 20, 1 / 3), 80, 1);
  expect([rates[0], rates[19]]).toEqual([0.001, 0.001]);
  expect(rates[20]).toBeCloseTo(0.001 / 3, 12);
  expect(rates[39]).toBeCloseTo(0.001 / 3, 12);
  expect(rates[79]).toBeCloseTo(0.001 / 27, 12);
});

// Written by test/golden/make_schedules.py.
const golden = JSON.parse(
  readFileSync(new URL('../../test/golden/schedules.json', import.meta.url), 'utf8'),
) as Readonly<Record<'oneCycle' | 'cosine', readonly (readonly number[])[]>> & {
  readonly lr: number;
  readonly minLr: number;
};

// What torch 1.13 gives for the same settings.
describe('PyTorch', () => {
  test.each(golden.oneCycle.map((rates) => [rates.length, rates] as const))(
    'OneCycleLR, total_steps %d, ended by the epochs or inside one',
    (steps, rates) => {
      expectClose(course(oneCycleSchedule(golden.lr), steps, 1), rates);
      expectClose(course(oneCycleSchedule(golden.lr), 80, 5, steps), rates);
    },
  );

  test.each(golden.cosine.map((rates) => [rates.length, rates] as const))(
    'CosineAnnealingLR, T_max %d, stepped after each batch, ended by the epochs or inside one',
    (steps, rates) => {
      expectClose(course(cosineSchedule(golden.lr, golden.minLr), 1, steps), rates);
      expectClose(course(cosineSchedule(golden.lr, golden.minLr), 80, 5, steps), rates);
    },
  );

  test('MultiStepLR(milestones 2 and 3, gamma 0.5)', () => {
    expectClose(course(multiStepSchedule(0.1, [2, 3], 0.5), 5, 1), [0.1, 0.1, 0.05, 0.025, 0.025]);
  });

  test('ReduceLROnPlateau(factor 0.5, patience 1, min_lr 0.02)', () => {
    const schedule = plateauSchedule(0.1, 0.5, 0.02);
    let state: PlateauState = { lowest: Infinity, waited: 0, plateaus: 0 };
    const rates = [1, 0.9, 0.95, 0.91, 0.89, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9].map((loss) => {
      const rate = schedule({
        ...{ epoch: 1, step: 0, stepsPerEpoch: 1, epochs: 9, totalSteps: 9 },
        plateaus: state.plateaus,
      });
      state = nextPlateau(state, loss, 1);
      return rate;
    });
    expectClose(rates, [0.1, 0.1, 0.1, 0.1, 0.05, 0.05, 0.05, 0.025, 0.025, 0.02, 0.02]);
  });
});

test('a warm-up rises linearly to the schedule, and may be a fraction of an epoch', () => {
  expectClose(
    course(withWarmup(constantSchedule(1), 1.5), 2, 4),
    [1, 2, 3, 4, 5, 6, 6, 6].map((x) => x / 6),
  );
  expect(course(withWarmup(constantSchedule(1), 0), 1, 2)).toEqual([1, 1]);
});

test.each([
  [0, 1 / 3],
  [1.5, 1 / 3],
  [20, 0],
  [20, -1],
  [20, Number.NaN],
])('a step of %d epochs and a factor of %d are rejected', (step, gamma) => {
  expect(() => stepSchedule(0.001, step, gamma)).toThrow(UsageError);
});

test.each([
  ['no milestones', () => multiStepSchedule(0.1, [], 0.5), 'name the epochs'],
  ['falling milestones', () => multiStepSchedule(0.1, [3, 2], 0.5), '3, 2 are not ascending'],
  ['a factor that does not lower', () => plateauSchedule(0.1, 1), 'gamma = 1 is not below 1'],
  [
    'a minimum above the rate',
    () => cosineSchedule(0.1, 0.2),
    'minLr = 0.2 is not at least 0 and below the learning rate 0.1',
  ],
  [
    'a minimum that is the rate',
    () => cosineSchedule(0.1, 0.1),
    'use a lower minLr or a higher learning rate',
  ],
  ['a warm-up before the start', () => withWarmup(constantSchedule(1), -1), 'warm-up epochs -1 is not'],
])('%s: rejected', (_, make, message) => {
  expect(make).toThrow(UsageError);
  expect(make).toThrow(message);
});
