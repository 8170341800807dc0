/**
 * How a trial passes from one worker to another: as itself, waiting again, or failed and continued by a successor.
 *
 * Invariant: a writer may die between two records, so a trial that passes on is never lost after the first of them: its
 * successor comes before its end, and a state comes before what only describes it.
 */
import { attributes, fixedParams, retriesOf } from './lineage.ts';
import { createTrialRecord, type JournalRecord, stateRecord, trialUserAttrRecord } from './records.ts';
import type { FrozenTrial } from './replay.ts';

type Append = (record: JournalRecord) => void;

/** Whether a worker for which `is` holds runs the trial. */
export function isRunningFor({ state, userAttrs }: FrozenTrial, is: (worker: string) => boolean): boolean {
  const worker = userAttrs[attributes.worker];
  return state === 'running' && typeof worker === 'string' && is(worker);
}

/** Fails a trial. `log` is the end of its log. */
export function failTrial({ id }: FrozenTrial, append: Append, reason?: string, log?: string): void {
  if (log !== undefined) append(trialUserAttrRecord(id, attributes.log, log));
  if (reason !== undefined) append(trialUserAttrRecord(id, attributes.reason, reason));
  append(stateRecord(id, 'fail'));
}

/** Sets a running trial waiting. @returns false if it reached the limit of its retries and was failed. */
export function returnTrial(
  trial: FrozenTrial,
  append: Append,
  reason: string,
  limit: number = Number.POSITIVE_INFINITY,
): boolean {
  const attempt = retriesOf(trial) + 1;
  if (attempt > limit) {
    failTrial(trial, append, reason);
    return false;
  }
  append(stateRecord(trial.id, 'waiting'));
  append(trialUserAttrRecord(trial.id, attributes.reason, reason));
  // Without a worker, so that the end of its last one does not fail it.
  append(trialUserAttrRecord(trial.id, attributes.worker, null));
  if (Number.isFinite(limit)) append(trialUserAttrRecord(trial.id, attributes.retry, attempt));
  return true;
}

/** Queues a failed trial again. @returns false if it has had `limit` retries, or another trial continues it. */
export function queueAgain(
  study: number,
  trial: FrozenTrial,
  trials: readonly FrozenTrial[],
  append: Append,
  limit: number,
): boolean {
  const attempt = retriesOf(trial) + 1;
  const isContinued = trials.some((other) => other.userAttrs[attributes.parent] === trial.number);
  if (attempt > limit || isContinued) return false;
  append(successorRecord(study, trial, 'waiting', { [attributes.retry]: attempt }));
  return true;
}

/** The record of a trial that continues a finished one. */
export function successorRecord(
  study: number,
  parent: FrozenTrial,
  state: 'running' | 'waiting',
  attrs: Readonly<Record<string, unknown>>,
): JournalRecord {
  return createTrialRecord(study, {
    state,
    params: parent.params,
    distributions: parent.distributions,
    intermediateValues: parent.intermediateValues,
    systemAttrs: Object.hasOwn(parent.systemAttrs, fixedParams)
      ? { [fixedParams]: parent.systemAttrs[fixedParams] }
      : {},
    userAttrs: {
      [attributes.parent]: parent.number,
      ...(retriesOf(parent) > 0 && { [attributes.retry]: retriesOf(parent) }),
      ...attrs,
    },
  });
}
