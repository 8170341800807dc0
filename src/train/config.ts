/**
 * The options of a training: one flat record whose keys are the options of `vgg train`, the keys of a config file and
 * of a run's `config.json`, and the names that a search space may vary. The table below is the only place with an
 * option's type, default and meaning, and `owners` the only place that says which options need which choice of another
 * option; the command line's flags are made from both.
 */
import * as z from 'zod';
import { check, pathSchema } from '../check.ts';
import { datasetFacts, datasetNames } from '../data/named.ts';
import { leftToTrain } from '../data/split.ts';
import { type DeviceName, deviceNames } from '../engine/backend.ts';
import { UsageError } from '../errors.ts';
import { models } from '../model/models.ts';
import { maxThreads } from '../options.ts';
import type { FitOptions } from './fit.ts';

const whole = (least: number, most?: number) =>
  most === undefined ? z.int().min(least) : z.int().min(least).max(most);
const positive = z.number().positive();
const share = z.number().min(0).lt(1);

const modelNames = Object.keys(models) as [string, ...string[]];
/** The epoch is one 32-bit word of the random numbers' key. */
const mostEpochs = 2 ** 32 - 1;

export const optimizerNames = ['adam', 'adamw', 'sgd'] as const;
export const scheduleNames = ['constant', 'step', 'multiStep', 'cosine', 'oneCycle', 'plateau'] as const;

const numbersOrText = z.union([z.number(), z.array(z.number()), z.string()]);

/** Every option; `describe` holds its meaning and unit. Optional keys have no default. */
const schema = z.strictObject({
  model: z.enum(modelNames).default('simplified').describe('network'),
  modelOptions: z.record(z.string(), numbersOrText).default({}).describe('options of the network, by name'),
  dataset: z.enum(datasetNames).default('shapes').describe('data set'),
  data: pathSchema.optional().describe('folder or archive with the CIFAR files; no other place is searched'),
  labels: z.enum(['fine', 'coarse']).optional().describe('class labels'),
  validation: share
    .default(0)
    .describe('fraction of the training images held out to select the best weights'),
  normalize: z.boolean().default(false).describe('normalize each channel by its mean and standard deviation'),
  augment: z.boolean().default(true).describe('pad, flip and crop training images at random'),
  cutout: whole(0).default(0).describe('side in pixels of a square blanked in each training image; 0: none'),
  mixup: z
    .number()
    .min(0)
    .default(0)
    .describe('α of the Beta distribution that mixes pairs of images; 0: none'),
  shuffle: z.boolean().default(true).describe('shuffle the training images in each epoch'),
  batchSize: whole(1).default(100).describe('images per step'),
  accumulate: whole(1).default(1).describe('batches whose gradients are summed into one optimizer step'),
  epochs: whole(1, mostEpochs).default(80).describe('passes over the training images'),
  steps: whole(1)
    .optional()
    .describe(
      'stop after this many steps in total, even mid-epoch; with --accumulate, after the last full group',
    ),
  optimizer: z.enum(optimizerNames).default('adam').describe('optimizer'),
  lr: positive.default(0.001).describe('learning rate'),
  beta1: share.default(0.9).describe('decay of the first moment'),
  beta2: share.default(0.999).describe('decay of the second moment'),
  epsilon: positive.default(1e-8).describe('added to the denominator for stability'),
  momentum: share.default(0.9).describe('momentum'),
  nesterov: z.boolean().default(false).describe('Nesterov momentum'),
  weightDecay: z.number().min(0).default(0).describe('L2 penalty; with adamw, decoupled from the gradient'),
  schedule: z.enum(scheduleNames).default('step').describe('learning rate schedule'),
  lrStep: whole(1).default(20).describe('epochs between changes of the learning rate'),
  lrGamma: positive.default(1 / 3).describe('factor for the learning rate at each change'),
  milestones: z
    .array(whole(1))
    .max(1000)
    .default([])
    .describe('epochs after which the learning rate changes'),
  patience: whole(0).default(10).describe('epochs without improvement before the learning rate changes'),
  minLr: z.number().min(0).default(0).describe('lowest learning rate'),
  warmup: z
    .number()
    .min(0)
    .default(0)
    .describe('epochs in which the learning rate rises from 0; may be a fraction'),
  labelSmoothing: share.default(0).describe('fraction of the target spread evenly over all classes'),
  clipNorm: z
    .number()
    .min(0)
    .default(0)
    .describe('largest gradient norm; larger gradients are scaled down; 0: no limit'),
  averageDecay: share
    .default(0)
    .describe('test a moving average of the weights with this decay; 0: test the weights'),
  earlyStopping: whole(0)
    .default(0)
    .describe('stop after this many epochs without improvement and restore the best weights; 0: never'),
  seed: whole(0).default(0).describe('seed of initial weights, image order, augmentation and dropout'),
  init: pathSchema.optional().describe('start from the weights in this safetensors file'),
  device: z.enum(deviceNames).default('auto').describe('device that computes'),
  threads: whole(1, maxThreads).optional().describe('worker threads (default: one per core)'),
  checkpointEvery: z
    .union([whole(1), z.string().regex(/^\d+(\.\d+)?s$/)])
    .optional()
    .describe('also write a checkpoint every n steps or every N seconds (default: after each epoch)'),
  logEvery: whole(1).default(100).describe('log every n-th step of an epoch'),
});

