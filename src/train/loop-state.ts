/**
 * The progress of a training as plain numbers, and how steps and tests change it. All functions are pure: together with
 * the session's `TrainingState`, a `LoopState` is everything that a resumed training needs for the same bits.
 */
import type { DataLoader } from '../data/loader.ts';
import type { EvaluateResult, TrainingState, TrainResult } from '../engine/backend.ts';
import { updatesIn } from '../engine/step.ts';
import type { Change } from './changes.ts';
import { type Extent, lastStep } from './length.ts';
import { choosingMetric, isBetter } from './records.ts';
import type { EpochEvent } from './reporters.ts';
import { nextPlateau } from './schedules.ts';

/** The progress of a training. */
export interface LoopState {
  /** The current epoch, from 1; after the last epoch, the number of the next one. */
  readonly epoch: number;
  /** Batches done in the current epoch. */
  readonly step: number;
  /** Batches done in the whole training. */
  readonly totalSteps: number;
  /** Optimizer steps; fewer than batches if gradients are accumulated. Unfreezing layers starts them anew. */
  readonly optimizerSteps: number;
  /** Sums over the images of the epoch so far. */
  readonly running: { readonly lossSum: number; readonly correct: number; readonly images: number };
  /** The best epoch so far and its accuracy; null before the first test. */
  readonly best: { readonly epoch: number; readonly value: number } | null;
  /** `sinceBest`: epochs since the best one. `plateaus`, `lowestLoss`, `waited`: see `PlateauState`. */
  readonly counters: Readonly<Record<string, number>>;
  /** Changes of settings that took effect, by ascending steps. */
  readonly changes?: readonly Change[] | undefined;
  /** The training is complete. */
  readonly finished: boolean;
}

/** Seconds spent in training steps, and the number of images in them. */
export interface Timed {
  readonly seconds: number;
  readonly images: number;
}

/** What a callback may keep: enough to resume the training, or to use the network as it is now. */
export interface Snapshot {
  readonly loop: LoopState;
  /** For `best`, the weights are those that were tested: the moving average if there is one. */
  readonly state: TrainingState;
  /** Time spent in the current epoch, over all processes. Not in checkpoints, whose bytes do not depend on time. */
  readonly timed?: Timed;
}

const noImages: LoopState['running'] = { lossSum: 0, correct: 0, images: 0 };
export const untimed: Timed = { seconds: 0, images: 0 };

/** The state before the first step. */
export const beginning: LoopState = {
  epoch: 1,
  step: 0,
  totalSteps: 0,
  optimizerSteps: 0,
  running: noImages,
  best: null,
  counters: {},
  finished: false,
};

/** The state after further steps of the current epoch. */
export function afterSteps(
  loop: LoopState,
  { steps, losses, correct: right }: Pick<TrainResult, 'steps' | 'losses' | 'correct'>,
  { length: stepsPerEpoch, batchSize, dataset }: Pick<DataLoader, 'length' | 'batchSize' | 'dataset'>,
  accumulate: number,
): LoopState {
  let { lossSum, correct, images } = loop.running;
  for (const [i, loss] of losses.entries()) {
    // The last batch of an epoch may be smaller.
    const batch = Math.min(batchSize, dataset.length - (loop.step + i) * batchSize);
    lossSum += loss * batch;
    correct += right[i]!;
    images += batch;
  }
  const updates = (step: number): number => updatesIn(step, stepsPerEpoch, accumulate);
  const step = loop.step + steps;
  return {
    ...loop,
    step,
    totalSteps: loop.totalSteps + steps,
    optimizerSteps: loop.optimizerSteps + updates(step) - updates(loop.step),
    running: { lossSum, correct, images },
  };
}

/** What was measured in and after an epoch, besides the loop's own sums. */
export interface Measured {
  /** Epochs of the whole training. */
  readonly epochs: number;
  /** Learning rate of the last step. */
  readonly lr: number;
  /** The training steps of the epoch. */
  readonly timed: Timed;
  readonly test: EvaluateResult;
  readonly validation: EvaluateResult | undefined;
}

