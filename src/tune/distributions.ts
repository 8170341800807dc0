/**
 * Distributions of parameters: categories, integers or floats, in the form of Optuna's journal.
 *
 * A value has two forms. The external form is what a user sees (`'adam'`, 64, 0.01). The internal form is the number in
 * the journal: a category's index, otherwise the value itself. Bounds are inclusive, and `high` lies on the grid
 * `low + k·step`.
 */
import { UsageError } from '../errors.ts';
import { checkOptions, shown } from '../options.ts';
import { formatPythonJson, isPythonEqual, isSame, type Json, parsePythonJson } from './json.ts';

/**
 * A parameter's value. The spaces here use numbers, booleans and text (a list is written as `'64,128'`); categories that
 * Optuna wrote can be any JSON.
 */
export type ParamValue = Json;

/** The values of a point by parameter. */
export type Params = Readonly<Record<string, ParamValue>>;

/** The text that a distribution was read from. It is written back unchanged. */
interface Written {
  readonly written?: { readonly className: string; readonly text: string };
}

export interface FloatDistribution extends Written {
  readonly kind: 'float';
  readonly low: number;
  readonly high: number;
  /** Uniform in the logarithm. Cannot be combined with a step. */
  readonly log: boolean;
  readonly step?: number;
}

export interface IntDistribution extends Written {
  readonly kind: 'int';
  readonly low: number;
  readonly high: number;
  /** Uniform in the logarithm. Cannot be combined with a step other than 1. */
  readonly log: boolean;
  readonly step: number;
}

export interface CategoricalDistribution extends Written {
  readonly kind: 'categorical';
  readonly choices: readonly ParamValue[];
}

export type Distribution = FloatDistribution | IntDistribution | CategoricalDistribution;

interface RangeOptions {
  readonly log?: boolean;
  readonly step?: number;
}

/** Floats from `low` to `high`. @throws UsageError if the bounds or the step are invalid. */
export function float(low: number, high: number, options: RangeOptions = {}): FloatDistribution {
  checkOptions<RangeOptions>('float', options, { log: 'optional', step: 'optional' });
  const { log = false, step } = options;
  checkRange(low, high, log, step);
  if (log && low <= 0) throw new UsageError(`low ${low}: a logarithmic range must start above 0`);
  if (step === undefined) return { kind: 'float', low, high, log };
  return { kind: 'float', low, high: onGrid(low, high, step), log, step };
}

/** Integers from `low` to `high`. @throws UsageError if the bounds or the step are invalid. */
export function int(low: number, high: number, options: RangeOptions = {}): IntDistribution {
  checkOptions<RangeOptions>('int', options, { log: 'optional', step: 'optional' });
  const { log = false, step } = options;
  for (const [name, value] of Object.entries({ low, high, ...(step !== undefined && { step }) })) {
    if (!Number.isSafeInteger(value)) throw new UsageError(`${name} ${value} is not a whole number`);
  }
  checkRange(low, high, log, step === 1 ? undefined : step);
  if (log && low < 1)
    throw new UsageError(`low ${low}: a logarithmic range of whole numbers must start at 1 or above`);
  return { kind: 'int', low, high: high - ((high - low) % (step ?? 1)), log, step: step ?? 1 };
}

/** One of several values. @throws UsageError if there is no value, or one is given twice. */
export function categorical(choices: readonly ParamValue[]): CategoricalDistribution {
  if (!Array.isArray(choices))
    throw new UsageError(`categorical: ${shown(choices)} is not a list of choices`);
  if (choices.length === 0) throw new UsageError('choices is empty; give at least one value');
  const twice = choices.find((choice, index) => choices.indexOf(choice) !== index);
  if (twice !== undefined) throw new UsageError(`choice ${formatPythonJson(twice)} is given twice`);
  return { kind: 'categorical', choices };
}

function checkRange(low: number, high: number, log: boolean, step: number | undefined): void {
  if (!Number.isFinite(low) || !Number.isFinite(high)) {
    throw new UsageError(`the range ${low} to ${high} is not finite`);
  }
  if (low > high) throw new UsageError(`low ${low} is above high ${high}; swap them`);
  if (step === undefined) return;
  if (!(step > 0) || !Number.isFinite(step)) throw new UsageError(`step ${step} is not above 0`);
  if (log)
    throw new UsageError(`step ${step}: a logarithmic range cannot have a step; remove one of the two`);
}

