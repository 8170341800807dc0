/**
 * The registry of named models, for `--model vgg7 --model-option channels=64,128` and `createModel('vgg7',
 * { classes: 10 })`. A model's options are data, so that the command line can list, parse and check them.
 */
import { UsageError } from '../errors.ts';
import { parseNumber, parseWhole } from '../numbers.ts';
import { checkOptions, isObject, shown } from '../options.ts';
import { unknownName } from '../suggest.ts';
import { familyModels } from './family.ts';
import type { LayerSpec, ModelOptions, Shape } from './layer.ts';
import { largestSize } from './layers/arguments.ts';
import { type Sequential, sequential } from './network.ts';
import { simplified, type Vgg7Options, vgg7 } from './vgg.ts';

/** An option's value: a number, a list of numbers, or one of several words. */
export type OptionValue = ModelOptions[string];

/**
 * The numbers an option takes: `count` takes whole numbers ≥ 1, `share` numbers ≥ 0 and < 1, `factor` numbers above 0 up
 * to 16.
 */
type NumberKind = 'count' | 'share' | 'factor';

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
  factor: {
    one: 'a number above 0, at most 16',
    several: 'numbers above 0, at most 16',
    parse: parseNumber,
    accepts: (value) => value > 0 && value <= 16,
  },
};

/** An option of a model. A list takes as many numbers as its default has. */
export type ModelOption = { readonly description: string } & (
  | {
      readonly kind: NumberKind;
      /** `auto`: `complete` chooses the number. */
      readonly default: number | readonly number[] | 'auto';
    }
  | {
      readonly kind: 'choice';
      readonly choices: readonly string[];
      /** One of the choices, or `auto`: `complete` chooses one. */
      readonly default: string;
    }
);

export interface ModelDescription {
  readonly description: string;
  /** The images that it is made for. */
  readonly usual: { readonly input: Shape; readonly classes: number };
  readonly options: Readonly<Record<string, ModelOption>>;
  /**
   * Replaces `auto` in options that are complete otherwise, given those that were chosen and the shape of the images.
   * @throws UsageError if options contradict each other.
   */
  readonly complete?: (options: ModelOptions, chosen: ModelOptions, input: Shape | undefined) => ModelOptions;
  /** `options` are complete and checked against the table. */
  readonly build: (classes: number, options: ModelOptions) => Sequential;
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
}: ModelOptions): Omit<Vgg7Options, 'classes'> => ({
  channels: pair(channels),
  poolKernels: pair(poolKernels),
  poolStrides: pair(poolStrides),
  hidden: hidden as number,
  dropout: dropout as number,
});

const cifar: ModelDescription['usual'] = { input: [3, 32, 32], classes: 10 };

export const models: Readonly<Record<string, ModelDescription>> = {
  simplified: {
    description: "the lecture's network: two 3×3 convolutions, max-pool 4, linear",
    options: {},
    usual: cifar,
    build: (classes) => simplified({ classes }),
  },
  vgg7: {
    description: 'seven layers: two 3×3 convolutions, max-pool, three 3×3 convolutions, max-pool, two linear',
    options: vgg7Options,
    usual: cifar,
    build: (classes, options) => vgg7({ classes, ...vgg7Settings(options) }),
  },
  'vgg7-bn': {
    description: 'vgg7 with batch normalization after each convolution',
    options: vgg7Options,
    usual: cifar,
    build: (classes, options) => vgg7({ classes, ...vgg7Settings(options), batchNorm: true }),
  },
  ...familyModels,
};

export interface ModelSettings {
  readonly classes: number;
  readonly options?: Readonly<Record<string, OptionValue>>;
  /** [channels, height, width] of the images, from which some models choose a classifier; 224×224 by default. */
  readonly input?: Shape;
}

/**
 * Creates a model by name. Options may be numbers, lists or text as on the command line (`'64,128'`).
 * @throws UsageError for an unknown model or option (suggesting a close name) or an invalid value.
 */
