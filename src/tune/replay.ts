/**
 * The studies and trials that a journal's records describe. Records are applied in file order and by Optuna's rules
 * (`JournalStorageReplayResult`), so every reader gets the same studies and trials:
 *
 * - ids count up: a study's from 0, a trial's over all studies of the journal, a trial's number within its study;
 * - a second study with the same name is ignored, and so is a record about a study or trial that does not exist;
 * - a finished trial is frozen: later records about it are ignored. If two workers set the same waiting trial running, or
 *   both finish a trial, the first record in the file wins;
 * - a parameter is ignored if its distribution contradicts the study's earlier one for the same name.
 *
 * Every trial that Optuna counts is counted here, even if this package has no use for its values: with one trial missing,
 * all later numbers and ids would be wrong. Only records that Optuna itself refuses are ignored. `malformed` counts them.
 */
import { isObject } from '../options.ts';
import {
  areCompatible,
  type Distribution,
  distributionFromJson,
  type Params,
  type ParamValue,
  toExternal,
} from './distributions.ts';
import type { Json } from './json.ts';
import {
  type Direction,
  directions,
  isFinished,
  operations,
  type TrialState,
  trialStates,
} from './records.ts';

/** A trial as recorded in the journal. It changes as the journal grows; once finished it never changes. */
export interface FrozenTrial {
  /** Unique in the journal. */
  readonly id: number;
  /** Counts from 0 in its study. */
  readonly number: number;
  readonly state: TrialState;
  /** The objective's value; for a pruned trial, its last intermediate value. */
  readonly value?: number;
  /** One value for each objective, if there are several. */
  readonly values?: readonly number[];
  readonly params: Params;
  readonly distributions: Readonly<Record<string, Distribution>>;
  /** Reported values by step. */
  readonly intermediateValues: ReadonlyMap<number, number>;
  readonly userAttrs: Readonly<Record<string, unknown>>;
  readonly systemAttrs: Readonly<Record<string, unknown>>;
  /** Local time without a zone; `parseTime` reads it. */
  readonly started?: string;
  readonly completed?: string;
}

/** A study as recorded in the journal. */
export interface StudyRecord {
  readonly id: number;
  readonly name: string;
  /** More than one for studies with several objectives, which Optuna can create. */
  readonly directions: readonly (Direction | 'notSet')[];
  readonly userAttrs: Readonly<Record<string, unknown>>;
  readonly systemAttrs: Readonly<Record<string, unknown>>;
  /** By number. */
  readonly trials: readonly FrozenTrial[];
  /** Each parameter's distribution in the first trial that has it. Later ones must be compatible with it. */
  readonly distributions: ReadonlyMap<
    string,
    { readonly trial: number; readonly distribution: Distribution }
  >;
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] };
type Fields = Record<string, unknown>;

interface GrowingTrial extends Mutable<Omit<FrozenTrial, 'params' | 'distributions' | 'intermediateValues'>> {
  readonly study: GrowingStudy;
  params: Record<string, ParamValue>;
  distributions: Record<string, Distribution>;
  intermediateValues: Map<number, number>;
  userAttrs: Fields;
  systemAttrs: Fields;
}

interface GrowingStudy extends Mutable<StudyRecord> {
  trials: GrowingTrial[];
  distributions: Map<string, { trial: number; distribution: Distribution }>;
  userAttrs: Fields;
  systemAttrs: Fields;
}

/** An object without inherited keys, because names come from the file. */
const emptyRecord = <T>(): Record<string, T> => Object.create(null) as Record<string, T>;

const isWhole = (value: unknown): value is number => Number.isSafeInteger(value);
const isOptionalText = (value: unknown): value is string | null | undefined =>
  value === undefined || value === null || typeof value === 'string';
/** A value as a number. Large integers are rounded; anything that is not a number becomes NaN. */
const asNumber = (value: unknown): number =>
  typeof value === 'number' || typeof value === 'bigint' || typeof value === 'boolean'
    ? Number(value)
    : Number.NaN;
/** A step that is the key of an object, read as Python's `int` does. */
const asStep = (key: string): number | undefined =>
  /^\s*[+-]?\d{1,300}\s*$/.test(key) ? Number(key) : undefined;

