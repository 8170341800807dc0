/**
 * A search space: named parameters with their distributions. Some parameters exist only if others have certain values.
 * Samplers know nothing else about a space.
 *
 * Invariant: a condition only names earlier parameters, so a point can be drawn in order.
 */
import { UsageError } from '../errors.ts';
import { checkOptions, isObject, shown } from '../options.ts';
import { nearest } from '../suggest.ts';
import {
  areCompatible,
  contains,
  type Distribution,
  describe,
  float,
  int,
  type Params,
  type ParamValue,
} from './distributions.ts';
import { formatPythonJson, isSame } from './json.ts';
import { enqueuedParams } from './lineage.ts';
import type { StudyRecord } from './replay.ts';

/** One dimension of a space. */
export interface Parameter {
  readonly name: string;
  readonly distribution: Distribution;
  /** The parameter exists only if each of these parameters exists and has one of these values. */
  readonly when?: Readonly<Record<string, readonly ParamValue[]>>;
}

export interface SearchSpace {
  /** In the order in which they are drawn. */
  readonly parameters: readonly Parameter[];
  /** Why a complete point cannot work, or undefined if it can. Impossible points are never proposed. */
  readonly impossibility: (params: Params) => string | undefined;
  /** What a study stores of the space in the journal, for other readers; JSON. */
  readonly source?: unknown;
}

/** Whether the parameter exists at a point with the given earlier parameters. */
export function isActive({ when }: Parameter, params: Params): boolean {
  return Object.entries(when ?? {}).every(
    ([name, values]) => Object.hasOwn(params, name) && values.includes(params[name]!),
  );
}

/** Whether the point may be proposed. */
export const isPossible = (space: SearchSpace, params: Params): boolean =>
  space.impossibility(params) === undefined;

/**
 * A space of plain distributions: `searchSpace({ x: float(0, 1), kind: categorical(['a', 'b']) })`.
 * @throws UsageError if it is empty.
 */
export function searchSpace(
  distributions: Readonly<Record<string, Distribution>>,
  options: {
    readonly when?: Readonly<Record<string, Parameter['when']>>;
    readonly impossibility?: SearchSpace['impossibility'];
  } = {},
): SearchSpace {
  if (!isObject(distributions)) {
    throw new UsageError(
      `searchSpace: ${shown(distributions)} is not an object of parameters, such as { lr: float(0.1, 1) }`,
    );
  }
  checkOptions<typeof options>('searchSpace', options, { when: 'optional', impossibility: 'optional' });
  const parameters = Object.entries(distributions).map(([name, distribution]) => {
    const when = options.when?.[name];
    return { name, distribution, ...(when !== undefined && { when }) };
  });
  if (parameters.length === 0) throw new UsageError('the space is empty; name at least one parameter');
  return { parameters, impossibility: options.impossibility ?? (() => undefined) };
}

/** The distributions of the parameters that exist at a point. */
export function distributionsOf(space: SearchSpace, params: Params): Readonly<Record<string, Distribution>> {
  return Object.fromEntries(
    space.parameters.filter(({ name }) => Object.hasOwn(params, name)).map((p) => [p.name, p.distribution]),
  );
}

/**
 * Distributions for the values of a study without a space, so that the journal can hold them. A value keeps the
 * distribution that the study has for its name, if that can be extended to it; otherwise a number gets a range of one
 * value, and anything else all values that the study's trials were given. A value that contradicts an earlier trial's
 * distribution gets none: Optuna would ignore it.
 */
export function impliedDistributions(
  params: Params,
  study: Pick<StudyRecord, 'trials' | 'distributions'>,
): Readonly<Record<string, Distribution>> {
  return Object.fromEntries(
    Object.entries(params).flatMap(([name, value]) => {
      const known = study.distributions.get(name)?.distribution;
      const distribution =
        known === undefined ? impliedDistribution(name, value, study) : extended(known, value);
      return distribution === undefined ? [] : [[name, distribution]];
    }),
  );
}

