/**
 * A search space as a user writes it: a config file (`train/config.ts`) with candidates instead of some values,
 *
 *     { "model": "vgg7", "epochs": 5, "lr": { "float": [1e-4, 1e-2], "log": true },
 *       "modelOptions": { "hidden": { "choices": [256, 512] }, "channels": [{ "int": [32, 96], "step": 32 }, 128] },
 *       "optimizer": { "choices": ["adam", "sgd"] },
 *       "momentum": { "float": [0.8, 0.99], "when": { "optimizer": ["sgd"] } } }
 *
 * A parameter is named by its path: `lr`, `modelOptions.hidden`, `modelOptions.channels[0]`. Everything in the file is
 * checked before a trial runs, each value by the option's own schema, and all problems are reported at once.
 */
import * as z from 'zod';
import { check, pathName } from '../check.ts';
import { datasetFacts, stepsPerEpoch } from '../data/facts.ts';
import { UsageError, VggError } from '../errors.ts';
import { createModel, models, networkOf, type OptionValue } from '../model/models.ts';
import { buildNetwork } from '../model/network.ts';
import { checkArgument, isObject } from '../options.ts';
import { nearest, unknownName } from '../suggest.ts';
import { parseConfig, usedOptions } from '../train/config.ts';
import { type TrainConfigInput, trainOptions } from '../train/config-table.ts';
import { checkLength } from '../train/length.ts';
import {
  categorical,
  type Distribution,
  float,
  int,
  type Params,
  type ParamValue,
  sizeOf,
} from './distributions.ts';
import type { Parameter, SearchSpace } from './search-space.ts';
import { conditionProblems } from './space-conditions.ts';

/** A space over the options of a training. */
export interface TuneSpace extends SearchSpace {
  readonly parameters: readonly TuneParameter[];
  /** The options that are not searched. */
  readonly fixed: TrainConfigInput;
}

export interface TuneParameter extends Parameter {
  /** Where the value goes in a config: `['modelOptions', 'channels', 0]`. */
  readonly path: readonly (string | number)[];
  /** The lists behind choices that the journal stores as text. */
  readonly lists?: ReadonlyMap<ParamValue, readonly number[]>;
}

const plain = z.union([z.number(), z.string(), z.boolean(), z.array(z.number())], {
  error: 'a choice must be a number, text, true, false or a list of numbers',
});
const when = z.record(z.string(), z.array(plain).min(1, 'name at least one value')).optional();
const bounds = (number: z.ZodNumber) => z.tuple([number, number], { error: 'give [lowest, highest]' });

/** The three forms of candidates, by their key. */
const candidates = {
  choices: z.strictObject({ choices: z.array(plain).min(1, 'give at least one choice'), when }),
  int: z.strictObject({
    int: bounds(z.int()),
    step: z.int().optional(),
    log: z.boolean().optional(),
    when,
  }),
  float: z.strictObject({
    float: bounds(z.number()),
    step: z.number().optional(),
    log: z.boolean().optional(),
    when,
  }),
};

const kinds = Object.keys(candidates) as (keyof typeof candidates)[];

/** A choice as the journal stores it; a list becomes text: `64,128`. */
export const encodeChoice = (value: unknown): ParamValue =>
  Array.isArray(value) ? value.join(',') : (value as ParamValue);

/** Part of an option's value, fixed or searched. Checking the `probes` checks all candidates. */
type Part =
  | { readonly kind: 'fixed'; readonly path: string; readonly value: unknown }
  | {
      readonly kind: 'searched';
      readonly parameter: TuneParameter;
      readonly probes: readonly { readonly path: string; readonly value: unknown }[];
    };

/** One option of the file. A list with candidates in it has several parts. */
interface Option {
  readonly path: readonly [string] | readonly ['modelOptions', string];
  readonly isList: boolean;
  readonly parts: readonly Part[];
}

