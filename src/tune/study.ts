/**
 * A study: trials of one objective in a journal. A sampler proposes them, and a pruner ends some of them early. `ask` for
 * a trial, `report` its progress and `tell` its result, or let `optimize` do all of it. Any number of processes and
 * machines can do so at once, and so can Optuna. Needs Node.
 *
 * Invariant: the next trial is chosen under the journal's lock, from everything written before. So no grid point and no
 * promotion is given out twice, and equal histories lead to equal proposals.
 */
import { random, streams } from '../data/random.ts';
import { DataError, UsageError } from '../errors.ts';
import { checkOptions, shown } from '../options.ts';
import { type Params, toInternal } from './distributions.ts';
import { failTrial, isRunningFor, queueAgain, returnTrial, successorRecord } from './handover.ts';
import { Journal, type Transaction } from './journal.ts';
import {
  attributes,
  configurationCount,
  enqueuedParams,
  fixedParams,
  lastStep,
  latestTrials,
} from './lineage.ts';
import { type Objective, type OptimizeOptions, optimize } from './optimize.ts';
import { noPruner, type Pruner } from './pruners.ts';
import {
  createStudyRecord,
  createTrialRecord,
  type Direction,
  isFinished,
  type JournalRecord,
  paramRecord,
  stateRecord,
  studyUserAttrRecord,
  trialUserAttrRecord,
} from './records.ts';
import type { FrozenTrial, StudyRecord } from './replay.ts';
import { randomSampler } from './samplers/random.ts';
import type { Sampler } from './samplers/sampler.ts';
import {
  checkCompatible,
  distributionsOf,
  impliedDistributions,
  pointOf,
  problemsOf,
  type SearchSpace,
} from './search-space.ts';
import {
  type AskOptions,
  type LoadStudyOptions,
  loadStudyKeys,
  type Outcome,
  type StudyOptions,
  studyKeys,
} from './study-options.ts';
import { Trial } from './trial.ts';

/**
 * Creates a study.
 * @throws UsageError if one of this name exists (unless `loadIfExists`) or contradicts the options.
 * @throws DataError if the journal cannot be read.
 */
export async function createStudy(options: StudyOptions): Promise<Study> {
  checkOptions<StudyOptions>('createStudy', options, studyKeys);
  const { name, direction, space, loadIfExists = false } = options;
  if (direction !== 'minimize' && direction !== 'maximize') {
    throw new UsageError(`createStudy: direction ${shown(direction)} is neither "minimize" nor "maximize"`);
  }
  if (space !== undefined) options.sampler?.check?.(space);
  const journal = typeof options.journal === 'string' ? await Journal.open(options.journal) : options.journal;
  await journal.transact((state, append) => {
    const existing = state.studyNamed(name);
    if (existing !== undefined) {
      if (!loadIfExists) {
        throw new UsageError(
          `${journal.path}: study "${name}" already exists; load it, or choose another name`,
        );
      }
      return;
    }
    append(createStudyRecord(name, direction));
    if (space?.source === undefined) return;
    append(studyUserAttrRecord(state.studyNamed(name)!.id, spaceAttribute, space.source));
  });
  const study = new Study(journal, options);
  if (study.direction === direction) return study;
  throw new UsageError(
    `${journal.path}: study "${name}" must ${study.direction} its value, not ${direction} it; use the study's direction, or another name`,
  );
}

/**
 * Opens an existing study.
 * @throws UsageError if it does not exist, or contradicts the options. @throws DataError if there is no journal.
 */
export function loadStudy(options: LoadStudyOptions): Study {
  checkOptions<LoadStudyOptions>('loadStudy', options, loadStudyKeys);
  const { journal } = options;
  return new Study(typeof journal === 'string' ? new Journal(journal, { create: false }) : journal, options);
}

/** The study's attribute with the source of its space. */
export const spaceAttribute = 'vgg:space';

/** A study, from `createStudy` or `loadStudy`. */
export class Study implements Disposable {
  readonly journal: Journal;
  readonly direction: Direction;
  readonly space: SearchSpace;
  readonly #id: number;
  readonly #sampler: Sampler;
  readonly #pruner: Pruner;
  readonly #seed: number;
  readonly #worker: string | undefined;

