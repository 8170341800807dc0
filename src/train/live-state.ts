/** A running training at one moment, as data for whoever watches it. */
import type { Change, LiveSettings } from './changes.ts';

/** A training step: steps of the whole training so far, loss, learning rate. A loss that is not finite is null. */
export type StepPoint = readonly [step: number, loss: number | null, lr: number];

/** A running training at this moment. */
export interface LiveState {
  /** Whether it is asked to pause, and whether it has come to rest. */
  readonly paused: boolean;
  readonly resting: boolean;
  /** Whether it is about to stop. */
  readonly stopping: boolean;
  /** The epoch, and batches done in it. */
  readonly epoch: number;
  readonly step: number;
  readonly epochs: number;
  readonly stepsPerEpoch: number;
  /** Batches done in the whole training, and of all. */
  readonly done: number;
  readonly totalSteps: number;
  /** Of the last seconds; 0 while it rests or tests. */
  readonly stepsPerSecond: number;
  readonly imagesPerSecond: number;
  /** The settings of the next step. `lr` is the base rate, to which the schedule applies. */
  readonly settings: LiveSettings;
  readonly changes: readonly Change[];
}