/**
 * Reads a space from `input`, which is parsed JSON. `where` names its source in messages.
 * @throws UsageError that lists every problem, with its path in the file and the rule it breaks.
 */
export function parseSpace(input: unknown, where = 'space'): TuneSpace {
  const problems: string[] = [];
  const options = optionsOf(input, problems);
  const parameters = options.flatMap(({ parts }) =>
    parts.flatMap((part) => (part.kind === 'searched' ? [part.parameter] : [])),
  );
  const fixed = fixedOf(options);
  if (parameters.length === 0 && problems.length === 0) {
    problems.push(
      'the space is empty; give at least one option candidates, such as "lr": {"float": [0.0001, 0.1], "log": true}',
    );
  }
  problems.push(...conditionProblems(parameters, fixed));
  for (const option of options) problems.push(...valueProblems(option, parameters, fixed));
  if (problems.length > 0) throw new UsageError(`${where}: ${problems.join('; ')}`);
  const space = { parameters, fixed };
  return { ...space, impossibility: impossibilityOf(space), source: input };
}

/** The config of a point. @throws UsageError for a name that is not in the space. */
export function configOf(space: Pick<TuneSpace, 'parameters' | 'fixed'>, params: Params): TrainConfigInput {
  checkArgument('configOf', 'space', space, ['parameters', 'fixed'], 'a space; make one with parseSpace');
  checkArgument('configOf', 'params', params, [], 'an object of values by name, such as trial.params');
  const config: Record<string, unknown> = structuredClone(space.fixed);
  for (const [name, value] of Object.entries(params)) {
    const parameter = space.parameters.find((known) => known.name === name);
    if (parameter === undefined) {
      throw new UsageError(
        nearest(
          'parameter',
          name,
          space.parameters.map((known) => known.name),
        ),
      );
    }
    setAt(config, parameter.path, parameter.lists?.get(value) ?? value);
  }
  return usedOptions(config as TrainConfigInput);
}

/** Why a point cannot work: its network does not fit the images, or its options contradict each other. */
function impossibilityOf(space: Pick<TuneSpace, 'parameters' | 'fixed'>): SearchSpace['impossibility'] {
  // Only checking the network takes time, and many points have the same one.
  const known = new Map<string, string | undefined>();
  return (params) => {
    try {
      const config = parseConfig(configOf(space, params), 'the point');
      checkLength({ ...config, stepsPerEpoch: stepsPerEpoch(config) });
      const { model, modelOptions } = config;
      const { classes, shape } = datasetFacts(config);
      const key = JSON.stringify([model, modelOptions, classes, shape]);
      if (!known.has(key)) {
        const options = modelOptions as Record<string, OptionValue>;
        known.set(
          key,
          problemOf(() => buildNetwork(networkOf(model, { classes, options, input: shape }), shape)),
        );
      }
      return known.get(key);
    } catch (error) {
      if (error instanceof VggError) return error.message;
      throw error;
    }
  };
}

function problemOf(build: () => unknown): string | undefined {
  try {
    build();
    return undefined;
  } catch (error) {
    if (error instanceof VggError) return error.message;
    throw error;
  }
}

/** The file's options in file order, without unreadable ones. */
function optionsOf(input: unknown, problems: string[]): readonly Option[] {
  if (!isObject(input)) {
    problems.push(
      'a space must be an object of options, such as "lr": {"float": [0.0001, 0.1], "log": true}',
    );
    return [];
  }
  const options: Option[] = [];
  const seen = new Set<string>();
  const add = (path: Option['path'], value: unknown): void => {
    const name = path.join('.');
    if (seen.has(name)) problems.push(`${name}: given twice`);
    seen.add(name);
    const isList = Array.isArray(value) && value.some(isObject);
    const values = isList ? (value as readonly unknown[]) : [value];
    const parts = values.map((part, index) =>
      partOf(isList ? [...path, index] : path, part, (problem) => problems.push(problem)),
    );
    if (parts.every((part) => part !== undefined)) options.push({ path, isList, parts });
  };
  for (const [key, value] of Object.entries(input)) {
    const dotted = /^modelOptions\.(.+)$/.exec(key)?.[1];
    if (dotted !== undefined) add(['modelOptions', dotted], value);
    else if (!Object.hasOwn(trainOptions, key)) {
      problems.push(`${key}: ${nearest('option', key, Object.keys(trainOptions))}`);
    } else if (key !== 'modelOptions') add([key], value);
    else if (!isObject(value)) problems.push('modelOptions: must be an object with options of the model');
    else for (const [name, inner] of Object.entries(value)) add(['modelOptions', name], inner);
  }
  return options;
}