/** The state after a journal's records; `apply` adds one record. */
export class JournalState {
  /** Studies that exist, by id. */
  readonly studies: Map<number, StudyRecord> = new Map();
  /** How many records were ignored because Optuna refuses them. */
  malformed = 0;
  readonly #trials: GrowingTrial[] = [];
  readonly #studiesByName = new Map<string, StudyRecord>();
  #nextStudy = 0;
  /** Distributions by their text. Texts repeat with every trial, so each is parsed once. */
  readonly #parsed = new Map<string, Distribution | undefined>();

  /** The study called `name`. */
  studyNamed(name: string): StudyRecord | undefined {
    return this.#studiesByName.get(name);
  }

  /** The trial with this id. */
  trial(id: number): FrozenTrial | undefined {
    return this.#trials[id];
  }

  /** Number of trials in total, which is the id of the next one. */
  get trialCount(): number {
    return this.#trials.length;
  }

  /** Applies a parsed line. */
  apply(record: unknown): void {
    if (!isObject(record) || !this.#apply(record)) this.malformed++;
  }

  /** @returns false for a record that Optuna refuses. */
  #apply(record: Fields): boolean {
    switch (record.op_code) {
      case operations.createStudy:
        return this.#createStudy(record);
      case operations.deleteStudy:
        if (!isWhole(record.study_id)) return false;
        this.#deleteStudy(record.study_id);
        return true;
      case operations.setStudyUserAttr:
      case operations.setStudySystemAttr:
        return this.#setStudyAttr(record);
      case operations.createTrial:
        return this.#createTrial(record);
      case operations.setTrialParam:
      case operations.setTrialStateValues:
      case operations.setTrialIntermediateValue:
      case operations.setTrialUserAttr:
      case operations.setTrialSystemAttr: {
        if (!isWhole(record.trial_id)) return false;
        const trial = this.#trials[record.trial_id];
        return trial === undefined || isFinished(trial.state) || this.#change(trial, record);
      }
      default:
        return false;
    }
  }

