/**
 * The lines of Optuna's journal (optuna/storages/_journal/storage.py, 3.1 and later): one JSON object each, with
 * `op_code`, `worker_id` and the operation's own fields. It is Python's JSON (`json.ts`). Times are local, without a zone.
 */
import { type Distribution, distributionToJson, type Params, toInternal } from './distributions.ts';
import { formatPythonJson, type Json } from './json.ts';

/** The operations and their codes. */
export const operations = {
  createStudy: 0,
  deleteStudy: 1,
  setStudyUserAttr: 2,
  setStudySystemAttr: 3,
  createTrial: 4,
  setTrialParam: 5,
  setTrialStateValues: 6,
  setTrialIntermediateValue: 7,
  setTrialUserAttr: 8,
  setTrialSystemAttr: 9,
} as const;

/** A trial's states; the index is the journal's number. */
export const trialStates = ['running', 'complete', 'pruned', 'fail', 'waiting'] as const;
export type TrialState = (typeof trialStates)[number];

/** The directions; the index is the journal's number. */
export const directions = ['notSet', 'minimize', 'maximize'] as const;
export type Direction = 'minimize' | 'maximize';

/** Complete, pruned and failed trials never change again. */
export const isFinished = (state: TrialState): boolean => state !== 'running' && state !== 'waiting';

/** One line of the journal, without its writer's name. */
export type JournalRecord = Readonly<Record<string, unknown>> & { readonly op_code: number };

/** A trial to create. */
export interface TrialTemplate {
  readonly state: 'running' | 'waiting';
  readonly params?: Params;
  /** One for each of `params`. */
  readonly distributions?: Readonly<Record<string, Distribution>>;
  readonly intermediateValues?: ReadonlyMap<number, number>;
  readonly userAttrs?: Readonly<Record<string, unknown>>;
  readonly systemAttrs?: Readonly<Record<string, unknown>>;
}

export const createStudyRecord = (name: string, direction: Direction): JournalRecord => ({
  op_code: operations.createStudy,
  study_name: name,
  directions: [directions.indexOf(direction)],
});

export const studyUserAttrRecord = (studyId: number, key: string, value: unknown): JournalRecord => ({
  op_code: operations.setStudyUserAttr,
  study_id: studyId,
  user_attr: { [key]: value },
});

/** A whole trial in one line, as Optuna's `add_trial` writes it. */
export function createTrialRecord(studyId: number, template: TrialTemplate): JournalRecord {
  const distributions = template.distributions ?? {};
  const params = Object.entries(template.params ?? {}).map(([name, value]): [string, Json] => [
    name,
    // A value that its distribution does not have was read from a journal and is written back unchanged.
    toInternal(distributions[name]!, value) ?? value,
  ]);
  return {
    op_code: operations.createTrial,
    study_id: studyId,
    datetime_start: template.state === 'running' ? formatTime(new Date()) : null,
    state: trialStates.indexOf(template.state),
    value: null,
    values: null,
    distributions: Object.fromEntries(
      Object.entries(distributions).map(([name, distribution]) => [name, distributionToJson(distribution)]),
    ),
    params: Object.fromEntries(params),
    user_attrs: template.userAttrs ?? {},
    system_attrs: template.systemAttrs ?? {},
    intermediate_values: Object.fromEntries(template.intermediateValues ?? []),
  };
}

export const paramRecord = (
  trialId: number,
  name: string,
  internal: number,
  distribution: Distribution,
): JournalRecord => ({
  op_code: operations.setTrialParam,
  trial_id: trialId,
  param_name: name,
  param_value_internal: internal,
  distribution: distributionToJson(distribution),
});

export const stateRecord = (
  trialId: number,
  state: TrialState,
  values: readonly number[] | null = null,
): JournalRecord => ({
  op_code: operations.setTrialStateValues,
  trial_id: trialId,
  state: trialStates.indexOf(state),
  values,
  ...(state === 'running' && { datetime_start: formatTime(new Date()) }),
  ...(isFinished(state) && { datetime_complete: formatTime(new Date()) }),
});

export const intermediateRecord = (trialId: number, step: number, value: number): JournalRecord => ({
  op_code: operations.setTrialIntermediateValue,
  trial_id: trialId,
  step,
  intermediate_value: value,
});

export const trialUserAttrRecord = (trialId: number, key: string, value: unknown): JournalRecord => ({
  op_code: operations.setTrialUserAttr,
  trial_id: trialId,
  user_attr: { [key]: value },
});

/** A record as a line, including its line end. */
export function formatLine(record: JournalRecord, workerId: string): string {
  const { op_code, ...fields } = record;
  return `${formatPythonJson({ op_code, worker_id: workerId, ...fields })}\n`;
}

const digits = (value: number, count = 2): string => String(value).padStart(count, '0');

/** Local time without a zone, to the microsecond, as Python's `isoformat(timespec='microseconds')`. */
export function formatTime(time: Date): string {
  const date = `${time.getFullYear()}-${digits(time.getMonth() + 1)}-${digits(time.getDate())}`;
  const clock = `${digits(time.getHours())}:${digits(time.getMinutes())}:${digits(time.getSeconds())}`;
  return `${date}T${clock}.${digits(time.getMilliseconds(), 3)}000`;
}

/** A journal's time. @returns undefined if the text is not a time. */
export function parseTime(text: string | undefined): Date | undefined {
  if (text === undefined) return undefined;
  const time = new Date(text);
  return Number.isNaN(time.getTime()) ? undefined : time;
}