function partOf(
  path: readonly (string | number)[],
  value: unknown,
  complain: (problem: string) => void,
): Part | undefined {
  const name = pathName(path);
  if (!isObject(value)) return { kind: 'fixed', path: name, value };
  const kind = kinds.filter((known) => Object.hasOwn(value, known));
  if (kind.length !== 1) {
    complain(`${name}: candidates must be {"choices": […]}, {"int": [low, high]} or {"float": [low, high]}`);
    return undefined;
  }
  const checked = check<Candidates>(candidates[kind[0]!], value, { at: path });
  if (checked.problems) {
    for (const problem of checked.problems) complain(problem);
    return undefined;
  }
  const { value: data } = checked;
  try {
    const { distribution, probes, lists } = readCandidates(data, name);
    const condition =
      data.when &&
      Object.fromEntries(
        Object.entries(data.when).map(([other, values]) => [other, values.map(encodeChoice)]),
      );
    return {
      kind: 'searched',
      probes,
      parameter: { name, path, distribution, ...(lists && { lists }), ...(condition && { when: condition }) },
    };
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    complain(`${name}.${kind[0]}: ${error.message}`);
    return undefined;
  }
}

type Candidates = z.infer<(typeof candidates)[keyof typeof candidates]>;

/** @throws UsageError if choices repeat or bounds are invalid. */
function readCandidates(
  data: Candidates,
  name: string,
): {
  readonly distribution: Distribution;
  readonly probes: readonly { readonly path: string; readonly value: unknown }[];
  readonly lists?: ReadonlyMap<ParamValue, readonly number[]>;
} {
  if ('choices' in data) {
    const lists = new Map<ParamValue, readonly number[]>();
    for (const choice of data.choices) if (Array.isArray(choice)) lists.set(encodeChoice(choice), choice);
    return {
      distribution: categorical(data.choices.map(encodeChoice)),
      probes: data.choices.map((value, i) => ({ path: `${name}.choices[${i}]`, value })),
      ...(lists.size > 0 && { lists }),
    };
  }
  const { step, log = false } = data;
  const options = { log, ...(step !== undefined && { step }) };
  const kind = 'int' in data ? 'int' : 'float';
  const distribution = 'int' in data ? int(...data.int, options) : float(...data.float, options);
  const { low, high } = distribution;
  const probes = [
    { path: `${name}.${kind}[0]`, value: low },
    { path: `${name}.${kind}[1]`, value: high },
  ];
  // An option for whole numbers accepts whole bounds, but not the values between them.
  if (kind === 'float' && sizeOf(distribution) > 1) {
    probes.push({
      path: `${name}.float`,
      value: step === undefined ? low + (high - low) * 0.381966 : low + step,
    });
  }
  return { distribution, probes };
}

/** The config of the fixed options. Partly fixed lists have gaps for the searched values. */
function fixedOf(options: readonly Option[]): TrainConfigInput {
  const fixed: Record<string, unknown> = {};
  for (const { path, isList, parts } of options) {
    for (const [index, part] of parts.entries()) {
      if (part.kind === 'fixed') setAt(fixed, isList ? [...path, index] : path, part.value);
    }
  }
  return fixed;
}

