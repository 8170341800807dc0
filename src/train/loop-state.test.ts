import { describe, expect, test } from 'vitest';
import { fromArrays } from '../data/dataset.ts';
import { dataLoader } from '../data/loader.ts';
import type { EvaluateResult } from '../engine/backend.ts';
import {
  afterEpoch,
  afterSteps,
  beginning,
  endReason,
  epochEvent,
  hasMore,
  type LoopState,
  placeOf,
} from './loop-state.ts';
import type { EpochEvent } from './reporters.ts';

test.each<[string, Partial<LoopState>, boolean]>([
  ['from the start', { epoch: 1, step: 0, totalSteps: 0 }, true],
  ['after epoch 1, step 2', { epoch: 1, step: 2, totalSteps: 2 }, true],
  ['after epoch 1', { epoch: 2, step: 0, totalSteps: 6 }, true],
  // Interrupted in the test.
  ['after epoch 2, step 6', { epoch: 2, step: 6, totalSteps: 12 }, true],
  ['after epoch 2', { epoch: 3, step: 0, totalSteps: 12 }, false],
  ['after epoch 2', { epoch: 3, step: 0, totalSteps: 12, finished: true }, false],
  ['after epoch 3, step 1', { epoch: 3, step: 1, totalSteps: 13, finished: true }, false],
  ['after epoch 1', { epoch: 2, step: 0, totalSteps: 6, finished: true, counters: { sinceBest: 2 } }, true],
  ['after epoch 1', { epoch: 2, step: 0, totalSteps: 6, finished: true, counters: { sinceBest: 3 } }, false],
])('of two epochs of 6 steps, %s: %j, there is more: %j', (place, at, more) => {
  const loop = { finished: false, counters: {}, ...at } as LoopState;
  expect(placeOf(loop)).toBe(place);
  expect(hasMore(loop, { epochs: 2, stepsPerEpoch: 6, earlyStopping: 3 })).toBe(more);
});

test.each<[string, Partial<LoopState>, 'finished' | 'earlyStopped']>([
  ['all steps', { totalSteps: 12, counters: { sinceBest: 1 } }, 'finished'],
  ['in the last epoch without a better one', { totalSteps: 12, counters: { sinceBest: 3 } }, 'earlyStopped'],
  ['before the last step', { totalSteps: 6, counters: { sinceBest: 3 } }, 'earlyStopped'],
])('a training that ended after %s %j: %s', (_, at, reason) => {
  const loop = { ...beginning, ...at, finished: true };
  expect(endReason(loop, { epochs: 2, stepsPerEpoch: 6, earlyStopping: 3 })).toBe(reason);
});

/** 7 images in batches of 2: the fourth has one image. */
const loader = dataLoader(fromArrays(new Uint8Array(7), [0, 1, 0, 1, 0, 1, 0], [1, 1, 1]), { batchSize: 2 });

test('steps are counted, and their losses are weighted by images', () => {
  const steps = (losses: readonly number[], correct: readonly number[]) => ({
    steps: losses.length,
    losses: Float64Array.from(losses),
    correct: Uint32Array.from(correct),
  });
  const first = afterSteps(beginning, steps([2, 1], [0, 1]), loader, 3);
  expect(first).toEqual({
    ...beginning,
    step: 2,
    totalSteps: 2,
    optimizerSteps: 0,
    running: { lossSum: 6, correct: 1, images: 4 },
  });
  const whole = afterSteps(first, steps([3, 5], [2, 1]), loader, 3);
  // The last group of an epoch may be smaller.
  expect(whole).toMatchObject({ step: 4, totalSteps: 4, optimizerSteps: 2 });
  expect(whole.running).toEqual({ lossSum: 17, correct: 4, images: 7 });
});

const tested = (loss: number, accuracy: number): EvaluateResult => ({
  ...{ loss, accuracy, topFive: 1, correct: 0, images: 10, seconds: 0.5, waitSeconds: 0 },
});

