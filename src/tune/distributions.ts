/**
 * What a parameter may be: categories, whole numbers or floats, as Optuna's journal writes them.
 *
 * A value has two forms. The external one is what a user sees (`'adam'`, 64, 0.01); the internal one, a number, is what
 * the journal stores: a category's index, otherwise the value itself. Bounds are inclusive, and `high` lies on the
 * grid `low + k·step`.
 */
import { UsageError } from '../errors.ts';

/** A parameter's value. Lists are written as text (`'64,128'`), since Optuna's storages know no lists. */
export type ParamValue = null | boolean | number | string;

/** The values of a point by parameter. */
export type Params = Readonly<Record<string, ParamValue>>;

export interface FloatDistribution {
  readonly kind: 'float';
  readonly low: number;
  readonly high: number;
  /** Even in the logarithm. Excludes a step. */
  readonly log: boolean;
  readonly step?: number;
}

export interface IntDistribution {
  readonly kind: 'int';
  readonly low: number;
  readonly high: number;
  /** Even in the logarithm. Excludes a step other than 1. */
  readonly log: boolean;
  readonly step: number;
}

export interface CategoricalDistribution {
  readonly kind: 'categorical';
  readonly choices: readonly ParamValue[];
}

export type Distribution = FloatDistribution | IntDistribution | CategoricalDistribution;

interface RangeOptions {
  readonly log?: boolean;
  readonly step?: number;
}

/** Floats from `low` to `high`. @throws UsageError for bounds that contradict each other. */
export function float(low: number, high: number, options: RangeOptions = {}): FloatDistribution {
  const { log = false, step } = options;
  checkRange(low, high, log, step);
  if (log && low <= 0) throw new UsageError(`low ${low}: a logarithmic range starts above 0`);
  if (step === undefined) return { kind: 'float', low, high, log };
  return { kind: 'float', low, high: onGrid(low, high, step), log, step };
}

/** Whole numbers from `low` to `high`. @throws UsageError for bounds that contradict each other. */
export function int(low: number, high: number, options: RangeOptions = {}): IntDistribution {
  const { log = false, step } = options;
  for (const [name, value] of Object.entries({ low, high, ...(step !== undefined && { step }) })) {
    if (!Number.isSafeInteger(value)) throw new UsageError(`${name} ${value} is no whole number`);
  }
  checkRange(low, high, log, step === 1 ? undefined : step);
  if (log && low < 1) throw new UsageError(`low ${low}: a logarithmic range of whole numbers starts at 1`);
  return { kind: 'int', low, high: onGrid(low, high, step ?? 1), log, step: step ?? 1 };
}

/** One of several values. @throws UsageError where there is none or one comes twice. */
export function categorical(choices: readonly ParamValue[]): CategoricalDistribution {
  if (choices.length === 0) throw new UsageError('choices are empty; give at least one');
  const twice = choices.find((choice, index) => choices.indexOf(choice) !== index);
  if (twice !== undefined) throw new UsageError(`choice ${JSON.stringify(twice)} comes twice`);
  return { kind: 'categorical', choices };
}

function checkRange(low: number, high: number, log: boolean, step: number | undefined): void {
  if (!Number.isFinite(low) || !Number.isFinite(high)) {
    throw new UsageError(`the range ${low} to ${high} is not finite`);
  }
  if (low > high) throw new UsageError(`low ${low} is above high ${high}; swap them`);
  if (step === undefined) return;
  if (!(step > 0) || !Number.isFinite(step)) throw new UsageError(`step ${step} is not above 0`);
  if (log) throw new UsageError(`step ${step}: a logarithmic range has no step; leave out one of the two`);
}

/** The last of low, low + step, … that does not pass `high`. */
const onGrid = (low: number, high: number, step: number): number =>
  gridValue(low, step, Math.floor((high - low) / step + 1e-9));

/** `low + index·step` without the noise of binary fractions: 0.1 + 2·0.1 is 0.3. */
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

/** The value with this index among those of a distribution that is not continuous. */
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

