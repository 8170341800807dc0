/**
 * The arithmetic of training steps, without any state: which images a step reads, the group of accumulated batches it
 * belongs to, and its learning rate, gradient scale and share of mixup. Every thread of every device computes the same.
 */
import { mixupShare } from '../data/mixup.ts';
import type { OptimizerOptions, StepOptions } from './backend.ts';
import { type ImageSource, imageCount } from './driver.ts';

/** Optimizer steps in the first `step` of an epoch's `epochSteps` batches; its last group may be smaller. */
export const updatesIn = (step: number, epochSteps: number, accumulate: number): number =>
  step === epochSteps ? Math.ceil(step / accumulate) : Math.floor(step / accumulate);

/** The largest number of batches, up to `steps` over all epochs, that ends with an optimizer step. */
export const wholeGroups = (steps: number, epochSteps: number, accumulate: number): number =>
  steps - ((steps % epochSteps) % accumulate);

/** The smallest number of batches from `steps` on that ends with an optimizer step. */
export function groupEnd(steps: number, epochSteps: number, accumulate: number): number {
  if (steps === Infinity) return Infinity;
  const inEpoch = steps % epochSteps;
  return steps - inEpoch + Math.min(epochSteps, Math.ceil(inEpoch / accumulate) * accumulate);
}

/** The most different learning rates that the layers of a network may have in a step. */
export const mostRates = 32;

/** Steps `from` … `to` of a source; a source may hold the images of one step of an epoch only. */
export interface TrainPass {
  readonly source: ImageSource;
  readonly batchSize: number;
  readonly from: number;
  readonly to: number;
  readonly optimizer: OptimizerOptions;
  readonly options: Required<StepOptions>;
  /** Learning rate of each step, from `from` on. */
  readonly rates: Float64Array;
  /** For each layer, the factor of its learning rate; empty if all are 1. */
  readonly rateFactors: readonly number[];
  /** Optimizer steps done before. */
  readonly optimizerSteps: number;
  /** Index in the epoch of the source's first step. */
  readonly stepOffset: number;
  /** Images of the whole epoch, and in each of its batches but the last. */
  readonly epochImages: number;
  readonly epochBatch: number;
  /** Receive the loss and the number of correct answers of each step, from `from` on. */
  readonly losses: Float64Array;
  readonly correct: Uint32Array;
}

export interface Step {
  /** Its images in the source. */
  readonly first: number;
  readonly count: number;
  /** Factor of each image's gradient: the batches of a group count as one batch of all their images. */
  readonly gradientScale: number;
  /** Whether gradients of several batches are accumulated, and whether this batch is the first of its group. */
  readonly accumulated: 'first' | 'more' | undefined;
  /** Whether an optimizer step follows, as the last batch of its group. */
  readonly updates: boolean;
  /** Optimizer steps done after it. */
  readonly optimizerSteps: number;
  readonly rate: number;
  /** Share of the first image and label in a mixed one; 1 without mixup. */
  readonly ownShare: number;
}

/** Step `index` of a pass. */
export function stepOf(pass: TrainPass, index: number): Step {
  const { source, batchSize, from, options, rates, stepOffset, epochImages, epochBatch } = pass;
  const { accumulate, mixup } = options;
  const first = index * batchSize;
  const inEpoch = stepOffset + index;
  const epochSteps = Math.ceil(epochImages / epochBatch);
  const position = inEpoch % accumulate;
  const groupStart = (inEpoch - position) * epochBatch;
  const before = updatesIn(stepOffset + from, epochSteps, accumulate);
  return {
    first,
    count: Math.min(batchSize, imageCount(source) - first),
    gradientScale: 1 / Math.min(epochImages - groupStart, accumulate * epochBatch),
    accumulated: accumulate === 1 ? undefined : position === 0 ? 'first' : 'more',
    updates: position === accumulate - 1 || inEpoch === epochSteps - 1,
    optimizerSteps: pass.optimizerSteps + updatesIn(inEpoch + 1, epochSteps, accumulate) - before,
    rate: rates[index - from]!,
    ownShare: mixup > 0 ? mixupShare(mixup, source.seed, source.epoch, inEpoch) : 1,
  };
}
