/**
 * Progress events of a training, and the lecture's way of printing them. A reporter receives every step and epoch and
 * decides what to show. The terminal's progress bar and the JSON stream are in `cli/progress.ts`.
 */

import { checkOptions } from '../options.ts';
import { fixed, percent } from '../words.ts';
import type { EpochRecord } from './records.ts';

export interface StepEvent {
  /** Both count from 1. */
  readonly epoch: number;
  readonly step: number;
  /** Totals: epochs of the training, steps of an epoch. */
  readonly epochs: number;
  readonly steps: number;
  /** Mean loss of this step's batch. */
  readonly loss: number;
  /** Learning rate of this step. */
  readonly lr: number;
}

/** The end of an epoch, and the total number of epochs. */
export interface EpochEvent extends EpochRecord {
  readonly epochs: number;
}

export interface Reporter {
  step(event: StepEvent): void;
  epoch(event: EpochEvent): void;
}

export interface LineOptions {
  /** Prints a line; `console.log` by default. */
  readonly print?: (line: string) => void;
  /** Prints every n-th step of an epoch; 100 by default, as in the lecture. */
  readonly logEvery?: number;
}

/** Prints the lecture's line every 100 steps, and one line per epoch. */
export function lectureLines(options: LineOptions = {}): Reporter {
  checkOptions<LineOptions>('lectureLines', options, { print: 'optional', logEvery: 'optional' });
  const { print = console.log, logEvery = 100 } = options;
  return {
    step(event) {
      if (event.step % logEvery === 0) print(stepLine(event));
    },
    epoch(event) {
      print(epochLine(event));
    },
  };
}

/** `Epoch [1/80], step [100/500] Loss: 1.2345`, as the lecture prints it. */
export function stepLine({ epoch, epochs, step, steps, loss }: StepEvent): string {
  return `Epoch [${epoch}/${epochs}], step [${step}/${steps}] Loss: ${loss.toFixed(4)}`;
}

export function epochLine(event: EpochEvent): string {
  const { epoch, epochs, trainLoss, validationLoss, validationAccuracy, testLoss, testAccuracy } = event;
  const parts = [
    `Train loss: ${fixed(trainLoss)}`,
    ...(validationLoss === undefined
      ? []
      : [`Validation loss: ${fixed(validationLoss)}`, `Validation accuracy: ${percent(validationAccuracy)}`]),
    `Test loss: ${fixed(testLoss)}`,
    `Test accuracy: ${percent(testAccuracy)}`,
    `${(event.trainSeconds + event.testSeconds).toFixed(1)} s`,
  ];
  return `Epoch [${epoch}/${epochs}] ${parts.join(', ')}`;
}

/** `Accuracy of the model on the test images: 70.85 %`, the lecture's last line. */
export function accuracyLine(accuracy: number): string {
  return `Accuracy of the model on the test images: ${percent(accuracy)}`;
}