  #createStudy({ study_name: name, directions: codes }: Fields): boolean {
    if (typeof name !== 'string' || !Array.isArray(codes)) return false;
    const named = codes.map((code) => (isWhole(code) ? directions[code] : undefined));
    if (named.length === 0 || !named.every((direction) => direction !== undefined)) return false;
    if (this.studyNamed(name) !== undefined) return true;
    const study: GrowingStudy = {
      id: this.#nextStudy++,
      name,
      directions: named,
      userAttrs: emptyRecord(),
      systemAttrs: emptyRecord(),
      trials: [],
      distributions: new Map(),
    };
    this.studies.set(study.id, study);
    this.#studiesByName.set(name, study);
    return true;
  }

  /** Its trials keep their ids, so later ids do not change. */
  #deleteStudy(id: number): void {
    const study = this.studies.get(id);
    if (study === undefined) return;
    this.studies.delete(id);
    this.#studiesByName.delete(study.name);
  }

  #setStudyAttr(record: Fields): boolean {
    const isUser = record.op_code === operations.setStudyUserAttr;
    const attrs = isUser ? record.user_attr : record.system_attr;
    if (!isWhole(record.study_id) || !isObject(attrs)) return false;
    const study = this.studies.get(record.study_id) as GrowingStudy | undefined;
    if (study !== undefined) Object.assign(isUser ? study.userAttrs : study.systemAttrs, attrs);
    return true;
  }

  #createTrial(record: Fields): boolean {
    if (!isWhole(record.study_id)) return false;
    const study = this.studies.get(record.study_id) as GrowingStudy | undefined;
    if (study === undefined) return true;
    const { datetime_start: started, datetime_complete: completed, value = null, values = null } = record;
    const state = record.state === undefined ? 'running' : trialStates[record.state as number];
    if (state === undefined || !isOptionalText(started) || !isOptionalText(completed)) return false;
    if (value !== null && values !== null) return false;
    const trial: GrowingTrial = {
      study,
      id: this.#trials.length,
      number: study.trials.length,
      state,
      params: emptyRecord(),
      distributions: emptyRecord(),
      intermediateValues: new Map(),
      userAttrs: Object.assign(emptyRecord<unknown>(), isObject(record.user_attrs) && record.user_attrs),
      systemAttrs: Object.assign(
        emptyRecord<unknown>(),
        isObject(record.system_attrs) && record.system_attrs,
      ),
      ...(typeof started === 'string' && { started }),
      ...(typeof completed === 'string' && { completed }),
    };
    setValues(trial, value === null ? values : [value]);
    for (const [name, text] of entriesOf(record.distributions)) {
      const distribution = this.#distribution(text);
      if (distribution === undefined) return false;
      trial.distributions[name] = distribution;
    }
    for (const [name, internal] of entriesOf(record.params)) {
      const distribution = trial.distributions[name];
      if (distribution === undefined || !setParam(trial, name, distribution, internal)) return false;
    }
    for (const [key, reported] of entriesOf(record.intermediate_values)) {
      const step = asStep(key);
      if (step === undefined) return false;
      trial.intermediateValues.set(step, asNumber(reported));
    }
    this.#trials.push(trial);
    study.trials.push(trial);
    for (const name of Object.keys(trial.params)) remember(trial, name, trial.distributions[name]!);
    return true;
  }

  #change(trial: GrowingTrial, record: Fields): boolean {
    switch (record.op_code) {
      case operations.setTrialParam: {
        const { param_name: name, param_value_internal: internal } = record;
        const distribution = this.#distribution(record.distribution);
        if (typeof name !== 'string' || distribution === undefined) return false;
        const earlier = trial.study.distributions.get(name);
        if (earlier !== undefined && !areCompatible(earlier.distribution, distribution)) return true;
        if (!setParam(trial, name, distribution, internal)) return false;
        remember(trial, name, distribution);
        return true;
      }
      case operations.setTrialStateValues:
        return setState(trial, record);
      case operations.setTrialIntermediateValue: {
        const step = asNumber(record.step);
        if (!Number.isInteger(step)) return false;
        trial.intermediateValues.set(step, asNumber(record.intermediate_value));
        return true;
      }
      case operations.setTrialUserAttr:
        return isObject(record.user_attr) && Boolean(Object.assign(trial.userAttrs, record.user_attr));
      case operations.setTrialSystemAttr:
        return isObject(record.system_attr) && Boolean(Object.assign(trial.systemAttrs, record.system_attr));
      default:
        return false;
    }
  }

  #distribution(text: unknown): Distribution | undefined {
    if (typeof text !== 'string') return undefined;
    const known = this.#parsed.get(text);
    if (known !== undefined || this.#parsed.has(text)) return known;
    const distribution = distributionFromJson(text);
    this.#parsed.set(text, distribution);
    return distribution;
  }
}

/** Entries of an optional field. */
const entriesOf = (field: unknown): [string, unknown][] => (isObject(field) ? Object.entries(field) : []);

function setParam(trial: GrowingTrial, name: string, distribution: Distribution, internal: unknown): boolean {
  // Records are parsed JSON.
  const value = toExternal(distribution, internal as Json);
  if (value === undefined) return false;
  trial.params[name] = value;
  trial.distributions[name] = distribution;
  return true;
}

/** Remembers the distribution of the first trial, by number, that has the parameter. */
function remember(trial: GrowingTrial, name: string, distribution: Distribution): void {
  const { distributions } = trial.study;
  const earlier = distributions.get(name);
  if (earlier !== undefined && earlier.trial < trial.number) return;
  distributions.set(name, { trial: trial.number, distribution });
}

function setState(trial: GrowingTrial, record: Fields): boolean {
  const state = trialStates[record.state as number];
  const { values = null, datetime_start: started, datetime_complete: completed } = record;
  if (state === undefined || !isOptionalText(started) || !isOptionalText(completed)) return false;
  if (values !== null && !Array.isArray(values)) return false;
  if (state === 'running' && trial.state === 'running') return true;
  trial.state = state;
  if (state === 'running' && typeof started === 'string') trial.started = started;
  if (isFinished(state) && typeof completed === 'string') trial.completed = completed;
  setValues(trial, values);
  return true;
}

function setValues(trial: GrowingTrial, values: unknown): void {
  if (!Array.isArray(values)) return;
  const numbers = values.map(asNumber);
  delete trial.value;
  delete trial.values;
  if (numbers.length > 1) trial.values = numbers;
  if (numbers.length > 0) trial.value = numbers[0]!;
}
