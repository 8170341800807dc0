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
import { checkOptions, type KnownKeys, shown } from '../options.ts';
import { checkPath } from '../paths.ts';
import { type Params, toInternal } from './distributions.ts';
import { Journal, type Transaction } from './journal.ts';
import {
  attributes,
  configurationCount,
  enqueuedParams,
  fixedParams,
  lastStep,
  retriesOf,
} from './lineage.ts';
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
import { Trial, TrialPruned } from './trial.ts';

export interface LoadStudyOptions {
  /** The journal or its path. */
  readonly journal: Journal | string;
  readonly name: string;
  /** What is searched. Without a space, `ask` returns the trials that were enqueued, with the values they were given. */
  readonly space?: SearchSpace;
  /** Random by default. */
  readonly sampler?: Sampler;
  /** None by default. */
  readonly pruner?: Pruner;
  /** The sampler's seed; 0 by default. */
  readonly seed?: number;
  /** Stored with each trial as `vgg:worker`, to find the trials of a dead worker. */
  readonly worker?: string;
}

export interface StudyOptions extends LoadStudyOptions {
  readonly direction: Direction;
  /** Whether to continue an existing study of this name; otherwise it is an error. */
  readonly loadIfExists?: boolean;
}

export interface AskOptions {
  /** No new configurations once the study has this many. Promotions, retries and enqueued trials still come. */
  readonly trials?: number;
}

/** How a trial ended: with a value, or without. */
export type Outcome =
  | number
  | { readonly state: 'pruned' }
  | { readonly state: 'fail'; readonly reason?: string };

export interface OptimizeOptions extends AskOptions {
  /** Trials at the same time; 1 by default. */
  readonly jobs?: number;
  /** Starts no further trials after it aborts, but waits for running ones. */
  readonly signal?: AbortSignal;
  /** Whether to go on after an objective threw, which fails its trial; otherwise `optimize` rejects with the error. */
  readonly shouldCatch?: (error: unknown, trial: Trial) => boolean;
}

/** Returns the value of a trial; throws `TrialPruned` to end it early. */
export type Objective = (trial: Trial) => number | Promise<number>;

/**
 * Creates a study.
 * @throws UsageError if one of this name exists (unless `loadIfExists`) or contradicts the options.
 * @throws DataError if the journal cannot be read.
 */
export async function createStudy(options: StudyOptions): Promise<Study> {
  checkOptions<StudyOptions>('createStudy', options, {
    ...studyKeys,
    direction: 'required',
    loadIfExists: 'optional',
  });
  const { name, direction, space, loadIfExists = false } = options;
  if (direction !== 'minimize' && direction !== 'maximize') {
    throw new UsageError(`createStudy: direction ${shown(direction)} is neither "minimize" nor "maximize"`);
  }
  if (space !== undefined) options.sampler?.check?.(space);
  const journal =
    typeof options.journal === 'string'
      ? await Journal.open(checkPath('journal', options.journal))
      : options.journal;
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
  checkOptions<LoadStudyOptions>('loadStudy', options, studyKeys);
  const { journal } = options;
  return new Study(
    typeof journal === 'string' ? new Journal(checkPath('journal', journal), { create: false }) : journal,
    options,
  );
}

const studyKeys: KnownKeys<LoadStudyOptions> = {
  journal: 'required',
  name: 'required',
  space: 'optional',
  sampler: 'optional',
  pruner: 'optional',
  seed: 'optional',
  worker: 'optional',
};

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
      const attempt = retriesOf(known) + 1;
      if (known.state !== 'fail' || attempt > limit) return false;
      if (record.trials.some((other) => other.userAttrs[attributes.parent] === known.number)) return false;
      append(this.#successor(known, 'waiting', { [attributes.retry]: attempt }));
      return true;
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
      append(trialUserAttrRecord(known.id, attributes.reason, reason));
      append(stateRecord(known.id, 'fail'));
      append(this.#successor(known, 'waiting', {}));
      return true;
    });
  }

  /**
   * Fails the running trials of workers that are gone. `logOf` returns the end of a trial's log, stored as `vgg:log`.
   * @returns these trials, for `retry`.
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
   * Asks, runs and tells until nothing is left to try. A trial whose objective throws `TrialPruned` is pruned; any
   * other error fails it.
   */
  async optimize(objective: Objective, options: OptimizeOptions = {}): Promise<void> {
    checkOptions<OptimizeOptions>('optimize', options, {
      trials: 'optional',
      jobs: 'optional',
      signal: 'optional',
      shouldCatch: 'optional',
    });
    const { jobs = 1, signal, shouldCatch = () => false, ...askOptions } = options;
    if (!Number.isSafeInteger(jobs) || jobs < 1) {
      throw new UsageError(`optimize: jobs ${jobs} is not a whole number ≥ 1`);
    }
    const running = new Set<Promise<void>>();
    const errors: unknown[] = [];
    const mayGoOn = (): boolean => errors.length === 0 && signal?.aborted !== true;
    for (;;) {
      // A trial that ends may earn a promotion, so only "nothing left" while none is running is the end.
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
      append(trialUserAttrRecord(waiting.id, attributes.reason, params));
      append(stateRecord(waiting.id, 'fail'));
      return false;
    }
    append(stateRecord(waiting.id, 'running'));
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
    return createTrialRecord(this.#id, {
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
        ...(state === 'running' && this.#workerAttrs()),
      },
    });
  }
}
