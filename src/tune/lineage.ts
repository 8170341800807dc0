/**
 * Families of trials. A finished trial is frozen, so a promotion or a retry is a new trial with the same parameters. It
 * names its predecessor in the attribute `vgg:parent` and copies its intermediate values. A family is one configuration:
 * it counts once, with its latest trial.
 */
import { isObject } from '../options.ts';
import type { Params } from './distributions.ts';
import type { FrozenTrial } from './replay.ts';

/** Our attributes of trials in the journal. */
export const attributes = {
  /** Number of the trial that this one continues. */
  parent: 'vgg:parent',
  /** Which attempt this is after failures: 1 for the first retry. */
  retry: 'vgg:retry',
  /** Which worker runs the trial. */
  worker: 'vgg:worker',
  /** Why a trial failed, or waits again. */
  reason: 'vgg:reason',
  /** The last lines of a failed trial's log. */
  log: 'vgg:log',
} as const;

/** Optuna's system attribute for the values that a trial was enqueued with. */
export const fixedParams = 'fixed_params';

/** The values that the trial was enqueued with. */
export function enqueuedParams(trial: FrozenTrial): Params {
  const params = trial.systemAttrs[fixedParams];
  return isObject(params) ? (params as Params) : {};
}

/** The number of the trial that `trial` continues. */
export function parentOf(trial: FrozenTrial): number | undefined {
  const parent = trial.userAttrs[attributes.parent];
  // Only earlier trials: the journal may contain anything, and a cycle would never end.
  return typeof parent === 'number' && Number.isInteger(parent) && parent >= 0 && parent < trial.number
    ? parent
    : undefined;
}

/** How often the trial was retried after failures. */
export function retriesOf(trial: FrozenTrial): number {
  const retries = trial.userAttrs[attributes.retry];
  return typeof retries === 'number' && retries > 0 ? retries : 0;
}

/** The latest trial of each family, by number. If two trials continue the same one (only other programs do so), both count. */
export function latestTrials(trials: readonly FrozenTrial[]): readonly FrozenTrial[] {
  const continued = new Set(trials.map(parentOf));
  return trials.filter(({ number }) => !continued.has(number));
}

/**
 * How the states of trials are shown: a failed trial that another one continues, after an interruption for instance, is
 * `continued`.
 */
export function shownStates(trials: readonly FrozenTrial[]): (trial: FrozenTrial) => string {
  const latest = new Set(latestTrials(trials));
  return (trial) => (trial.state === 'fail' && !latest.has(trial) ? 'continued' : trial.state);
}

/** Number of configurations: trials that do not continue another one. */
export function configurationCount(trials: readonly FrozenTrial[]): number {
  return trials.reduce((count, trial) => count + (parentOf(trial) === undefined ? 1 : 0), 0);
}

/** The largest step that was reported. */
export function lastStep(trial: Pick<FrozenTrial, 'intermediateValues'>): number | undefined {
  let last: number | undefined;
  for (const step of trial.intermediateValues.keys()) if (last === undefined || step > last) last = step;
  return last;
}

/** How many configurations failed, and why the last one did; undefined unless all trials failed. */
export function allFailed(
  trials: readonly FrozenTrial[],
): { readonly count: number; readonly reason: string | undefined } | undefined {
  if (trials.length === 0 || trials.some(({ state }) => state !== 'fail')) return undefined;
  const reason = trials.at(-1)!.userAttrs[attributes.reason];
  return { count: latestTrials(trials).length, reason: typeof reason === 'string' ? reason : undefined };
}