  constructor(journal: Journal, options: LoadStudyOptions) {
    const { name, sampler = randomSampler(), pruner = noPruner(), seed = 0, worker } = options;
    this.journal = journal;
    this.#sampler = sampler;
    this.#pruner = pruner;
    this.#seed = seed;
    this.#worker = worker;
    this.space = options.space ?? { parameters: [], impossibility: () => undefined };
    journal.sync();
    const record = journal.state.studyNamed(name);
    if (record === undefined) {
      const names = [...journal.state.studies.values()].map((study) => study.name);
      throw new UsageError(
        `${journal.path}: there is no study "${name}"; ${names.length === 0 ? 'the journal has no studies' : `the journal has ${names.join(', ')}`}`,
      );
    }
    const [direction] = record.directions;
    if (record.directions.length !== 1 || direction === undefined || direction === 'notSet') {
      throw new UsageError(
        `${journal.path}: study "${name}" does not have exactly one objective with a direction, so it cannot be continued here`,
      );
    }
    this.#id = record.id;
    this.direction = direction;
    checkCompatible(this.space, record.distributions);
  }

  get name(): string {
    return this.#record.name;
  }

  /** Attributes of the study as a whole. */
  get userAttrs(): Readonly<Record<string, unknown>> {
    return this.#record.userAttrs;
  }

  /** All trials by number, including those of other processes. Each access reads what is new. */
  get trials(): readonly FrozenTrial[] {
    this.journal.sync();
    return this.#record.trials;
  }

  /** The complete trial with the best value; the first one if several are equal. */
  get bestTrial(): FrozenTrial | undefined {
    let best: FrozenTrial | undefined;
    for (const trial of this.trials) {
      if (trial.state !== 'complete' || trial.value === undefined || Number.isNaN(trial.value)) continue;
      if (best === undefined || this.isBetter(trial.value, best.value!)) best = trial;
    }
    return best;
  }

  /** Whether one value is better than another. */
  isBetter(value: number, other: number): boolean {
    return this.direction === 'minimize' ? value < other : value > other;
  }

  /**
   * Starts the next trial: a waiting one, else a promotion, else a new configuration. Undefined if there is none at the
   * moment (a running trial may still earn a promotion).
   */
  async ask(options: AskOptions = {}): Promise<Trial | undefined> {
    checkOptions<AskOptions>('ask', options, { trials: 'optional' });
    const trial = await this.#transact((record, append, nextId) => {
      for (const waiting of record.trials) {
        if (waiting.state === 'waiting' && this.#start(waiting, record, append)) return waiting;
      }
      const promoted = this.#pruner.nextPromotion?.({ direction: this.direction, trials: record.trials });
      const id = nextId();
      if (promoted !== undefined) append(this.#successor(promoted, 'running', {}));
      else {
        if (configurationCount(record.trials) >= (options.trials ?? Number.POSITIVE_INFINITY))
          return undefined;
        const params = this.#sample(record, record.trials.length, {});
        if (params === undefined) return undefined;
        append(
          createTrialRecord(this.#id, {
            state: 'running',
            params,
            distributions: distributionsOf(this.space, params),
            userAttrs: this.#workerAttrs(),
          }),
        );
      }
      return this.journal.state.trial(id)!;
    });
    return trial && new Trial(this, this.#pruner, trial.id);
  }

