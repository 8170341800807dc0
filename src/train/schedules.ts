/**
 * Learning rate schedules: functions of only the position in the training, so that a training can resume anywhere.
 * Any function of this type is a schedule; `withWarmup` adds a warm-up to one.
 */
import { UsageError } from '../errors.ts';
import { shown } from '../options.ts';

/** The position of a step in the training. */
export interface SchedulePlace {
  /** Counts from 1. */
  readonly epoch: number;
  /** Batches of the epoch before this one. */
  readonly step: number;
  readonly stepsPerEpoch: number;
  /** Epochs of the whole training. */
  readonly epochs: number;
  /** Batches of the whole training; fewer than all epochs have if `steps` ends it earlier. */
  readonly totalSteps: number;
  /** Number of plateaus so far; see `plateauSchedule`. */
  readonly plateaus: number;
}

/** Returns the learning rate at a position. */
export type Schedule = (place: SchedulePlace) => number;

/** The same rate throughout. */
export const constantSchedule =
  (lr: number): Schedule =>
  () =>
    lr;

/** Multiplied by `gamma` after each `stepSize` epochs, as torch's StepLR: the lecture divides by 3 every 20 epochs. */
export function stepSchedule(lr: number, stepSize: number, gamma: number): Schedule {
  if (!Number.isInteger(stepSize) || stepSize < 1) {
    throw new UsageError(`learning rate schedule: a step of ${stepSize} epochs is not a whole number ≥ 1`);
  }
  checkGamma(gamma);
  return ({ epoch }) => lr * gamma ** Math.floor((epoch - 1) / stepSize);
}

/** Multiplied by `gamma` after each of the epochs `milestones`, as torch's MultiStepLR. */
export function multiStepSchedule(lr: number, milestones: readonly number[], gamma: number): Schedule {
  if (!Array.isArray(milestones)) {
    throw new UsageError(`multiStepSchedule: milestones is ${shown(milestones)}, not a list of epochs`);
  }
  if (milestones.length === 0) {
    throw new UsageError('learning rate schedule: multiStep has no milestones; name the epochs, as in 30,60');
  }
  for (const [i, milestone] of milestones.entries()) {
    if (!Number.isInteger(milestone) || milestone < 1 || milestone <= (milestones[i - 1] ?? 0)) {
      throw new UsageError(
        `learning rate schedule: milestones ${milestones.join(', ')} are not ascending whole numbers ≥ 1; name each epoch once, in order, as in 30,60`,
      );
    }
  }
  checkGamma(gamma);
  return ({ epoch }) => lr * gamma ** milestones.filter((milestone) => epoch > milestone).length;
}

/**
 * Half a cosine from `lr` down to `minLr` over the whole training, step by step (Loshchilov & Hutter, "SGDR", ICLR
 * 2017, without restarts): torch's CosineAnnealingLR, stepped after each batch.
 */
export function cosineSchedule(lr: number, minLr = 0): Schedule {
  checkMinimum(lr, minLr);
  return (place) => {
    const share = Math.min(1, positionOf(place) / place.totalSteps);
    return minLr + ((lr - minLr) * (1 + Math.cos(Math.PI * share))) / 2;
  };
}

/**
 * Up from lr / 25 to `lr` in the first 30 % of all steps and down to lr / 250,000, both along half a cosine
 * (Smith & Topin, "Super-convergence", 2019): torch's OneCycleLR with its defaults, but constant momentum.
 */
export function oneCycleSchedule(lr: number): Schedule {
  const [first, last] = [lr / 25, lr / 25 / 1e4];
  const anneal = (from: number, to: number, share: number): number =>
    to + ((from - to) / 2) * (1 + Math.cos(Math.PI * share));
  return (place) => {
    const position = positionOf(place);
    // Below 0 in a training of 1 to 3 steps, which therefore starts with the descent, as in torch.
    const top = 0.3 * place.totalSteps - 1;
    if (position <= top) return anneal(first, lr, position / top);
    return anneal(lr, last, Math.min(1, (position - top) / (place.totalSteps - 1 - top)));
  };
}

/**
 * Multiplied by `gamma` each time the loss has not fallen for more than `patience` epochs, but not below
 * `minLr`: torch's ReduceLROnPlateau. The training loop counts the plateaus (`nextPlateau`).
 */
export function plateauSchedule(lr: number, gamma: number, minLr = 0): Schedule {
  checkGamma(gamma);
  if (gamma >= 1) throw new UsageError(`learning rate schedule: plateau's gamma = ${gamma} is not below 1`);
  checkMinimum(lr, minLr);
  return ({ plateaus }) => Math.max(lr * gamma ** plateaus, minLr);
}

/** Plateau counters after an epoch. A loss counts as lower from 0.01 % on, torch's threshold. */
export interface PlateauState {
  readonly lowest: number;
  readonly waited: number;
  readonly plateaus: number;
}

/** The state after an epoch with this loss: a plateau is more than `patience` epochs without a lower loss. */
export function nextPlateau(
  { lowest, waited, plateaus }: PlateauState,
  loss: number,
  patience: number,
): PlateauState {
  if (loss < lowest * (1 - 1e-4)) return { lowest: loss, waited: 0, plateaus };
  return waited + 1 > patience
    ? { lowest, waited: 0, plateaus: plateaus + 1 }
    : { lowest, waited: waited + 1, plateaus };
}

/** A schedule whose rate rises linearly from 0 over the first `epochs` epochs, which may be a fraction. */
export function withWarmup(schedule: Schedule, epochs: number): Schedule {
  if (!(epochs >= 0 && epochs < Infinity)) {
    throw new UsageError(`learning rate schedule: warm-up epochs ${epochs} is not a finite number ≥ 0`);
  }
  if (epochs === 0) return schedule;
  return (place) => {
    const position = positionOf(place);
    const steps = Math.max(1, Math.round(epochs * place.stepsPerEpoch));
    return schedule(place) * Math.min(1, (position + 1) / steps);
  };
}

/** A schedule whose rate is multiplied by `factor` after the first `epochs` epochs: for layers that are unfrozen then. */
export function withFactorAfter(schedule: Schedule, epochs: number, factor: number): Schedule {
  checkGamma(factor);
  return (place) => schedule(place) * (place.epoch > epochs ? factor : 1);
}

/** Batches of the whole training before this one. */
const positionOf = ({ epoch, step, stepsPerEpoch }: SchedulePlace): number =>
  (epoch - 1) * stepsPerEpoch + step;

function checkGamma(gamma: number): void {
  if (!(gamma > 0 && gamma < Infinity)) {
    throw new UsageError(
      `learning rate schedule: the factor gamma = ${gamma} is not a finite number above 0`,
    );
  }
}

function checkMinimum(lr: number, minLr: number): void {
  if (!(minLr >= 0 && minLr < lr)) {
    throw new UsageError(
      `learning rate schedule: minLr = ${minLr} is not at least 0 and below the learning rate ${lr}; ` +
        'use a lower minLr or a higher learning rate',
    );
  }
}
