/**
 * What a training is: one flat record whose keys are the options of `vgg train`, the keys of a config file and of a
 * run's `config.json`, and the names that a search space may vary. The table below is the only place that knows an
 * option's type, default and meaning, and `owners` the only one that knows which options go with which choice of
 * another; the command line's flags are made from them.
 */
import * as z from 'zod';
import { check, pathSchema } from '../check.ts';
import { datasetFacts, datasetNames } from '../data/named.ts';
import { leftToTrain } from '../data/split.ts';
import { type DeviceName, deviceNames } from '../engine/backend.ts';
import { UsageError } from '../errors.ts';
import { models } from '../model/models.ts';

const whole = (least: number) => z.int().min(least);
const positive = z.number().positive();
const share = z.number().min(0).lt(1);

const modelNames = Object.keys(models) as [string, ...string[]];
export const optimizerNames = ['adam', 'adamw', 'sgd'] as const;
export const scheduleNames = ['constant', 'step', 'multiStep', 'cosine', 'oneCycle', 'plateau'] as const;

const numbersOrText = z.union([z.number(), z.array(z.number()), z.string()]);

/** Every option; `describe` gives its meaning and unit. Optional keys have no default. */
const schema = z.strictObject({
  model: z.enum(modelNames).default('simplified').describe('network'),
  modelOptions: z
    .record(z.string(), numbersOrText)
    .default({})
    .describe("the network's own options, by name"),
  dataset: z.enum(datasetNames).default('shapes').describe('data set'),
  data: pathSchema.optional().describe('folder or archive with the files of CIFAR: the only place looked in'),
  labels: z.enum(['fine', 'coarse']).optional().describe('which classes'),
  validation: share
    .default(0)
    .describe('share of the training pictures kept apart to choose the best weights by'),
  normalize: z.boolean().default(false).describe('subtract mean and divide by deviation of each channel'),
  augment: z.boolean().default(true).describe('pad, flip and crop training pictures at random'),
  cutout: whole(0)
    .default(0)
    .describe('side of a square blanked in each training picture, in pixels; 0: none'),
  mixup: z
    .number()
    .min(0)
    .default(0)
    .describe('α of the Beta distribution that mixes pairs of pictures; 0: none'),
  shuffle: z.boolean().default(true).describe('put the training pictures into a new order for each epoch'),
  batchSize: whole(1).default(100).describe('pictures for each step'),
  accumulate: whole(1).default(1).describe('batches whose gradients make one step of the optimizer'),
  epochs: whole(1).default(80).describe('passes over the training pictures'),
  steps: whole(1)
    .optional()
    .describe(
      'end after this many batches in all, inside an epoch too; with --accumulate after the last whole group',
    ),
  optimizer: z.enum(optimizerNames).default('adam').describe('optimizer'),
  lr: positive.default(0.001).describe('learning rate'),
  beta1: share.default(0.9).describe('decay of the first moment'),
  beta2: share.default(0.999).describe('decay of the second moment'),
  epsilon: positive.default(1e-8).describe('added to the denominator'),
  momentum: share.default(0.9).describe('momentum'),
  nesterov: z.boolean().default(false).describe("Nesterov's momentum"),
  weightDecay: z.number().min(0).default(0).describe('L2 penalty; decoupled from the gradient with adamw'),
  schedule: z.enum(scheduleNames).default('step').describe('course of the learning rate'),
  lrStep: whole(1).default(20).describe('epochs between changes of the learning rate'),
  lrGamma: positive.default(1 / 3).describe('factor of the learning rate at each change'),
  milestones: z.array(whole(1)).default([]).describe('epochs after which the learning rate changes'),
  patience: whole(0).default(10).describe('epochs without progress before the learning rate changes'),
  minLr: z.number().min(0).default(0).describe('lowest learning rate'),
  warmup: z
    .number()
    .min(0)
    .default(0)
    .describe('epochs over which the learning rate rises from 0; may be a part'),
  labelSmoothing: share.default(0).describe('share of the target spread evenly over all classes'),
  clipNorm: z
    .number()
    .min(0)
    .default(0)
    .describe('largest norm of the gradient; longer ones are scaled; 0: any'),
  averageDecay: share
    .default(0)
    .describe('decay of the moving average of the weights that is tested; 0: none'),
  earlyStopping: whole(0)
    .default(0)
    .describe('end after so many epochs without progress, with the best weights; 0: never'),
  seed: whole(0).default(0).describe('of initial weights, order, augmentation and dropout'),
  init: pathSchema.optional().describe('start from the weights of this safetensors file'),
  device: z.enum(deviceNames).default('auto').describe('what computes'),
  threads: whole(1).optional().describe('worker threads; one for each core by default'),
  logEvery: whole(1).default(100).describe('report a step each k steps of an epoch'),
});

