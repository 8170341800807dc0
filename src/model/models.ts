/**
 * The registry of named models, for `--model vgg7 --model-option channels=64,128` and `createModel('vgg7',
 * { classes: 10 })`. A model's options are data, so that the command line can list, parse and check them.
 */
import { UsageError } from '../errors.ts';
import { parseNumber, parseWhole } from '../numbers.ts';
import { checkOptions, isObject, shown } from '../options.ts';
import { unknownName } from '../suggest.ts';
import { type Initialization, withInitialization } from './initializations.ts';
import { largestSize } from './layers/arguments.ts';
import type { Sequential } from './network.ts';
import { simplified, type Vgg7Options, vgg7 } from './vgg.ts';

/** An option's value: a number or a list of numbers. */
export type OptionValue = number | readonly number[];

/** The numbers an option takes: `count` takes whole numbers ≥ 1, `share` numbers ≥ 0 and < 1. */
type NumberKind = 'count' | 'share';

const numberKinds: Readonly<
  Record<
    NumberKind,
    {
      readonly one: string;
      readonly several: string;
      readonly parse: (text: string) => number | undefined;
      readonly accepts: (value: number) => boolean;
    }
  >
> = {
  count: {
    one: 'a whole number ≥ 1',
    several: 'whole numbers ≥ 1',
    parse: parseWhole,
    accepts: (value) => Number.isSafeInteger(value) && value >= 1 && value <= largestSize,
  },
  share: {
    one: 'a number ≥ 0 and < 1',
    several: 'numbers ≥ 0 and < 1',
    parse: parseNumber,
    accepts: (value) => value >= 0 && value < 1,
  },
};

/** An option of a model. It takes as many numbers as its default has. */
export interface ModelOption {
  readonly kind: NumberKind;
  readonly default: OptionValue;
  readonly description: string;
}

export interface ModelDescription {
  readonly description: string;
  readonly options: Readonly<Record<string, ModelOption>>;
  /** `options` are complete and checked against the table. */
  readonly build: (classes: number, options: Readonly<Record<string, OptionValue>>) => Sequential;
}

const pair = (value: OptionValue | undefined): readonly [number, number] =>
  value as readonly [number, number];

const vgg7Options: ModelDescription['options'] = {
  channels: { kind: 'count', default: [64, 128], description: 'channels of the first and second block' },
  poolKernels: { kind: 'count', default: [2, 2], description: 'kernels of the two max-pools' },
  poolStrides: { kind: 'count', default: [2, 2], description: 'strides of the two max-pools' },
  hidden: { kind: 'count', default: 512, description: 'hidden units of the classifier' },
  dropout: { kind: 'share', default: 0, description: 'probability of dropping a hidden unit' },
};

const vgg7Settings = ({
  channels,
  poolKernels,
  poolStrides,
  hidden,
  dropout,
}: Readonly<Record<string, OptionValue>>): Omit<Vgg7Options, 'classes'> => ({
  channels: pair(channels),
  poolKernels: pair(poolKernels),
  poolStrides: pair(poolStrides),
  hidden: hidden as number,
  dropout: dropout as number,
});

export const models: Readonly<Record<string, ModelDescription>> = {
  simplified: {
    description: "the lecture's network: two 3×3 convolutions, max-pool 4, linear",
    options: {},
    build: (classes) => simplified({ classes }),
  },
  vgg7: {
    description: 'seven layers: two 3×3 convolutions, max-pool, three 3×3 convolutions, max-pool, two linear',
    options: vgg7Options,
    build: (classes, options) => vgg7({ classes, ...vgg7Settings(options) }),
  },
  'vgg7-bn': {
    description: 'vgg7 with batch normalization after each convolution',
    options: vgg7Options,
    build: (classes, options) => vgg7({ classes, ...vgg7Settings(options), batchNorm: true }),
  },
};

/**
 * Creates a model by name. Options may be numbers, lists or text as on the command line (`'64,128'`).
 * @throws UsageError for an unknown model or option (suggesting a close name) or an invalid value.
 */
