/**
 * How much each parameter mattered: the share of the values' variance between groups of equal parameter values (quarters
 * for numbers with many values). The estimate is ω², which does not favor many groups (Hays, "Statistics for
 * Psychologists", 1963). Negative shares are set to 0. It looks at one parameter at a time, so it misses effects that two
 * parameters only have together.
 */
import { type Params, type ParamValue, valueText } from './distributions.ts';

export interface Measured {
  readonly params: Params;
  readonly value: number;
}

export interface Importance {
  readonly name: string;
  /** 0–1. */
  readonly share: number;
  /** Mean value of each group, in the order of the parameter's values. */
  readonly groups: readonly { readonly label: string; readonly mean: number; readonly count: number }[];
}

/** Numbers with more values than this are grouped into quarters. */
const mostGroups = 6;

/** Largest first; parameters with a single value are left out. */
export function importances(trials: readonly Measured[], names: readonly string[]): readonly Importance[] {
  return names
    .flatMap((name) => {
      const own = trials.filter(({ params }) => Object.hasOwn(params, name));
      const groups = groupsBy(own, name);
      return groups.length < 2 ? [] : [{ name, share: omegaSquared(groups), groups: groups.map(summary) }];
    })
    .toSorted((a, b) => b.share - a.share);
}

interface Group {
  readonly label: string;
  readonly values: readonly number[];
}

const mean = (values: readonly number[]): number => values.reduce((sum, x) => sum + x, 0) / values.length;
const summary = ({ label, values }: Group): Importance['groups'][number] => ({
  label,
  mean: mean(values),
  count: values.length,
});

/** A parameter's name without the common prefix. */
export const spokenName = (name: string): string => name.replace(/^modelOptions\./, '');

/** A parameter's value for people: floats with three digits. */
export const shortValue = (value: ParamValue): string =>
  valueText(typeof value === 'number' && !Number.isInteger(value) ? Number(value.toPrecision(3)) : value);

const byValue = (a: ParamValue, b: ParamValue): number =>
  typeof a === 'number' && typeof b === 'number' ? a - b : 0;

function groupsBy(trials: readonly Measured[], name: string): readonly Group[] {
  const sorted = trials.toSorted((a, b) => byValue(a.params[name]!, b.params[name]!));
  const distinct = [...new Set(sorted.map(({ params }) => params[name]!))];
  if (distinct.length <= mostGroups || distinct.some((value) => typeof value !== 'number')) {
    return distinct.map((value) => ({
      label: shortValue(value),
      values: sorted.filter(({ params }) => params[name] === value).map((trial) => trial.value),
    }));
  }
  return Array.from({ length: 4 }, (_, quarter) =>
    sorted.slice((quarter * sorted.length) / 4, ((quarter + 1) * sorted.length) / 4),
  ).map((part) => ({
    label: `${shortValue(part[0]!.params[name]!)} – ${shortValue(part.at(-1)!.params[name]!)}`,
    values: part.map(({ value }) => value),
  }));
}

function omegaSquared(groups: readonly Group[]): number {
  const all = groups.flatMap(({ values }) => values);
  const freedom = all.length - groups.length;
  if (freedom < 1) return 0;
  const center = mean(all);
  const total = all.reduce((sum, value) => sum + (value - center) ** 2, 0);
  const between = groups.reduce((sum, { values }) => sum + values.length * (mean(values) - center) ** 2, 0);
  const within = Math.max(0, total - between) / freedom;
  return total > 0 ? Math.max(0, (between - (groups.length - 1) * within) / (total + within)) : 0;
}