function setAt(config: Record<string, unknown>, path: readonly (string | number)[], value: unknown): void {
  let target: Record<string | number, unknown> = config;
  for (const [depth, key] of path.slice(0, -1).entries()) {
    if (!Object.hasOwn(target, key)) target[key] = typeof path[depth + 1] === 'number' ? [] : {};
    target = target[key] as Record<string | number, unknown>;
  }
  target[path.at(-1)!] = value;
}

/** The values that an option's own schema, or its model, rejects. */
function valueProblems(
  { path, isList, parts }: Option,
  parameters: readonly TuneParameter[],
  fixed: TrainConfigInput,
): readonly string[] {
  // The value of each part while the others are checked.
  const first = parts.map((part) => (part.kind === 'fixed' ? part.value : part.probes[0]!.value));
  const probes = parts.flatMap((part, index) =>
    (part.kind === 'fixed' ? [part] : part.probes).map(({ path: where, value }) => ({ where, index, value })),
  );
  const rankOf = (index: number): number => (parts[index]!.kind === 'fixed' ? 1 : 0);
  const [key, option] = path;
  const problems = new Map<string, string>();
  // Fixed parts come last, so that in a list the message names the candidate that does not fit them.
  for (const { where, index, value } of probes.toSorted((a, b) => rankOf(a.index) - rankOf(b.index))) {
    const whole = isList ? first.with(index, value) : value;
    if (option === undefined) {
      const { schema } = trainOptions[key as keyof TrainConfigInput];
      const element = isList ? elementOf(schema) : undefined;
      const checked = element
        ? check(element, value, { at: [where] })
        : check(schema, whole, { at: [isList ? key : where] });
      const hint =
        parts[index]!.kind === 'fixed' && Array.isArray(value) && elementOf(schema) === undefined
          ? `; write candidates as {"choices": ${JSON.stringify(value)}}`
          : '';
      for (const problem of checked.problems ?? []) problems.set(problem, `${problem}${hint}`);
      continue;
    }
    const part = parts[index]!;
    const condition = part.kind === 'searched' ? part.parameter.when : undefined;
    const problem = modelProblem(option, whole, modelsOf(parameters, fixed, condition?.model));
    // An unknown name is reported once, not for each of its values.
    if (problem !== undefined && !problems.has(problem)) problems.set(problem, `${where}: ${problem}`);
  }
  return [...problems.values()];
}

/** The schema of a list's elements, or undefined if the schema is not a list. */
function elementOf(schema: z.ZodType): z.ZodType | undefined {
  const list = schema instanceof z.ZodDefault ? schema.def.innerType : schema;
  return list instanceof z.ZodArray ? (list.element as z.ZodType) : undefined;
}

/** The models of points that meet this condition. */
function modelsOf(
  parameters: readonly TuneParameter[],
  fixed: TrainConfigInput,
  condition: readonly ParamValue[] | undefined,
): readonly string[] {
  const searched = parameters.find(({ name }) => name === 'model')?.distribution;
  const names: readonly unknown[] =
    searched?.kind === 'categorical'
      ? (condition ?? searched.choices)
      : [fixed.model ?? trainOptions.model.default];
  return names.filter((name): name is string => typeof name === 'string' && Object.hasOwn(models, name));
}

function modelProblem(option: string, value: unknown, candidates: readonly string[]): string | undefined {
  for (const model of candidates) {
    const known = Object.keys(models[model]!.options);
    if (!known.includes(option)) {
      const others = candidates.filter((other) => Object.hasOwn(models[other]!.options, option));
      return others.length === 0
        ? `${model}: ${unknownName('option', option, known)}`
        : `${model} has no such option; add "when": {"model": ${JSON.stringify(others)}}`;
    }
    try {
      createModel(model, { classes: 10, options: { [option]: value as OptionValue } });
    } catch (error) {
      if (error instanceof VggError) return error.message;
      throw error;
    }
  }
  return undefined;
}