/** An option that has an effect with some choices of another option alone. */
export interface Owner {
  readonly option: 'dataset' | 'optimizer' | 'schedule';
  readonly choices: readonly string[];
}

const cifar: Owner = { option: 'dataset', choices: ['cifar10', 'cifar100'] };
const adams: Owner = { option: 'optimizer', choices: ['adam', 'adamw'] };
const sgd: Owner = { option: 'optimizer', choices: ['sgd'] };
const schedules = (...choices: readonly (typeof scheduleNames)[number][]): Owner => ({
  option: 'schedule',
  choices,
});

const owners: Partial<Record<keyof TrainConfig, Owner>> = {
  data: cifar,
  labels: { option: 'dataset', choices: ['cifar100'] },
  beta1: adams,
  beta2: adams,
  epsilon: adams,
  momentum: sgd,
  nesterov: sgd,
  lrStep: schedules('step'),
  lrGamma: schedules('step', 'multiStep', 'plateau'),
  milestones: schedules('multiStep'),
  patience: schedules('plateau'),
  minLr: schedules('cosine', 'plateau'),
  // One cycle has a rise of its own.
  warmup: schedules('constant', 'step', 'multiStep', 'cosine', 'plateau'),
};

/** A complete training; see the table above for meanings and defaults. */
export interface TrainConfig {
  readonly model: string;
  readonly modelOptions: Readonly<Record<string, number | readonly number[] | string>>;
  readonly dataset: (typeof datasetNames)[number];
  readonly data?: string;
  readonly labels?: 'fine' | 'coarse';
  readonly validation: number;
  readonly normalize: boolean;
  readonly augment: boolean;
  readonly cutout: number;
  readonly mixup: number;
  readonly shuffle: boolean;
  readonly batchSize: number;
  readonly accumulate: number;
  readonly epochs: number;
  readonly steps?: number;
  readonly optimizer: (typeof optimizerNames)[number];
  readonly lr: number;
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
  readonly momentum: number;
  readonly nesterov: boolean;
  readonly weightDecay: number;
  readonly schedule: (typeof scheduleNames)[number];
  readonly lrStep: number;
  readonly lrGamma: number;
  readonly milestones: readonly number[];
  readonly patience: number;
  readonly minLr: number;
  readonly warmup: number;
  readonly labelSmoothing: number;
  readonly clipNorm: number;
  readonly averageDecay: number;
  readonly earlyStopping: number;
  readonly seed: number;
  readonly init?: string;
  readonly device: DeviceName;
  readonly threads?: number;
  readonly logEvery: number;
}

/** A training as a user writes it: what is left out takes its default. */
export type TrainConfigInput = Partial<TrainConfig>;

/** What there is to know of an option. */
export interface TrainOption {
  readonly description: string;
  /** Absent where the option may be left out altogether. */
  readonly default?: unknown;
  /** Absent where it always has an effect. */
  readonly owner?: Owner;
  /** The form of its values. */
  readonly kind: OptionKind;
  /** The schema that checks them. */
  readonly schema: z.ZodType;
}

/** Forms of values, for flags and search spaces. `above` and `below` are not allowed themselves, `least` is. */
export type OptionKind =
  | { readonly type: 'switch' | 'text' | 'list' }
  | { readonly type: 'whole'; readonly least: number }
  | { readonly type: 'number'; readonly above?: number; readonly least?: number; readonly below?: number }
  | { readonly type: 'choice'; readonly choices: readonly string[] };