/** The event at the end of an epoch. */
export function epochEvent(
  { epoch, totalSteps, running }: LoopState,
  { epochs, lr, timed, test, validation }: Measured,
): EpochEvent {
  return {
    epoch,
    epochs,
    step: totalSteps,
    lr,
    trainLoss: running.lossSum / running.images,
    trainAccuracy: running.correct / running.images,
    ...testFigures(test, validation),
    trainSeconds: timed.seconds,
    testSeconds: test.seconds + (validation?.seconds ?? 0),
    imagesPerSecond: timed.seconds > 0 ? timed.images / timed.seconds : 0,
  };
}

type TestFigures = Pick<
  EpochEvent,
  'validationLoss' | 'validationAccuracy' | 'testLoss' | 'testAccuracy' | 'testTopFive'
>;

/** The figures of a test, and of a validation if there was one. */
export const testFigures = (test: EvaluateResult, validation: EvaluateResult | undefined): TestFigures => ({
  ...(validation && { validationLoss: validation.loss, validationAccuracy: validation.accuracy }),
  testLoss: test.loss,
  testAccuracy: test.accuracy,
  testTopFive: test.topFive,
});

/** The state after the test of an epoch. */
export interface AfterEpoch {
  readonly loop: LoopState;
  /** The epoch is the best one so far. */
  readonly better: boolean;
  /** Early stopping ends the training. */
  readonly stopped: boolean;
}

/**
 * The state after an epoch, or after the part of it that ends the training, was tested. A partial epoch counts neither
 * as the best one nor for plateaus: after a resume, the whole epoch does.
 */
export function afterEpoch(loop: LoopState, event: EpochEvent, extent: Extent, patience: number): AfterEpoch {
  const { stepsPerEpoch, earlyStopping = 0 } = extent;
  const whole = loop.step === stepsPerEpoch;
  const better = isBetter(event, whole, loop.best?.value);
  const { lowestLoss = Infinity, waited = 0, plateaus = 0, sinceBest = 0 } = loop.counters;
  const chosenLoss = event.validationLoss ?? event.testLoss;
  const plateau = nextPlateau({ lowest: lowestLoss, waited, plateaus }, chosenLoss, patience);
  const waiting = better ? 0 : sinceBest + 1;
  const stopped = whole && earlyStopping > 0 && waiting >= earlyStopping;
  const finished = stopped || loop.totalSteps >= lastStep(extent);
  if (!whole) return { loop: { ...loop, finished }, better, stopped };
  const counters = {
    sinceBest: waiting,
    plateaus: plateau.plateaus,
    waited: plateau.waited,
    // JSON, and so a checkpoint, cannot hold Infinity.
    ...(plateau.lowest < Infinity && { lowestLoss: plateau.lowest }),
  };
  const best = better ? { epoch: loop.epoch, value: choosingMetric(event).value } : loop.best;
  return {
    loop: { ...loop, epoch: loop.epoch + 1, step: 0, running: noImages, best, counters, finished },
    better,
    stopped,
  };
}

/** Whether early stopping ended a training. */
const gaveUp = ({ counters }: LoopState, { earlyStopping = 0 }: Extent): boolean =>
  earlyStopping > 0 && (counters.sinceBest ?? 0) >= earlyStopping;

/** Whether a training at `loop` still has a step or a test to do. A finished one does only if its end was moved. */
export function hasMore(loop: LoopState, extent: Extent): boolean {
  const { totalSteps, step, finished } = loop;
  if (totalSteps >= lastStep(extent)) return step > 0 && !finished;
  return !(finished && gaveUp(loop, extent));
}

/** Why a training that has no more to do ended. */
export const endReason = (loop: LoopState, extent: Extent): 'finished' | 'earlyStopped' =>
  gaveUp(loop, extent) || loop.totalSteps < lastStep(extent) ? 'earlyStopped' : 'finished';

/** The progress of a training in words: `after epoch 2, step 14`. */
export function placeOf({ epoch, step }: Pick<LoopState, 'epoch' | 'step'>): string {
  if (step > 0) return `after epoch ${epoch}, step ${step}`;
  return epoch > 1 ? `after epoch ${epoch - 1}` : 'from the start';
}
