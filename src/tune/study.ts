/**
 * A study: trials of one objective in a journal, proposed by a sampler and ended early by a pruner. In the field's
 * shape: `ask` for a trial, `report` its progress, `tell` its result, or leave all of it to `optimize`. Any number of
 * processes and machines may do so at once, and so may Optuna. Needs Node.
 *
 * Invariant: what to try next is decided under the journal's lock from everything that was written before. So no point
 * of a grid and no promotion is given out twice, and equal histories lead to equal proposals.
 */
import { random, streams } from '../data/random.ts';
import { DataError, UsageError } from '../errors.ts';
import { checkPath } from '../paths.ts';
import { type Params, type ParamValue, toInternal } from './distributions.ts';
import { Journal, type Transaction } from './journal.ts';
import { attributes, configurationCount, lastStep, retriesOf } from './lineage.ts';
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
import { checkCompatible, distributionsOf, pointOf, problemsOf, type SearchSpace } from './search-space.ts';
import { Trial, TrialPruned } from './trial.ts';

export interface LoadStudyOptions {
  /** The journal or its path. */
  readonly journal: Journal | string;
  readonly name: string;
  /** What is searched. Without one only trials that were enqueued with all their values can be asked for. */
  readonly space?: SearchSpace;
  /** Random by default. */
  readonly sampler?: Sampler;
  /** None by default. */
  readonly pruner?: Pruner;
  /** Of the sampler; 0 by default. */
  readonly seed?: number;
  /** Kept with each trial as `vgg:worker`, so that a dead worker's trials are found. */
  readonly worker?: string;
}

export interface StudyOptions extends LoadStudyOptions {
  readonly direction: Direction;
  /** Whether to go on with a study of this name that exists already; otherwise that is an error. */
  readonly loadIfExists?: boolean;
}

export interface AskOptions {
  /** No new configuration once there are so many in the study; promotions, retries and enqueued ones still come. */
  readonly trials?: number;
}

/** How a trial ended: with its value, or without. */
export type Outcome =
  | number
  | { readonly state: 'pruned' }
  | { readonly state: 'fail'; readonly reason?: string };

export interface OptimizeOptions extends AskOptions {
  /** Trials at the same time; 1 by default. */
  readonly jobs?: number;
  /** No further trials once it aborts; those that run are waited for. */
  readonly signal?: AbortSignal;
  /** Whether to go on after an objective threw, which fails its trial; otherwise `optimize` rejects with the error. */
  readonly shouldCatch?: (error: unknown, trial: Trial) => boolean;
}

/** Yields the value of a trial; throws `TrialPruned` where it ended early. */
export type Objective = (trial: Trial) => number | Promise<number>;

/**
 * A new study.
 * @throws UsageError where one of this name exists (unless `loadIfExists`) or contradicts the options.
 * @throws DataError where the journal cannot be read.
 */
export async function createStudy(options: StudyOptions): Promise<Study> {
  const { name, direction, space, loadIfExists = false } = options;
  const journal = journalOf(options.journal, true);
  await journal.transact((state, append) => {
    const existing = state.studyNamed(name);
    if (existing !== undefined) {
      if (!loadIfExists) {
        throw new UsageError(`${journal.path}: study "${name}" exists; load it, or choose another name`);
      }
      return;
    }
    append(createStudyRecord(name, direction));
    if (space?.source === undefined) return;
    append(studyUserAttrRecord(state.studyNamed(name)!.id, spaceAttribute, space.source));
  });
  const study = new Study(journal, options);
  if (study.direction === direction) return study;
  throw new UsageError(`${journal.path}: study "${name}" is to ${study.direction}, not to ${direction}`);
}

/**
 * A study that exists.
 * @throws UsageError where it does not, or contradicts the options. @throws DataError where there is no journal.
 */
export function loadStudy(options: LoadStudyOptions): Study {
  return new Study(journalOf(options.journal, false), options);
}

const journalOf = (journal: Journal | string, create: boolean): Journal =>
  typeof journal === 'string' ? new Journal(checkPath('journal', journal), { create }) : journal;

/** The study's attribute that holds the source of its space. */
export const spaceAttribute = 'vgg:space';