/** An option has an effect only with these choices of another option. */
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
  // oneCycle has its own warm-up.
  warmup: schedules('constant', 'step', 'multiStep', 'cosine', 'plateau'),
};

/** The complete options of a training; see the table above for meanings and defaults. */
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
  /** Steps, or seconds as in `30s`. */
  readonly checkpointEvery?: number | string;
  readonly logEvery: number;
}

/** The options of a training as a user writes them; missing ones take their defaults. */
export type TrainConfigInput = Partial<TrainConfig>;

/** The facts about an option. */
export interface TrainOption {
  readonly description: string;
  /** Absent if the option may be missing. */
  readonly default?: unknown;
  /** Absent if the option always has an effect. */
  readonly owner?: Owner;
  /** The type and range of its values. */
  readonly kind: OptionKind;
  /** The schema that checks them. */
  readonly schema: z.ZodType;
}

/** Types and ranges of values, for flags and search spaces. `least` and `most` are inclusive, `above` and `below` exclusive. */
export type OptionKind =
  | { readonly type: 'switch' | 'text' | 'list' }
  | { readonly type: 'whole'; readonly least: number; readonly most?: number }
  | { readonly type: 'number'; readonly above?: number; readonly least?: number; readonly below?: number }
  | { readonly type: 'choice'; readonly choices: readonly string[] };

function kindOf(schema: z.ZodType): OptionKind {
  if (schema instanceof z.ZodDefault || schema instanceof z.ZodOptional) {
    return kindOf(schema.def.innerType as z.ZodType);
  }
  if (schema instanceof z.ZodBoolean) return { type: 'switch' };
  if (schema instanceof z.ZodEnum) return { type: 'choice', choices: schema.options.map(String) };
  if (schema instanceof z.ZodNumberFormat) {
    const { minValue, maxValue } = schema;
    const most = maxValue !== null && maxValue < Number.MAX_SAFE_INTEGER ? { most: maxValue } : {};
    return { type: 'whole', least: minValue ?? 0, ...most };
  }
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

/** The interval of checkpoints as `fit` takes it. */
export function checkpointInterval({
  checkpointEvery: every,
}: Pick<TrainConfig, 'checkpointEvery'>): FitOptions['checkpointEvery'] {
  if (every === undefined) return undefined;
  return typeof every === 'number' ? { steps: every } : { seconds: Number(every.slice(0, -1)) };
}

/** Batches in an epoch; known before any images are read. @throws UsageError if validation leaves no images to train with. */
export function stepsPerEpoch(
  config: Pick<TrainConfig, 'dataset' | 'labels' | 'validation' | 'batchSize'>,
): number {
  return Math.ceil(leftToTrain(datasetFacts(config), config.validation) / config.batchSize);
}

/**
 * Checks and completes a config that a user wrote; the library's `parseConfig`.
 * @throws UsageError like `parseConfig`, and for an option that would have no effect.
 */
export function parseGivenConfig(input: unknown, where = 'config'): TrainConfig {
  const config = parseConfig(input, where);
  refuseUnused(input as TrainConfigInput, config, where);
  return config;
}

/**
 * Checks and completes `input`. `where` names its source in messages. Options without effect are allowed, since a run's
 * config and a point of a search may have them.
 * @throws UsageError that names the key, the value, the rule and, for an unknown key, a close known one.
 */
export function parseConfig(input: unknown, where = 'config'): TrainConfig {
  const checked = check(schema, input, { keys: 'option' });
  if (checked.problems) throw new UsageError(`${where}: ${checked.problems.join('; ')}`);
  return checked.value as TrainConfig;
}

/** The owner of an option if it is not chosen, so that the option has no effect. */
function missingOwner(key: keyof TrainConfig, config: TrainConfigInput): Owner | undefined {
  const { owner } = trainOptions[key];
  if (!owner) return undefined;
  const chosen = config[owner.option] ?? trainOptions[owner.option].default;
  return owner.choices.includes(chosen as string) ? undefined : owner;
}

/**
 * The options of a config that have an effect. Used for what a run stores, and for a recipe or file whose optimizer,
 * schedule or data set another source replaces.
 */
export function usedOptions<Config extends TrainConfigInput>(
  options: Config,
  config: TrainConfigInput = options,
): Partial<Config> {
  const used = Object.entries(options).filter(([key]) => !missingOwner(key as keyof TrainConfig, config));
  return Object.fromEntries(used) as Partial<Config>;
}

/**
 * Rejects given options that have no effect in `config`. `nameOf` returns an option's name in its source.
 * @throws UsageError that names the option, the choices it belongs to and the way out.
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