/** The largest of low, low + step, … that is at most `high`. */
const onGrid = (low: number, high: number, step: number): number =>
  gridValue(low, step, Math.floor((high - low) / step + 1e-9));

/** `low + index·step` without binary rounding noise: 0.1 + 2·0.1 is 0.3. */
const gridValue = (low: number, step: number, index: number): number =>
  Number((low + index * step).toPrecision(14));

/** How many values there are; Infinity for a continuous range. */
export function sizeOf(distribution: Distribution): number {
  switch (distribution.kind) {
    case 'categorical':
      return distribution.choices.length;
    case 'int':
    case 'float':
      return distribution.step === undefined
        ? distribution.low === distribution.high
          ? 1
          : Number.POSITIVE_INFINITY
        : Math.round((distribution.high - distribution.low) / distribution.step) + 1;
  }
}

/** The value with this index. The distribution must not be continuous. */
export function valueAt(distribution: Distribution, index: number): ParamValue {
  switch (distribution.kind) {
    case 'categorical':
      return distribution.choices[index]!;
    case 'int':
      return distribution.low + index * distribution.step;
    case 'float':
      return gridValue(distribution.low, distribution.step ?? 0, index);
  }
}

/** Whether `value` is a value of `distribution`. */
export function contains(distribution: Distribution, value: unknown): value is ParamValue {
  switch (distribution.kind) {
    case 'categorical':
      return distribution.choices.some((choice) => isSame(choice, value as Json));
    case 'int':
      return (
        Number.isInteger(value) &&
        within(distribution, value as number) &&
        ((value as number) - distribution.low) % distribution.step === 0
      );
    case 'float': {
      if (typeof value !== 'number' || !within(distribution, value)) return false;
      if (distribution.step === undefined) return true;
      const index = (value - distribution.low) / distribution.step;
      return Math.abs(index - Math.round(index)) < 1e-8;
    }
  }
}

const within = ({ low, high }: FloatDistribution | IntDistribution, value: number): boolean =>
  low <= value && value <= high;

/** The journal's number for a value; undefined if the distribution has no such value. */
export function toInternal(distribution: Distribution, value: ParamValue): number | undefined {
  if (distribution.kind === 'categorical') {
    const { choices } = distribution;
    const exact = choices.findIndex((choice) => isSame(choice, value));
    const index = exact < 0 ? choices.findIndex((choice) => isEqualChoice(choice, value)) : exact;
    return index < 0 ? undefined : index;
  }
  if (typeof value === 'bigint') return Number(value);
  return typeof value === 'number' && !Number.isNaN(value) ? value : undefined;
}

/**
 * The value for a parameter's internal form in the journal; undefined if Optuna refuses it. Negative indices count from
 * the end, as in Python.
 */
export function toExternal(distribution: Distribution, internal: Json): ParamValue | undefined {
  if (distribution.kind === 'float' || typeof internal === 'bigint') {
    return distribution.kind === 'categorical' ? undefined : internal;
  }
  if (typeof internal !== 'number' && typeof internal !== 'boolean') return undefined;
  const whole = Math.trunc(Number(internal));
  if (distribution.kind === 'categorical') return distribution.choices.at(whole);
  return Number.isFinite(whole) ? whole : undefined;
}

/** Optuna's rule for equal choices: Python's equality, and NaN equals NaN. */
const isEqualChoice = (one: ParamValue, other: ParamValue): boolean =>
  isPythonEqual(one, other) || (Number.isNaN(one) && Number.isNaN(other));

/** Optuna's name for a distribution's class. */
const classOf = ({ kind, written }: Distribution): string => written?.className ?? classNames[kind];
const classNames = {
  categorical: 'CategoricalDistribution',
  int: 'IntDistribution',
  float: 'FloatDistribution',
} as const;

/** Optuna's rule for one name's distributions in one study: class, `log` and choices stay, bounds may move. */
export function areCompatible(one: Distribution, other: Distribution): boolean {
  if (one === other) return true;
  if (classOf(one) !== classOf(other)) return false;
  if (one.kind !== 'categorical') return one.kind === other.kind && one.log === other.log;
  return (
    other.kind === 'categorical' &&
    one.choices.length === other.choices.length &&
    one.choices.every((choice, index) => isEqualChoice(choice, other.choices[index]!))
  );
}