export function createModel(
  name: string,
  settings: {
    readonly classes: number;
    readonly options?: Readonly<Record<string, OptionValue | string>>;
    /** How weights are drawn; the model's own way by default. */
    readonly initialization?: Initialization;
  },
): Sequential {
  const model = described(name);
  checkOptions<typeof settings>(name, settings, {
    classes: 'required',
    options: 'optional',
    initialization: 'optional',
  });
  const options = completeOptions(name, settings.options ?? {});
  const built = { ...model.build(settings.classes, options), options };
  const { initialization } = settings;
  return initialization === undefined ? built : withInitialization(built, initialization);
}

/** All options of a model, with defaults for missing ones. @throws UsageError like `createModel`. */
export function completeOptions(
  name: string,
  options: Readonly<Record<string, OptionValue | string>>,
): Readonly<Record<string, OptionValue>> {
  const defaults = Object.entries(described(name).options).map(([option, { default: value }]) => [
    option,
    value,
  ]);
  return { ...Object.fromEntries(defaults), ...optionNumbers(name, options) };
}

/**
 * Converts options of a model to numbers and lists: `'64,128'` becomes `[64, 128]`.
 * @throws UsageError like `createModel`.
 */
export function optionNumbers(
  name: string,
  options: Readonly<Record<string, OptionValue | string>>,
): Readonly<Record<string, OptionValue>> {
  const { options: known } = described(name);
  if (!isObject(options)) throw new UsageError(`${name}: the options are ${shown(options)}, not an object`);
  const parsed = Object.entries(options).map(([option, value]): [string, OptionValue] => {
    const description = Object.hasOwn(known, option) ? known[option] : undefined;
    if (description === undefined) {
      throw new UsageError(`${name}: ${unknownName('option', option, Object.keys(known))}`);
    }
    return [option, parseOption(name, option, value, description)];
  });
  return Object.fromEntries(parsed);
}

function described(name: string): ModelDescription {
  const model = Object.hasOwn(models, name) ? models[name] : undefined;
  if (model !== undefined) return model;
  if (typeof name === 'string') throw new UsageError(unknownName('model', name, Object.keys(models)));
  throw new UsageError(`createModel: name ${shown(name)} is not one of ${Object.keys(models).join(', ')}`);
}

/**
 * Parses `['channels=64,128', 'hidden=256']` into a record.
 * @throws UsageError if one does not have the form name=value, or a name is repeated.
 */
export function parseAssignments(assignments: readonly string[]): Readonly<Record<string, string>> {
  const parsed = new Map<string, string>();
  for (const assignment of assignments) {
    const equals = assignment.indexOf('=');
    if (equals < 1) throw new UsageError(`model option "${assignment}" does not have the form name=value`);
    const name = assignment.slice(0, equals).trim();
    if (parsed.has(name)) throw new UsageError(`model option "${name}" is given twice`);
    parsed.set(name, assignment.slice(equals + 1).trim());
  }
  return Object.fromEntries(parsed);
}

function parseOption(
  model: string,
  option: string,
  value: OptionValue | string,
  { kind, default: standard }: ModelOption,
): OptionValue {
  const count = typeof standard === 'number' ? 1 : standard.length;
  const { one, several, parse, accepts } = numberKinds[kind];
  const form = count === 1 ? one : `${count} ${several} separated by commas`;
  const texts = typeof value === 'string' ? value.split(',') : [value].flat().map(String);
  const numbers = texts.map((text) => parse(text.trim()) ?? Number.NaN);
  if (numbers.length !== count || !numbers.every(accepts)) {
    const given = texts.join(',').slice(0, 60);
    const beyond = numbers.find((number) => number > largestSize);
    if (kind === 'count' && numbers.length === count && beyond !== undefined) {
      throw new UsageError(`${model}: option ${option}=${given} is above the limit of ${largestSize}`);
    }
    const example = `${option}=${[standard].flat().join(',')}`;
    throw new UsageError(`${model}: option ${option}=${given} is not ${form}, as in ${example}`);
  }
  return typeof standard === 'number' ? numbers[0]! : numbers;
}