  /**
   * Ends a trial. The value NaN fails it.
   * @returns false, without recording anything, if it has already ended, for example because its worker was considered
   * dead.
   */
  async tell(trial: Trial | FrozenTrial, outcome: Outcome): Promise<boolean> {
    return this.#transact((record, append) => {
      const known = this.frozen(trial.id);
      if (isFinished(known.state)) return false;
      if (typeof outcome === 'number' && !Number.isNaN(outcome)) {
        append(stateRecord(known.id, 'complete', [outcome]));
        return true;
      }
      if (typeof outcome !== 'number' && outcome.state === 'pruned') {
        const step = lastStep(known);
        const value = step === undefined ? Number.NaN : known.intermediateValues.get(step)!;
        append(stateRecord(known.id, 'pruned', Number.isNaN(value) ? null : [value]));
        return true;
      }
      const { reason, retries = 0 } = typeof outcome === 'number' ? { reason: 'the value is NaN' } : outcome;
      queueAgain(this.#id, known, record.trials, append, retries);
      failTrial(known, append, reason);
      return true;
    });
  }

  /**
   * Queues a point to be tried before others. The sampler chooses values that are left out.
   * @throws UsageError if the space has no such values.
   */
  async enqueue(
    params: Params,
    options: { readonly userAttrs?: FrozenTrial['userAttrs'] } = {},
  ): Promise<void> {
    checkOptions<typeof options>('enqueue', options, { userAttrs: 'optional' });
    const problems = this.space.parameters.length === 0 ? [] : problemsOf(this.space, params);
    if (problems.length > 0) throw new UsageError(`enqueue: ${problems.join('; ')}`);
    await this.#transact((_, append) => {
      append(
        createTrialRecord(this.#id, {
          state: 'waiting',
          userAttrs: options.userAttrs ?? {},
          systemAttrs: { [fixedParams]: params },
        }),
      );
    });
  }

  /**
   * Queues a failed trial again: a new waiting trial with the same values continues it.
   * @returns false if it did not fail, was already retried, or has had `limit` retries.
   */
  async retry(trial: FrozenTrial, limit: number): Promise<boolean> {
    return this.#transact((record, append) => {
      const known = this.frozen(trial.id);
      return known.state === 'fail' && queueAgain(this.#id, known, record.trials, append, limit);
    });
  }

  /**
   * Hands on a running trial when its worker is told to end: a waiting trial continues it, which does not count as a
   * retry.
   * @returns false if it has already ended.
   */
  async release(trial: Trial | FrozenTrial, reason: string): Promise<boolean> {
    return this.#transact((_, append) => {
      const known = this.frozen(trial.id);
      if (isFinished(known.state)) return false;
      append(this.#successor(known, 'waiting', {}));
      failTrial(known, append, reason);
      return true;
    });
  }

  /**
   * Lets a running trial wait again, under its number: for a worker that a fault of its machine ends, see `machineFault`.
   * Its values, reports and run stay. With a `limit` this counts as a retry.
   * @returns false if it has already ended, or was failed because it reached the limit.
   */
  async giveBack(trial: Trial | FrozenTrial, reason: string, limit?: number): Promise<boolean> {
    return this.#transact((_, append) => {
      const known = this.frozen(trial.id);
      return known.state === 'running' && returnTrial(known, append, reason, limit);
    });
  }

  /** Gives back the running trials of workers that ended without telling their results. @returns these trials. */
  async giveBackTrialsOf(
    hasLeft: (worker: string) => boolean,
    reason: string,
  ): Promise<readonly FrozenTrial[]> {
    return this.#transact((record, append) => {
      const left = record.trials.filter((trial) => isRunningFor(trial, hasLeft));
      for (const trial of left) returnTrial(trial, append, reason);
      return left;
    });
  }

  /**
   * Queues every failed trial that no other one continues again, and counts its retries from 0.
   * @returns their numbers.
   */
  async retryFailed(): Promise<readonly number[]> {
    return this.#transact((record, append) => {
      const failed = latestTrials(record.trials).filter(({ state }) => state === 'fail');
      for (const trial of failed) append(this.#successor(trial, 'waiting', { [attributes.retry]: 0 }));
      return failed.map(({ number }) => number);
    });
  }

  /**
   * Fails the running trials of workers that are gone. `logOf` returns the end of a trial's log, stored as `vgg:log`.
   * With `retries`, each trial is also queued again, as `retry` does.
   * @returns these trials.
   */
  async failTrialsOf(
    isGone: (worker: string) => boolean,
    reason: string,
    logOf: (trial: FrozenTrial) => string | undefined = () => undefined,
    retries: number = 0,
  ): Promise<readonly FrozenTrial[]> {
    return this.#transact((record, append) => {
      const gone = record.trials.filter((trial) => isRunningFor(trial, isGone));
      for (const trial of gone) {
        queueAgain(this.#id, trial, record.trials, append, retries);
        failTrial(trial, append, reason, logOf(trial));
      }
      return gone;
    });
  }

  /** Sets an attribute of the study. */
  async setUserAttr(key: string, value: unknown): Promise<void> {
    await this.journal.append([studyUserAttrRecord(this.#id, key, value)]);
  }

  /**
   * Asks, runs and tells until nothing is left to try. A trial whose objective throws `TrialPruned` is pruned; any
   * other error fails it. A fault of the machine, such as a full disk, is no result: the trial waits again, and
   * `optimize` rejects with the error.
   */
  async optimize(objective: Objective, options: OptimizeOptions = {}): Promise<void> {
    return optimize(this, objective, options);
  }

  /** Releases the journal's lock. */
  close(): void {
    this.journal.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** A trial as read so far, without reading the journal again. */
  frozen(id: number): FrozenTrial {
    const trial = this.journal.state.trial(id);
    if (trial === undefined) throw new DataError(`${this.journal.path}: trial ${id} does not exist any more`);
    return trial;
  }

  get #record(): StudyRecord {
    const record = this.journal.state.studies.get(this.#id);
    if (record === undefined) throw new DataError(`${this.journal.path}: the study was deleted`);
    return record;
  }

  #transact<T>(
    decide: (record: StudyRecord, append: Parameters<Transaction<T>>[1], nextId: () => number) => T,
  ): Promise<T> {
    return this.journal.transact((state, append) => decide(this.#record, append, () => state.trialCount));
  }

  #workerAttrs(): Readonly<Record<string, unknown>> {
    return this.#worker === undefined ? {} : { [attributes.worker]: this.#worker };
  }

  #sample(record: StudyRecord, number: number, fixed: Params): Params | undefined {
    if (this.space.parameters.length === 0) {
      if (record.trials.length > 0) return undefined;
      throw new UsageError(
        `study "${record.name}" has no space to draw from; give it one, or enqueue points first`,
      );
    }
    return this.#sampler.sample({
      space: this.space,
      direction: this.direction,
      trials: record.trials,
      fixed,
      seed: this.#seed,
      random: random(this.#seed, streams.search, number),
    });
  }

  /** Starts a waiting trial with all its values. @returns false if it cannot run and was failed. */
  #start(waiting: FrozenTrial, record: StudyRecord, append: (record: JournalRecord) => void): boolean {
    const given = { ...enqueuedParams(waiting), ...waiting.params };
    const hasSpace = this.space.parameters.length > 0;
    const params = hasSpace ? this.#complete(given, waiting, record) : given;
    if (typeof params === 'string') {
      failTrial(waiting, append, params);
      return false;
    }
    // The reason why it was given back no longer holds.
    if (waiting.userAttrs[attributes.reason] != null) {
      append(trialUserAttrRecord(waiting.id, attributes.reason, null));
    }
    const distributions = hasSpace
      ? distributionsOf(this.space, params)
      : impliedDistributions(params, record);
    for (const [name, distribution] of Object.entries(distributions)) {
      if (Object.hasOwn(waiting.params, name)) continue;
      append(paramRecord(waiting.id, name, toInternal(distribution, params[name]!)!, distribution));
    }
    for (const [key, value] of Object.entries(this.#workerAttrs())) {
      append(trialUserAttrRecord(waiting.id, key, value));
    }
    // Last: if this process dies while it writes, the trial still waits, or its worker is known.
    append(stateRecord(waiting.id, 'running'));
    return true;
  }

  /** The point of a waiting trial, or the reason why it has none. */
  #complete(fixed: Params, waiting: FrozenTrial, record: StudyRecord): Params | string {
    const problems = problemsOf(this.space, fixed);
    if (problems.length > 0) return problems.join('; ');
    const point = pointOf(this.space, fixed);
    if (point !== undefined) return this.space.impossibility(point) ?? point;
    try {
      return (
        this.#sample(record, waiting.number, fixed) ?? 'the sampler has no further point with these values'
      );
    } catch (error) {
      if (error instanceof UsageError) return error.message;
      throw error;
    }
  }

  /** A trial that continues a finished one. */
  #successor(
    parent: FrozenTrial,
    state: 'running' | 'waiting',
    attrs: Readonly<Record<string, unknown>>,
  ): JournalRecord {
    return successorRecord(this.#id, parent, state, {
      ...attrs,
      ...(state === 'running' && this.#workerAttrs()),
    });
  }
}