test('the event of an epoch', () => {
  const loop = {
    ...beginning,
    epoch: 2,
    totalSteps: 8,
    running: { lossSum: 14, correct: 5, images: 7 },
  };
  const measured = { epochs: 3, lr: 0.1, timed: { seconds: 2, images: 6 }, test: tested(1, 0.5) };
  expect(epochEvent(loop, { ...measured, validation: undefined })).toEqual({
    ...{ epoch: 2, epochs: 3, step: 8, lr: 0.1, trainLoss: 2, trainAccuracy: 5 / 7 },
    ...{ testLoss: 1, testAccuracy: 0.5, testTopFive: 1, trainSeconds: 2, testSeconds: 0.5 },
    imagesPerSecond: 3,
  });
  const validated = epochEvent(loop, { ...measured, validation: tested(3, 0.25) });
  expect(validated).toMatchObject({ validationLoss: 3, validationAccuracy: 0.25, testSeconds: 1 });
  const timed = { seconds: 0, images: 0 };
  expect(epochEvent(loop, { ...measured, timed, validation: undefined }).imagesPerSecond).toBe(0);
});

describe('the state after an epoch', () => {
  const extent = { epochs: 5, stepsPerEpoch: 4, earlyStopping: 2 };
  const event = (testLoss: number, testAccuracy: number): EpochEvent => ({
    ...{ epoch: 1, epochs: 5, step: 4, lr: 1, trainLoss: 1, trainAccuracy: 0, testTopFive: 1 },
    ...{ trainSeconds: 1, testSeconds: 1, imagesPerSecond: 1, testLoss, testAccuracy },
  });
  /** After `events`, one per epoch. */
  const stateAfter = (events: readonly EpochEvent[], patience = 10) => {
    let result = { loop: beginning, better: false, stopped: false };
    for (const own of events) {
      const { loop } = result;
      result = afterEpoch({ ...loop, step: 4, totalSteps: loop.totalSteps + 4 }, own, extent, patience);
    }
    return result;
  };

  test('the next epoch starts with nothing', () => {
    const { loop } = stateAfter([event(2, 0.5)]);
    expect(loop).toMatchObject({ epoch: 2, step: 0, running: beginning.running, finished: false });
    expect(loop.counters).toEqual({ sinceBest: 0, plateaus: 0, waited: 0, lowestLoss: 2 });
  });

  test('the first of equal epochs is the best; early stopping counts from there', () => {
    const good = stateAfter([event(2, 0.5), event(1, 0.75)]);
    expect(good).toMatchObject({ better: true, stopped: false });
    expect(good.loop.best).toEqual({ epoch: 2, value: 0.75 });
    const equal = stateAfter([event(2, 0.5), event(1, 0.75), event(1, 0.75)]);
    expect(equal).toMatchObject({ better: false, stopped: false });
    expect(equal.loop.best).toEqual({ epoch: 2, value: 0.75 });
    const stopped = stateAfter([event(2, 0.5), event(1, 0.75), event(1, 0.75), event(1, 0.5)]);
    expect(stopped).toMatchObject({ better: false, stopped: true });
    expect(stopped.loop.finished).toBe(true);
  });

  test('validation images choose, where there are some', () => {
    const worse = { ...event(1, 0.75), validationLoss: 9, validationAccuracy: 0.25 };
    const first = { ...event(2, 0.5), validationLoss: 8, validationAccuracy: 0.5 };
    const { loop, better } = stateAfter([first, worse]);
    expect(better).toBe(false);
    expect(loop.counters.lowestLoss).toBe(8);
  });

  test('a plateau is more than patience epochs without a lower loss', () => {
    expect(stateAfter([event(2, 0.5), event(2, 0.6)], 1).loop.counters).toMatchObject({
      waited: 1,
      plateaus: 0,
    });
    const { counters } = stateAfter([event(2, 0.5), event(2, 0.6), event(2, 0.7)], 1).loop;
    expect(counters).toMatchObject({ waited: 0, plateaus: 1 });
  });

  test('it is finished after the last step', () => {
    expect(stateAfter(Array.from({ length: 4 }, (_, i) => event(1, i / 10))).loop.finished).toBe(false);
    expect(stateAfter(Array.from({ length: 5 }, (_, i) => event(1, i / 10))).loop.finished).toBe(true);
  });

  test('a partial epoch is the best one only before any other, and changes no counter', () => {
    const part = { ...beginning, step: 2, totalSteps: 2 };
    const short = { ...extent, steps: 2 };
    const first = afterEpoch(part, event(2, 0.5), short, 0);
    expect(first).toEqual({ loop: { ...part, finished: true }, better: true, stopped: false });
    const second = { ...part, epoch: 2, totalSteps: 6, best: { epoch: 1, value: 0.1 } };
    expect(afterEpoch(second, event(2, 0.5), { ...extent, steps: 6 }, 0)).toEqual({
      loop: { ...second, finished: true },
      better: false,
      stopped: false,
    });
  });
});
