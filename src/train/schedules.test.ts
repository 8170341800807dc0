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

/** Rates of all steps of a training. */
const course = (schedule: Schedule, epochs: number, stepsPerEpoch: number): number[] =>
  Array.from({ length: epochs * stepsPerEpoch }, (_, i) =>
    schedule({
      epoch: Math.floor(i / stepsPerEpoch) + 1,
      step: i % stepsPerEpoch,
      stepsPerEpoch,
      epochs,
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

// What torch 1.13 gives for the same settings.
describe('PyTorch', () => {
  test('CosineAnnealingLR(T_max 12, eta_min 0.01), stepped after each batch', () => {
    expectClose(
      course(cosineSchedule(0.1, 0.01), 4, 3),
      [
        0.1, 0.09846666218300808, 0.09397114317029975, 0.08681980515339464, 0.07750000000000001,
        0.06664685702961345, 0.055000000000000014, 0.04335314297038658, 0.032500000000000015,
        0.023180194846605367, 0.01602885682970026, 0.011533337816991932,
      ],
    );
  });

  test('OneCycleLR(max_lr 0.1, total_steps 20)', () => {
    expectClose(
      course(oneCycleSchedule(0.1), 4, 5),
      [
        0.0040000000000000036, 0.013167184270002533, 0.037167184270002526, 0.06683281572999747,
        0.09083281572999748, 0.1, 0.09874640062350874, 0.09504846320134738, 0.089091617757105,
        0.0811745653949763, 0.07169430017913009, 0.06112620219362893, 0.0500002, 0.03887419780637107,
        0.028306099820869922, 0.0188258346050237, 0.010908782242895003, 0.004951936798652629,
        0.0012539993764912555, 4e-7,
      ],
    );
  });

  test('MultiStepLR(milestones 2 and 3, gamma 0.5)', () => {
    expectClose(course(multiStepSchedule(0.1, [2, 3], 0.5), 5, 1), [0.1, 0.1, 0.05, 0.025, 0.025]);
  });

  test('ReduceLROnPlateau(factor 0.5, patience 1, min_lr 0.02)', () => {
    const schedule = plateauSchedule(0.1, 0.5, 0.02);
    let state: PlateauState = { lowest: Infinity, waited: 0, plateaus: 0 };
    const rates = [1, 0.9, 0.95, 0.91, 0.89, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9].map((loss) => {
      const rate = schedule({ epoch: 1, step: 0, stepsPerEpoch: 1, epochs: 9, plateaus: state.plateaus });
      state = nextPlateau(state, loss, 1);
      return rate;
    });
    expectClose(rates, [0.1, 0.1, 0.1, 0.1, 0.05, 0.05, 0.05, 0.025, 0.025, 0.02, 0.02]);
  });
});

test('a warm-up rises evenly to the schedule, and may be a part of an epoch', () => {
  expectClose(
    course(withWarmup(constantSchedule(1), 1.5), 2, 4),
    [1, 2, 3, 4, 5, 6, 6, 6].map((x) => x / 6),
  );
  expect(course(withWarmup(constantSchedule(1), 0), 1, 2)).toEqual([1, 1]);
});

test('one cycle over a single step', () => {
  expect(course(oneCycleSchedule(0.1), 1, 1).every(Number.isFinite)).toBe(true);
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

test.each([
  ['no milestones', () => multiStepSchedule(0.1, [], 0.5), 'name the epochs'],
  ['falling milestones', () => multiStepSchedule(0.1, [3, 2], 0.5), '3, 2 are not rising'],
  ['a factor that does not lower', () => plateauSchedule(0.1, 1), 'gamma = 1 is not below 1'],
  [
    'a minimum above the rate',
    () => cosineSchedule(0.1, 0.2),
    'minLr = 0.2 is not at least 0 and below the rate 0.1',
  ],
  ['a minimum that is the rate', () => cosineSchedule(0.1, 0.1), 'choose a lower minLr, or a higher rate'],
  ['a warm-up before the start', () => withWarmup(constantSchedule(1), -1), 'a warm-up of -1 epochs'],
])('%s: refused', (_, make, message) => {
  expect(make).toThrow(UsageError);
  expect(make).toThrow(message);
});