function kindOf(schema: z.ZodType): OptionKind {
  if (schema instanceof z.ZodDefault || schema instanceof z.ZodOptional) {
    return kindOf(schema.def.innerType as z.ZodType);
  }
  if (schema instanceof z.ZodBoolean) return { type: 'switch' };
  if (schema instanceof z.ZodEnum) return { type: 'choice', choices: schema.options.map(String) };
  if (schema instanceof z.ZodNumberFormat) return { type: 'whole', least: schema.minValue ?? 0 };
  if (schema === positive) return { type: 'number', above: 0 };
  if (schema === share) return { type: 'number', least: 0, below: 1 };
  if (schema instanceof z.ZodNumber) return { type: 'number', least: schema.minValue ?? -Infinity };
  return { type: schema instanceof z.ZodString ? 'text' : 'list' };
}

const describe = (meaning: string, owner: Owner | undefined): string =>
  owner ? `${meaning} (${owner.choices.join(', ')})` : meaning;

/** All options by name. */
export const trainOptions: Readonly<Record<keyof TrainConfig, TrainOption>> = Object.fromEntries(
  Object.entries(schema.shape).map(([name, option]) => [
    name,
    {
      description: describe(option.description ?? '', owners[name as keyof TrainConfig]),
      ...(Object.hasOwn(owners, name) && { owner: owners[name as keyof TrainConfig] }),
      ...(option instanceof z.ZodDefault && { default: option.def.defaultValue }),
      kind: kindOf(option),
      schema: option,
    },
  ]),
) as unknown as Record<keyof TrainConfig, TrainOption>;

/** Batches of an epoch, before any images are read. @throws UsageError if validation leaves no images to train with. */
export function stepsPerEpoch(
  config: Pick<TrainConfig, 'dataset' | 'labels' | 'validation' | 'batchSize'>,
): number {
  return Math.ceil(leftToTrain(datasetFacts(config), config.validation) / config.batchSize);
}

/**
 * What a user wrote, checked and completed; the library's `parseConfig`.
 * @throws UsageError as `parseConfig`, and for an option that would have no effect.
 */
export function parseGivenConfig(input: unknown, where: string): TrainConfig {
  const config = parseConfig(input, where);
  refuseUnused(input as TrainConfigInput, config, where);
  return config;
}

/**
 * `input` checked and completed. `where` names its source in messages. Options may be there that have no effect, as in
 * what a run was begun with or in a point of a search.
 * @throws UsageError that names the key, the value, the rule and, for an unknown key, the nearest known one.
 */
export function parseConfig(input: unknown, where: string): TrainConfig {
  const checked = check(schema, input, { keys: 'option' });
  if (checked.problems) throw new UsageError(`${where}: ${checked.problems.join('; ')}`);
  return checked.value as TrainConfig;
}

/** The owner of an option where it is not chosen, so that the option has no effect. */
function missingOwner(key: keyof TrainConfig, config: TrainConfigInput): Owner | undefined {
  const { owner } = trainOptions[key];
  if (!owner) return undefined;
  const chosen = config[owner.option] ?? trainOptions[owner.option].default;
  return owner.choices.includes(chosen as string) ? undefined : owner;
}

/**
 * What of a config has an effect: what is kept of a recipe or a file whose optimizer, schedule or data set another
 * source replaces, and what is written down.
 */
export function usedOptions<Config extends TrainConfigInput>(
  options: Config,
  config: TrainConfigInput = options,
): Partial<Config> {
  const used = Object.entries(options).filter(([key]) => !missingOwner(key as keyof TrainConfig, config));
  return Object.fromEntries(used) as Partial<Config>;
}

/**
 * Refuses what was given beside a `config` in which it has no effect. `nameOf` gives an option's name for its source.
 * @throws UsageError that names the option, what it belongs to and the way out.
 */
export function refuseUnused(
  given: TrainConfigInput,
  config: TrainConfigInput,
  where: string,
  nameOf: (key: string) => string = String,
): void {
  const problems = (Object.keys(given) as (keyof TrainConfig)[]).flatMap((key): string[] => {
    const owner = given[key] === undefined ? undefined : missingOwner(key, config);
    if (!owner) return [];
    const { option, choices } = owner;
    const chosen = config[option] ?? trainOptions[option].default;
    const others = choices.join(' or ');
    return [
      `${nameOf(key)} has no effect with ${option} ${chosen}: leave it out, or choose ${nameOf(option)} ${others}`,
    ];
  });
  if (problems.length > 0) throw new UsageError(`${where}${where === '' ? '' : ': '}${problems.join('; ')}`);
}
