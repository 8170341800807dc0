/**
 * When to end a trial early, and which ones to continue. Values are compared in the study's direction; NaN is the worst
 * value.
 *
 * - `median`: Golovin et al., "Google Vizier", KDD 2017, section 3.2.2, with the options of Optuna's MedianPruner.
 * - `asha`: Li et al., "A System for Massively Parallel Hyperparameter Tuning", MLSys 2020, algorithm 2. Rung k ends at
 *   step r·ηᵏ. A trial that reaches the end of a rung continues if it is among the best 1/η that reached it. Otherwise it
 *   is pruned, and a new trial continues it (a promotion) once later results put it among the best 1/η.
 */
import { checkOptions, checkWhole } from '../options.ts';
import { latestTrials } from './lineage.ts';
import type { Direction } from './records.ts';
import type { FrozenTrial } from './replay.ts';

/** What a pruner sees of a study. */
export interface Standings {
  readonly direction: Direction;
  /** All trials, by number. */
  readonly trials: readonly FrozenTrial[];
}

export interface Pruner {
  readonly name: string;
  /** Whether to end the running `trial`, judged after its last report. */
  shouldPrune(standings: Standings, trial: FrozenTrial): boolean;
  /** A pruned trial to continue. Called under the journal's lock. */
  nextPromotion?(standings: Standings): FrozenTrial | undefined;
}

/** Runs every trial to its end. */
export function noPruner(): Pruner {
  return { name: 'none', shouldPrune: () => false };
}

export interface MedianPrunerOptions {
  /** No pruning until this many trials are complete; 5 by default. */
  readonly startupTrials?: number;
  /** No pruning up to this step; 0 by default. */
  readonly warmupSteps?: number;
  /** Steps between decisions; 1 by default. */
  readonly interval?: number;
}

/** Prunes a trial whose best value so far is worse than the median of the complete trials' values at the same step. */
export function medianPruner(options: MedianPrunerOptions = {}): Pruner {
  checkOptions<MedianPrunerOptions>('medianPruner', options, {
    startupTrials: 'optional',
    warmupSteps: 'optional',
    interval: 'optional',
  });
  const { startupTrials = 5, warmupSteps = 0, interval = 1 } = options;
  checkWhole('median pruner', 'startupTrials', startupTrials, 0);
  checkWhole('median pruner', 'warmupSteps', warmupSteps, 0);
  checkWhole('median pruner', 'interval', interval, 1);
  return {
    name: 'median',
    shouldPrune({ direction, trials }, trial) {
      const [step, earlier] = lastTwoSteps(trial);
      if (step === undefined || step <= warmupSteps) return false;
      const complete = trials.filter(({ state }) => state === 'complete');
      if (complete.length < startupTrials) return false;
      // The decision is made at the first report of each interval.
      const intervalStart = Math.floor((step - warmupSteps - 1) / interval) * interval + warmupSteps + 1;
      if (earlier !== undefined && earlier >= intervalStart) return false;
      const values = complete
        .map(({ intermediateValues }) => intermediateValues.get(step))
        .filter((value) => value !== undefined && !Number.isNaN(value)) as number[];
      if (values.length === 0) return false;
      let best = Number.POSITIVE_INFINITY;
      for (const value of trial.intermediateValues.values()) best = Math.min(best, lossOf(value, direction));
      return best > median(values.map((value) => lossOf(value, direction)));
    },
  };
}

export interface AshaPrunerOptions {
  /** r: steps to the end of the lowest rung; 1 by default. */
  readonly minResource?: number;
  /** η: one of this many trials continues; 4 by default. */
  readonly reductionFactor?: number;
}

/** Asynchronous successive halving. */
export function ashaPruner(options: AshaPrunerOptions = {}): Pruner {
  checkOptions<AshaPrunerOptions>('ashaPruner', options, {
    minResource: 'optional',
    reductionFactor: 'optional',
  });
  const { minResource = 1, reductionFactor = 4 } = options;
  checkWhole('asha', 'minResource', minResource, 1);
  checkWhole('asha', 'reductionFactor', reductionFactor, 2);
  const rungEnd = (rung: number): number => minResource * reductionFactor ** rung;
  /** The highest rung that `step` completes, or −1. */
  const rungAt = (step: number | undefined): number => {
    let rung = -1;
    while (step !== undefined && rungEnd(rung + 1) <= step) rung++;
    return rung;
  };

  /** The loss at the end of a rung: at its step, or at the first reported step after it. */
  const lossAt = (trial: FrozenTrial, rung: number, direction: Direction): number | undefined => {
    const step = firstStepFrom(trial, rungEnd(rung));
    return step === undefined ? undefined : lossOf(trial.intermediateValues.get(step)!, direction);
  };

  /** The worst loss among the best 1/η of a rung, or −Infinity while too few trials have reached it. */
  const thresholdOf = (trials: readonly FrozenTrial[], rung: number, direction: Direction): number => {
    const losses = trials.map((trial) => lossAt(trial, rung, direction)).filter((loss) => loss !== undefined);
    const best = losses.sort((a, b) => a - b)[Math.floor(losses.length / reductionFactor) - 1];
    return best ?? Number.NEGATIVE_INFINITY;
  };

  return {
    name: 'asha',
    shouldPrune({ direction, trials }, trial) {
      const [step, earlier] = lastTwoSteps(trial);
      const rung = rungAt(step);
      if (rung < 0 || rungAt(earlier) === rung) return false;
      const loss = lossAt(trial, rung, direction)!;
      return loss === Number.POSITIVE_INFINITY || loss > thresholdOf(latestTrials(trials), rung, direction);
    },
    nextPromotion({ direction, trials }) {
      const latest = latestTrials(trials);
      const paused = latest.filter(({ state }) => state === 'pruned');
      const rungs = paused.map((trial) => rungAt(lastTwoSteps(trial)[0]));
      const highest = rungs.reduce((high, rung) => Math.max(high, rung), -1);
      for (let rung = highest; rung >= 0; rung--) {
        const threshold = thresholdOf(latest, rung, direction);
        let best: { readonly trial: FrozenTrial; readonly loss: number } | undefined;
        for (const [index, trial] of paused.entries()) {
          if (rungs[index] !== rung) continue;
          const loss = lossAt(trial, rung, direction)!;
          if (loss > threshold || loss === Number.POSITIVE_INFINITY) continue;
          if (best === undefined || loss < best.loss) best = { trial, loss };
        }
        if (best !== undefined) return best.trial;
      }
      return undefined;
    },
  };
}

/** Smaller is better. */
function lossOf(value: number, direction: Direction): number {
  if (Number.isNaN(value)) return Number.POSITIVE_INFINITY;
  return direction === 'minimize' ? value : -value;
}

/** The largest reported step and the one before it. */
function lastTwoSteps({
  intermediateValues,
}: FrozenTrial): readonly [number | undefined, number | undefined] {
  let last: number | undefined;
  let earlier: number | undefined;
  for (const step of intermediateValues.keys()) {
    if (last === undefined || step > last) [last, earlier] = [step, last];
    else if (earlier === undefined || step > earlier) earlier = step;
  }
  return [last, earlier];
}

function firstStepFrom({ intermediateValues }: FrozenTrial, least: number): number | undefined {
  let first: number | undefined;
  for (const step of intermediateValues.keys()) {
    if (step >= least && (first === undefined || step < first)) first = step;
  }
  return first;
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}