/** A value as text for people: strings without quotes unless a terminal would act on them, anything else as JSON. */
export const valueText = (value: ParamValue): string =>
  typeof value === 'string' && !/\p{Cc}/u.test(value) ? value : formatPythonJson(value);

/** A description for messages: `float 0.0001 to 0.1, log`. */
export function describe(distribution: Distribution): string {
  if (distribution.kind === 'categorical') return `one of ${distribution.choices.map(valueText).join(', ')}`;
  const { kind, low, high, log, step } = distribution;
  return `${kind} ${low} to ${high}${log ? ', log' : ''}${step === undefined ? '' : `, step ${step}`}`;
}

/** The journal's form: JSON text with the class's name and attributes. */
export function distributionToJson(distribution: Distribution): string {
  if (distribution.written !== undefined) return distribution.written.text;
  const name = classOf(distribution);
  if (distribution.kind === 'categorical') {
    return formatPythonJson({ name, attributes: { choices: distribution.choices } });
  }
  const { low, high, log, step = null } = distribution;
  return formatPythonJson({ name, attributes: { log, step, low, high } });
}

/** Optuna's classes of ranges, including deprecated ones, and what each fixes. */
const ranges: Readonly<Record<string, { readonly kind: 'int' | 'float'; readonly log?: boolean }>> = {
  IntDistribution: { kind: 'int' },
  IntUniformDistribution: { kind: 'int', log: false },
  IntLogUniformDistribution: { kind: 'int', log: true },
  FloatDistribution: { kind: 'float' },
  UniformDistribution: { kind: 'float', log: false },
  LogUniformDistribution: { kind: 'float', log: true },
  DiscreteUniformDistribution: { kind: 'float', log: false },
};

/** The classes of Optuna's abbreviated form `{"type": "float", "low": 0, "high": 1}`. */
const abbreviations: Readonly<Record<string, string>> = {
  categorical: classNames.categorical,
  int: classNames.int,
  float: classNames.float,
};

/** Reads what `distributionToJson` or Optuna wrote; undefined if Optuna would refuse it. */
export function distributionFromJson(text: unknown): Distribution | undefined {
  if (typeof text !== 'string') return undefined;
  let json: Json;
  try {
    json = parsePythonJson(text);
  } catch {
    return undefined;
  }
  if (!isObject(json)) return undefined;
  const { name, type, attributes = json } = json;
  const className = typeof name === 'string' ? name : abbreviations[String(type)];
  if (className === undefined || !isObject(attributes)) return undefined;
  const written = { className, text };
  if (className === classNames.categorical) {
    const { choices } = attributes;
    return Array.isArray(choices) && choices.length > 0
      ? { kind: 'categorical', choices, written }
      : undefined;
  }
  const range = Object.hasOwn(ranges, className) ? readRange(ranges[className]!, attributes) : undefined;
  return range && { ...range, written };
}

/** A range by Optuna's rules, which allow infinite bounds. Bounds beyond 2⁵³ are rounded here but written back exactly. */
function readRange(
  { kind, log: fixed }: (typeof ranges)[string],
  attributes: { readonly [key: string]: Json },
): FloatDistribution | IntDistribution | undefined {
  const [low, high, width] = [attributes.low, attributes.high, attributes.step ?? attributes.q ?? null].map(
    (value) => (typeof value === 'bigint' ? Number(value) : value),
  );
  const log = fixed ?? attributes.log === true;
  if (typeof low !== 'number' || typeof high !== 'number' || low > high) return undefined;
  if (log && low < (kind === 'int' ? 1 : Number.MIN_VALUE)) return undefined;
  if (width !== null && !(typeof width === 'number' && width > 0)) return undefined;
  // Old logarithmic ranges of integers have a step without meaning.
  const step = log ? null : width;
  if (kind === 'float') {
    return step === null ? { kind, low, high, log } : { kind, low, high: onGrid(low, high, step), log, step };
  }
  if (!Number.isFinite(high - low)) return undefined;
  const whole = Math.max(1, Math.trunc(step ?? 1));
  return { kind, low: Math.trunc(low), high: Math.trunc(high) - ((high - low) % whole), log, step: whole };
}

const isObject = (value: Json | undefined): value is { readonly [key: string]: Json } =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