function impliedDistribution(
  name: string,
  value: ParamValue,
  { trials }: Pick<StudyRecord, 'trials'>,
): Distribution {
  const given = [value, ...trials.flatMap((trial) => enqueuedParams(trial)[name] ?? [])];
  if (given.every((other) => Number.isFinite(other))) return float(value as number, value as number);
  const choices: ParamValue[] = [];
  for (const other of given) if (!choices.some((choice) => isSame(choice, other))) choices.push(other);
  return { kind: 'categorical', choices };
}

function extended(known: Distribution, value: ParamValue): Distribution | undefined {
  if (contains(known, value)) return known;
  if (known.kind === 'categorical' || !Number.isFinite(value)) return undefined;
  const number = value as number;
  if (known.kind === 'int' ? !Number.isSafeInteger(number) : false) return undefined;
  if (known.log && number < (known.kind === 'int' ? 1 : Number.MIN_VALUE)) return undefined;
  return known.kind === 'int'
    ? int(number, number, { log: known.log })
    : float(number, number, { log: known.log });
}

/** A point as text. Equal points have equal texts. */
export const pointKey = (space: SearchSpace, params: Params): string =>
  formatPythonJson(space.parameters.map(({ name }) => (Object.hasOwn(params, name) ? [params[name]] : [])));

/**
 * The problems of values that a user or another program enqueued: unknown names, or values outside of the distribution.
 * Missing values are not a problem; the sampler chooses them.
 */
export function problemsOf(space: SearchSpace, params: Readonly<Record<string, unknown>>): readonly string[] {
  return Object.entries(params).flatMap(([name, value]) => {
    const parameter = space.parameters.find((known) => known.name === name);
    if (parameter === undefined)
      return [
        nearest(
          'parameter',
          name,
          space.parameters.map((known) => known.name),
        ),
      ];
    return contains(parameter.distribution, value)
      ? []
      : [`${name} = ${formatPythonJson(value)} is not ${describe(parameter.distribution)}`];
  });
}

/**
 * Draws a complete point: parameters in order, each existing one from `fixed` or else from `draw`.
 * @returns undefined if none of `attempts` draws was a possible point.
 */
export function drawPossible(
  space: SearchSpace,
  fixed: Params,
  draw: (parameter: Parameter, soFar: Params) => ParamValue,
  attempts: number,
): Params | undefined {
  for (let attempt = 0; attempt < attempts; attempt++) {
    const params: Record<string, ParamValue> = {};
    for (const parameter of space.parameters) {
      if (!isActive(parameter, params)) continue;
      const { name } = parameter;
      params[name] = Object.hasOwn(fixed, name) ? fixed[name]! : draw(parameter, params);
    }
    if (isPossible(space, params)) return params;
  }
  return undefined;
}

/** The point given by `fixed`, or undefined if an existing parameter has no value. */
export function pointOf(space: SearchSpace, fixed: Params): Params | undefined {
  const params: Record<string, ParamValue> = {};
  for (const parameter of space.parameters) {
    if (!isActive(parameter, params)) continue;
    if (!Object.hasOwn(fixed, parameter.name)) return undefined;
    params[parameter.name] = fixed[parameter.name]!;
  }
  return params;
}

/** @throws UsageError if the space contradicts the journal's distributions for the same names. */
export function checkCompatible(
  space: SearchSpace,
  known: ReadonlyMap<string, { readonly trial: number; readonly distribution: Distribution }>,
): void {
  for (const { name, distribution } of space.parameters) {
    const earlier = known.get(name);
    if (earlier === undefined || areCompatible(earlier.distribution, distribution)) continue;
    throw new UsageError(
      `${name} is ${describe(distribution)} in this space but ${describe(earlier.distribution)} in the study's ` +
        `trial ${earlier.trial}; start a new study`,
    );
  }
}