/** Made by `createStudy` and `loadStudy`. */
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
        `${journal.path}: there is no study "${name}"; ${names.length === 0 ? 'it has none' : `it has ${names.join(', ')}`}`,
      );
    }
    const [direction] = record.directions;
    if (record.directions.length !== 1 || direction === undefined || direction === 'notSet') {
      throw new UsageError(`${journal.path}: study "${name}" has no single objective with a direction`);
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

  /** All trials by number, those of other processes included. Running ones grow with each call. */
  get trials(): readonly FrozenTrial[] {
    this.journal.sync();
    return this.#record.trials;
  }

  /** The complete trial with the best value; the first of equals. */
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
   * The next trial, already running: one that waits, else a promotion, else a new configuration. Undefined where there
   * is none (now: a trial that runs may still earn a promotion).
   */
  async ask(options: AskOptions = {}): Promise<Trial | undefined> {
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
   * Ends a trial. A value that is NaN fails it.
   * @returns false where it has ended before, for instance because its worker was taken for dead; nothing is recorded
   * then.
   */
  async tell(trial: Trial | FrozenTrial, outcome: Outcome): Promise<boolean> {
    return this.#transact((_, append) => {
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
      const reason = typeof outcome === 'number' ? 'the value is NaN' : outcome.reason;
      if (reason !== undefined) append(trialUserAttrRecord(known.id, attributes.reason, reason));
      append(stateRecord(known.id, 'fail'));
      return true;
    });
  }

  /**
   * Lets a point be tried before others; what it leaves out the sampler chooses.
   * @throws UsageError where the space has no such values.
   */
  async enqueue(
    params: Params,
    options: { readonly userAttrs?: FrozenTrial['userAttrs'] } = {},
  ): Promise<void> {
    const problems = this.space.parameters.length === 0 ? [] : problemsOf(this.space, params);
    if (problems.length > 0) throw new UsageError(`enqueue: ${problems.join('; ')}`);
    await this.#transact((_, append) => {
      append(
        createTrialRecord(this.#id, {
          state: 'waiting',
          userAttrs: options.userAttrs ?? {},
          systemAttrs: { fixed_params: params },
        }),
      );
    });
  }

  /**
   * Lets a failed trial be tried again, from where it was: a new waiting trial with its values.
   * @returns false where it did not fail, was retried already, or has been tried `limit` times after the first.
   */
  async retry(trial: FrozenTrial, limit: number): Promise<boolean> {
    return this.#transact((record, append) => {
      const known = this.frozen(trial.id);
      const attempt = retriesOf(known) + 1;
      if (known.state !== 'fail' || attempt > limit) return false;
      if (record.trials.some((other) => other.userAttrs[attributes.parent] === known.number)) return false;
      append(this.#successor(known, 'waiting', { [attributes.retry]: attempt }));
      return true;
    });
  }

  /**
   * Hands a running trial on, as a worker does that is told to end: a waiting trial goes on from it, and it counts as
   * no retry.
   * @returns false where it has ended before.
   */
  async release(trial: Trial | FrozenTrial, reason: string): Promise<boolean> {
    return this.#transact((_, append) => {
      const known = this.frozen(trial.id);
      if (isFinished(known.state)) return false;
      append(trialUserAttrRecord(known.id, attributes.reason, reason));
      append(stateRecord(known.id, 'fail'));
      append(this.#successor(known, 'waiting', {}));
      return true;
    });
  }

  /**
   * Fails the running trials of workers that are gone. `logOf` yields what a trial left to read: kept as `vgg:log`.
   * @returns them, for `retry`.
   */
  async failTrialsOf(
    isGone: (worker: string) => boolean,
    reason: string,
    logOf: (trial: FrozenTrial) => string | undefined = () => undefined,
  ): Promise<readonly FrozenTrial[]> {
    return this.#transact((record, append) => {
      const gone = record.trials.filter(({ state, userAttrs }) => {
        const worker = userAttrs[attributes.worker];
        return state === 'running' && typeof worker === 'string' && isGone(worker);
      });
      for (const trial of gone) {
        const log = logOf(trial);
        if (log !== undefined) append(trialUserAttrRecord(trial.id, attributes.log, log));
        append(trialUserAttrRecord(trial.id, attributes.reason, reason));
        append(stateRecord(trial.id, 'fail'));
      }
      return gone;
    });
  }

  /** Sets an attribute of the study. */
  async setUserAttr(key: string, value: unknown): Promise<void> {
    await this.journal.append([studyUserAttrRecord(this.#id, key, value)]);
  }

  /**
   * Asks, runs and tells until there is nothing left to try. A trial whose objective throws `TrialPruned` is pruned; any
   * other error fails it.
   */
  async optimize(objective: Objective, options: OptimizeOptions = {}): Promise<void> {
    const { jobs = 1, signal, shouldCatch = () => false, ...askOptions } = options;
    if (!Number.isSafeInteger(jobs) || jobs < 1) {
      throw new UsageError(`optimize: jobs ${jobs} is not a whole number ≥ 1`);
    }
    const running = new Set<Promise<void>>();
    const errors: unknown[] = [];
    const mayGoOn = (): boolean => errors.length === 0 && signal?.aborted !== true;
    for (;;) {
      // One that ends may have earned a promotion: only when none runs is "nothing left" the end.
      while (running.size < jobs && mayGoOn()) {
        const trial = await this.ask(askOptions);
        if (trial === undefined) break;
        const run = this.#run(objective, trial, shouldCatch)
          .catch((error: unknown) => void errors.push(error))
          .finally(() => running.delete(run));
        running.add(run);
      }
      if (running.size === 0) break;
      await Promise.race(running);
    }
    if (errors.length > 0) throw errors[0];
  }

  /** Forgets the journal's lock. */
  close(): void {
    this.journal.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** A trial as the journal tells it now, without reading on. */
  frozen(id: number): FrozenTrial {
    const trial = this.journal.state.trial(id);
    if (trial === undefined) throw new DataError(`${this.journal.path}: trial ${id} is gone`);
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

  async #run(
    objective: Objective,
    trial: Trial,
    shouldCatch: NonNullable<OptimizeOptions['shouldCatch']>,
  ): Promise<void> {
    try {
      await this.tell(trial, await objective(trial));
    } catch (error) {
      if (error instanceof TrialPruned) {
        await this.tell(trial, { state: 'pruned' });
        return;
      }
      await this.tell(trial, {
        state: 'fail',
        reason: error instanceof Error ? error.message : String(error),
      });
      if (!shouldCatch(error, trial)) throw error;
    }
  }

  #workerAttrs(): Readonly<Record<string, unknown>> {
    return this.#worker === undefined ? {} : { [attributes.worker]: this.#worker };
  }

  #sample(record: StudyRecord, number: number, fixed: Params): Params | undefined {
    if (this.space.parameters.length === 0) {
      throw new UsageError(
        `study "${record.name}" has no space to draw from; load it with one, or enqueue points`,
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

  /** Sets a waiting trial running with all its values. @returns false where it cannot run, and was failed. */
  #start(waiting: FrozenTrial, record: StudyRecord, append: (record: JournalRecord) => void): boolean {
    const wanted = waiting.systemAttrs.fixed_params;
    const given = {
      ...(typeof wanted === 'object' && wanted !== null ? (wanted as Record<string, unknown>) : {}),
      ...waiting.params,
    };
    const params =
      this.space.parameters.length === 0 ? waiting.params : this.#complete(given, waiting, record);
    if (typeof params === 'string') {
      append(trialUserAttrRecord(waiting.id, attributes.reason, params));
      append(stateRecord(waiting.id, 'fail'));
      return false;
    }
    append(stateRecord(waiting.id, 'running'));
    for (const { name, distribution } of this.space.parameters) {
      if (!Object.hasOwn(params, name) || Object.hasOwn(waiting.params, name)) continue;
      append(paramRecord(waiting.id, name, toInternal(distribution, params[name]!)!, distribution));
    }
    for (const [key, value] of Object.entries(this.#workerAttrs())) {
      append(trialUserAttrRecord(waiting.id, key, value));
    }
    return true;
  }

  /** The point of a waiting trial, or why it has none. */
  #complete(given: Record<string, unknown>, waiting: FrozenTrial, record: StudyRecord): Params | string {
    const problems = problemsOf(this.space, given);
    if (problems.length > 0) return problems.join('; ');
    const fixed = given as Record<string, ParamValue>;
    const point = pointOf(this.space, fixed);
    if (point !== undefined) return this.space.impossibility(point) ?? point;
    try {
      return this.#sample(record, waiting.number, fixed) ?? 'the sampler has no point with these values';
    } catch (error) {
      if (error instanceof UsageError) return error.message;
      throw error;
    }
  }

  /** A trial that goes on from a finished one. */
  #successor(
    parent: FrozenTrial,
    state: 'running' | 'waiting',
    attrs: Readonly<Record<string, unknown>>,
  ): JournalRecord {
    return createTrialRecord(this.#id, {
      state,
      params: parent.params,
      distributions: parent.distributions,
      intermediateValues: parent.intermediateValues,
      userAttrs: {
        [attributes.parent]: parent.number,
        ...(retriesOf(parent) > 0 && { [attributes.retry]: retriesOf(parent) }),
        ...attrs,
        ...(state === 'running' && this.#workerAttrs()),
      },
    });
  }
}
