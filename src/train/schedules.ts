/** Learning rates as functions of the epoch's number alone, so that a training can be resumed anywhere. */
import { UsageError } from '../errors.ts';

/**
 * Multiplied by `gamma` after each `stepSize` epochs, as torch's StepLR: the lecture divides by 3 every 20 epochs.
 * Epochs count from 1.
 */
export function stepSchedule(lr: number, stepSize: number, gamma: number): (epoch: number) => number {
  if (!Number.isInteger(stepSize) || stepSize < 1) {
    throw new UsageError(`learning rate schedule: a step of ${stepSize} epochs is not a whole number ≥ 1`);
  }
  if (!(gamma > 0 && gamma < Infinity)) {
    throw new UsageError(`learning rate schedule: the factor gamma = ${gamma} is not a number above 0`);
  }
  return (epoch) => lr * gamma ** Math.floor((epoch - 1) / stepSize);
}