/** Whether `value` can come from `distribution`. */
export function contains(distribution: Distribution, value: unknown): value is ParamValue {
  switch (distribution.kind) {
    case 'categorical':
      return distribution.choices.some((choice) => choice === value);
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

/** The journal's number for a value; undefined where the distribution has no such value. */
export function toInternal(distribution: Distribution, value: ParamValue): number | undefined {
  if (distribution.kind === 'categorical') {
    const index = distribution.choices.indexOf(value);
    return index < 0 ? undefined : index;
  }
  return typeof value === 'number' && !Number.isNaN(value) ? value : undefined;
}

/** The value of a journal's number; undefined for a category that does not exist. */
export function toExternal(distribution: Distribution, internal: number): ParamValue | undefined {
  switch (distribution.kind) {
    case 'categorical':
      return distribution.choices[Math.trunc(internal)];
    case 'int':
      return Math.trunc(internal);
    case 'float':
      return internal;
  }
}

/** Optuna's rule for one name's distributions in one study: kind, `log` and choices stay, bounds may move. */
export function areCompatible(one: Distribution, other: Distribution): boolean {
  if (one.kind === 'categorical') {
    return (
      other.kind === 'categorical' &&
      one.choices.length === other.choices.length &&
      one.choices.every((choice, index) => choice === other.choices[index])
    );
  }
  return one.kind === other.kind && one.log === other.log;
}

/** In words, for messages: `float 0.0001 to 0.1, log`. */
export function describe(distribution: Distribution): string {
  if (distribution.kind === 'categorical') return `one of ${distribution.choices.join(', ')}`;
  const { kind, low, high, log, step } = distribution;
  return `${kind} ${low} to ${high}${log ? ', log' : ''}${step === undefined ? '' : `, step ${step}`}`;
}

/** As the journal stores it: JSON text of the class's name and its attributes. */
export function distributionToJson(distribution: Distribution): string {
  switch (distribution.kind) {
    case 'categorical':
      return JSON.stringify({
        name: 'CategoricalDistribution',
        attributes: { choices: distribution.choices },
      });
    case 'int':
    case 'float': {
      const { kind, low, high, log, step = null } = distribution;
      const name = kind === 'int' ? 'IntDistribution' : 'FloatDistribution';
      return JSON.stringify({ name, attributes: { log, step, low, high } });
    }
  }
}

const isChoice = (value: unknown): value is ParamValue =>
  value === null || ['boolean', 'number', 'string'].includes(typeof value);

/** What Optuna's classes of distributions, the deprecated ones too, are called, and what each fixes. */
const ranges: Readonly<Record<string, { readonly kind: 'int' | 'float'; readonly log?: boolean }>> = {
  IntDistribution: { kind: 'int' },
  IntUniformDistribution: { kind: 'int', log: false },
  IntLogUniformDistribution: { kind: 'int', log: true },
  FloatDistribution: { kind: 'float' },
  UniformDistribution: { kind: 'float', log: false },
  LogUniformDistribution: { kind: 'float', log: true },
  DiscreteUniformDistribution: { kind: 'float', log: false },
};

/** Reads what `distributionToJson` or Optuna wrote; undefined for anything else. */
export function distributionFromJson(text: unknown): Distribution | undefined {
  if (typeof text !== 'string') return undefined;
  try {
    const { name, attributes } = JSON.parse(text) as { name?: unknown; attributes?: unknown };
    if (typeof name !== 'string' || typeof attributes !== 'object' || attributes === null) return undefined;
    const { low, high, step, q, log, choices } = attributes as Record<string, unknown>;
    if (name === 'CategoricalDistribution') {
      return Array.isArray(choices) && choices.length > 0 && choices.every(isChoice)
        ? { kind: 'categorical', choices }
        : undefined;
    }
    const range = Object.hasOwn(ranges, name) ? ranges[name] : undefined;
    if (range === undefined || typeof low !== 'number' || typeof high !== 'number') return undefined;
    const width = step ?? q ?? undefined;
    if (width !== undefined && typeof width !== 'number') return undefined;
    const isLog = range.log ?? log === true;
    // Old logarithmic ranges of whole numbers carry a step that means nothing.
    const options = { log: isLog, ...(width !== undefined && !isLog && { step: width }) };
    return range.kind === 'int' ? int(low, high, options) : float(low, high, options);
  } catch {
    return undefined;
  }
}