export function createModel(name: string, settings: ModelSettings): Sequential {
  const model = described(name);
  checkOptions<ModelSettings>(name, settings, {
    classes: 'required',
    options: 'optional',
    input: 'optional',
  });
  const options = completeOptions(name, settings.options ?? {}, settings.input);
  return { ...model.build(settings.classes, options), options };
}

/** All options of a model, with defaults for missing ones. @throws UsageError like `createModel`. */
export function completeOptions(
  name: string,
  options: Readonly<Record<string, OptionValue>>,
  input?: Shape,
): ModelOptions {
  const { options: known, complete } = described(name);
  const defaults = Object.entries(known).map(([option, { default: value }]) => [option, value]);
  const chosen = optionNumbers(name, options);
  const all: ModelOptions = { ...Object.fromEntries(defaults), ...chosen };
  return complete ? complete(all, chosen, input) : all;
}

/**
 * A chain of layers as a file describes it: `{ "name": "mine", "layers": [{ "kind": "conv2d", "out": 64, "kernel": 3 }, …] }`.
 * A layer has the options of its constructor. `"out": "classes"` stands for the number of classes.
 */
export interface NetworkDescription {
  readonly name: string;
  readonly layers: readonly Readonly<Record<string, unknown>>[];
}

/** The name of a model or of a description. */
export const modelName = (model: string | NetworkDescription): string =>
  typeof model === 'string' ? model : model.name;

/** The network of a description, or a model by name. @throws UsageError as `createModel` and the layers do. */
export function networkOf(model: string | NetworkDescription, settings: ModelSettings): Sequential {
  if (typeof model === 'string') return createModel(model, settings);
  if (!isObject(model) || !Array.isArray(model.layers)) {
    throw new UsageError(`networkOf: ${shown(model)} is neither a model's name nor { name, layers }`);
  }
  const { name, layers } = model;
  const [option] = Object.keys(settings.options ?? {});
  if (option !== undefined) {
    throw new UsageError(`${name}: a network from a file takes no option ${option}; change its layers`);
  }
  checkOptions<ModelSettings>(name, settings, {
    classes: 'required',
    options: 'optional',
    input: 'optional',
  });
  const completed = layers.map((layer) =>
    isObject(layer) && layer.out === 'classes' ? { ...layer, out: settings.classes } : layer,
  );
  return sequential(completed as unknown as readonly LayerSpec[], { name });
}

/**
 * Converts options of a model to numbers and lists: `'64,128'` becomes `[64, 128]`.
 * @throws UsageError like `createModel`.
 */
export function optionNumbers(name: string, options: Readonly<Record<string, OptionValue>>): ModelOptions {
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
  value: OptionValue,
  description: ModelOption,
): OptionValue {
  const { kind, default: standard } = description;
  const texts = (typeof value === 'string' ? value.split(',') : [value].flat().map(String)).map((text) =>
    text.trim(),
  );
  const given = texts.join(',').slice(0, 60);
  if (standard === 'auto' && given === 'auto') return 'auto';
  if (kind === 'choice') {
    if (description.choices.includes(given)) return given;
    const choices = [...description.choices, ...(standard === 'auto' ? ['auto'] : [])].join(', ');
    throw new UsageError(`${model}: option ${option}=${given} is not one of ${choices}`);
  }
  const count = Array.isArray(standard) ? standard.length : 1;
  const { one, several, parse, accepts } = numberKinds[kind];
  const form = count === 1 ? one : `${count} ${several} separated by commas`;
  const numbers = texts.map((text) => parse(text) ?? Number.NaN);
  if (numbers.length !== count || !numbers.every(accepts)) {
    const beyond = numbers.find((number) => number > largestSize);
    if (kind === 'count' && numbers.length === count && beyond !== undefined) {
      throw new UsageError(`${model}: option ${option}=${given} is above the limit of ${largestSize}`);
    }
    const example = standard === 'auto' ? '' : `, as in ${option}=${[standard].flat().join(',')}`;
    throw new UsageError(`${model}: option ${option}=${given} is not ${form}${example}`);
  }
  return Array.isArray(standard) ? numbers : numbers[0]!;
}
