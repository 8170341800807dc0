/**
 * All options of a training, each stated once: the table holds type, range, default and meaning, and with which choices
 * of another option it has an effect. The type of a config, its checks, the command line's flags and the values that a
 * search space may vary are derived from it.
 */
import * as z from 'zod';
import { pathSchema } from '../check.ts';
import { type DatasetSpec, specProblem } from '../data/named.ts';
import type { ChannelStatistics } from '../data/statistics.ts';
import { deviceNames } from '../engine/backend.ts';
import { longestPattern, mostPatterns } from '../model/layer-patterns.ts';
import type { NetworkDescription } from '../model/models.ts';
import { type PresetName, presetNames } from '../model/normalization-presets.ts';
import { maxThreads, shown } from '../options.ts';
import { type Change, changesProblem } from './changes.ts';
import { modelSchema } from './network-description.ts';

export const optimizerNames = ['adam', 'adamw', 'sgd'] as const;
export const cropNames = ['resized', 'random', 'jitter'] as const;
export const scheduleNames = ['constant', 'step', 'multiStep', 'cosine', 'oneCycle', 'plateau'] as const;

/** The most channels of an image. */
const mostChannels = 16;

/** An option without a default may be missing; one with an owner has an effect only with these choices of it. */
const table = {
  model: {
    type: 'model',
    default: 'simplified',
    meaning: 'network',
  },
  modelOptions: { type: 'modelOptions', default: {}, meaning: 'options of the network, by name' },
  dataset: {
    type: 'dataset',
    default: 'shapes',
    meaning: 'data set',
  },
  data: {
    type: 'path',
    meaning:
      'folder or archive with the CIFAR files; no other place is searched. Of image files, their folder, if it is not where the data set says',
    owner: { option: 'dataset', choices: ['cifar10', 'cifar100', 'folder:DIR', 'csv:FILE'] },
  },
  labels: {
    type: 'choice',
    choices: ['fine', 'coarse'],
    meaning: 'class labels',
    owner: { option: 'dataset', choices: ['cifar100'] },
  },
  size: {
    type: 'whole',
    least: 1,
    most: 4096,
    meaning: "side in pixels of the network's input (default: that of the images the network is made for)",
    owner: { option: 'dataset', choices: ['folder:DIR', 'csv:FILE'] },
  },
  skipBroken: {
    type: 'switch',
    default: false,
    meaning: 'leave out image files that are broken',
    owner: { option: 'dataset', choices: ['folder:DIR', 'csv:FILE'] },
  },
  validation: {
    type: 'number',
    least: 0,
    below: 1,
    default: 0,
    meaning: 'fraction of the training images held out to select the best weights',
  },
  normalize: {
    type: 'switch',
    default: false,
    meaning: 'normalize each channel by its mean and standard deviation',
  },
  normalization: {
    type: 'normalization',
    meaning:
      "statistics that normalize images, as the weights in --init expect (default: the data set's own)",
    owner: { option: 'normalize' },
  },
  augment: { type: 'switch', default: true, meaning: 'flip and crop training images at random' },
  crop: {
    type: 'choice',
    choices: cropNames as typeof cropNames,
    default: 'resized',
    meaning:
      'how --augment crops photos: a window of random size, a window of the prepared image, or one after scale jitter',
    owner: [{ option: 'dataset', choices: ['folder:DIR', 'csv:FILE'] }, { option: 'augment' }],
  },
  rotation: {
    type: 'number',
    least: 0,
    below: 180,
    default: 0,
    meaning: 'largest angle in degrees by which training images are rotated; 0: none',
  },
  colorJitter: {
    type: 'number',
    least: 0,
    below: 2,
    default: 0,
    meaning:
      'largest change of brightness, contrast and saturation of training images, and a quarter of it of hue; 0: none',
  },
  colorShift: {
    type: 'number',
    least: 0,
    default: 0,
    meaning:
      'standard deviation of a shift along the principal components of color, 0.1 in the paper; 0: none',
  },
  cutout: {
    type: 'whole',
    least: 0,
    default: 0,
    meaning: 'side in pixels of a square blanked in each training image; 0: none',
  },
  mixup: {
    type: 'number',
    least: 0,
    default: 0,
    meaning: 'α of the Beta distribution that mixes pairs of images; 0: none',
  },
  shuffle: { type: 'switch', default: true, meaning: 'shuffle the training images in each epoch' },
  batchSize: { type: 'whole', least: 1, default: 100, meaning: 'images per step' },
  accumulate: {
    type: 'whole',
    least: 1,
    default: 1,
    meaning: 'batches whose gradients are summed into one optimizer step',
  },
  // The epoch is one 32-bit word of the random numbers' key.
  epochs: {
    type: 'whole',
    least: 1,
    most: 4_294_967_295,
    default: 80,
    meaning: 'passes over the training images',
  },
  steps: {
    type: 'whole',
    least: 1,
    meaning:
      'stop after this many steps in total, even mid-epoch; with --accumulate, after the last full group',
  },
  optimizer: {
    type: 'choice',
    choices: optimizerNames as typeof optimizerNames,
    default: 'adam',
    meaning: 'optimizer',
  },
  lr: { type: 'number', above: 0, default: 0.001, meaning: 'learning rate' },
  beta1: {
    type: 'number',
    least: 0,
    below: 1,
    default: 0.9,
    meaning: 'decay of the first moment',
    owner: { option: 'optimizer', choices: ['adam', 'adamw'] },
  },
  beta2: {
    type: 'number',
    least: 0,
    below: 1,
    default: 0.999,
    meaning: 'decay of the second moment',
    owner: { option: 'optimizer', choices: ['adam', 'adamw'] },
  },
  epsilon: {
    type: 'number',
    above: 0,
    default: 1e-8,
    meaning: 'added to the denominator for stability',
    owner: { option: 'optimizer', choices: ['adam', 'adamw'] },
  },
  momentum: {
    type: 'number',
    least: 0,
    below: 1,
    default: 0.9,
    meaning: 'momentum',
    owner: { option: 'optimizer', choices: ['sgd'] },
  },
  nesterov: {
    type: 'switch',
    default: false,
    meaning: 'Nesterov momentum',
    owner: { option: 'optimizer', choices: ['sgd'] },
  },
  weightDecay: {
    type: 'number',
    least: 0,
    default: 0,
    meaning: 'L2 penalty; with adamw, decoupled from the gradient',
  },
  schedule: {
    type: 'choice',
    choices: scheduleNames as typeof scheduleNames,
    default: 'step',
    meaning: 'learning rate schedule',
  },
  lrStep: {
    type: 'whole',
    least: 1,
    default: 20,
    meaning: 'epochs between changes of the learning rate',
    owner: { option: 'schedule', choices: ['step'] },
  },
  lrGamma: {
    type: 'number',
    above: 0,
    default: (1 / 3) as number,
    meaning: 'factor for the learning rate at each change',
    owner: { option: 'schedule', choices: ['step', 'multiStep', 'plateau'] },
  },
  milestones: {
    type: 'wholes',
    least: 1,
    most: 1000,
    default: [],
    meaning: 'epochs after which the learning rate changes',
    owner: { option: 'schedule', choices: ['multiStep'] },
  },
  patience: {
    type: 'whole',
    least: 0,
    default: 10,
    meaning: 'epochs without improvement before the learning rate changes',
    owner: { option: 'schedule', choices: ['plateau'] },
  },
  minLr: {
    type: 'number',
    least: 0,
    default: 0,
    meaning: 'lowest learning rate',
    owner: { option: 'schedule', choices: ['cosine', 'plateau'] },
  },
  // oneCycle has its own warm-up.
  warmup: {
    type: 'number',
    least: 0,
    default: 0,
    meaning: 'epochs in which the learning rate rises from 0; may be a fraction',
    owner: { option: 'schedule', choices: ['constant', 'step', 'multiStep', 'cosine', 'plateau'] },
  },
  changes: {
    type: 'changes',
    meaning:
      "change settings from a step on, as in '500:lr=0.01,momentum=0.8'; settings: lr, momentum, weightDecay. A run records here what was changed while it trained",
  },
  lrGroups: {
    type: 'factors',
    default: {},
    meaning: "factor of the learning rate for layers, by name or pattern, as in 'features=0.1'",
  },
  freeze: {
    type: 'names',
    meaning: "layers that are not trained, by name or pattern, as in 'features' or 'conv1_*'",
  },
  unfreezeAfter: {
    type: 'whole',
    least: 1,
    meaning: 'epochs after which all layers are trained',
    owner: { option: 'freeze' },
  },
  unfreezeLr: {
    type: 'number',
    above: 0,
    default: 0.1,
    meaning: 'factor for the learning rate from then on',
    owner: { option: 'unfreezeAfter' },
  },
  labelSmoothing: {
    type: 'number',
    least: 0,
    below: 1,
    default: 0,
    meaning: 'fraction of the target spread evenly over all classes',
  },
  clipNorm: {
    type: 'number',
    least: 0,
    default: 0,
    meaning: 'largest gradient norm; larger gradients are scaled down; 0: no limit',
  },
  averageDecay: {
    type: 'number',
    least: 0,
    below: 1,
    default: 0,
    meaning: 'test a moving average of the weights with this decay; 0: test the weights',
  },
  earlyStopping: {
    type: 'whole',
    least: 0,
    default: 0,
    meaning: 'stop after this many epochs without improvement and restore the best weights; 0: never',
  },
  seed: {
    type: 'whole',
    least: 0,
    default: 0,
    meaning: 'seed of initial weights, image order, augmentation and dropout',
  },
  init: { type: 'path', meaning: 'start from the weights in this file: safetensors, or .pth of PyTorch' },
  initKey: {
    type: 'text',
    meaning: 'key of the state dict in a .pth checkpoint that has several',
    owner: { option: 'init' },
  },
  freshHead: {
    type: 'switch',
    default: false,
    meaning: 'start the last layer anew and take only the others from --init: for other classes',
    owner: { option: 'init' },
  },
  deepen: {
    type: 'switch',
    default: false,
    meaning: 'start from the first four convolutions and the linear layers of a shallower network in --init',
    owner: { option: 'init' },
  },
  device: {
    type: 'choice',
    choices: deviceNames as typeof deviceNames,
    default: 'auto',
    meaning: 'device that computes',
  },
  threads: {
    type: 'whole',
    least: 1,
    most: maxThreads as number,
    meaning: 'worker threads (default: one per core)',
  },
  /** Steps, or seconds as in `30s`. */
  checkpointEvery: {
    type: 'interval',
    meaning: 'also write a checkpoint every n steps or every N seconds (default: after each epoch)',
  },
  logEvery: { type: 'whole', least: 1, default: 100, meaning: 'log every n-th step of an epoch' },
} as const;
table satisfies Readonly<Record<string, TableEntry>>;

type TableEntry = OptionKind & {
  readonly meaning: string;
  readonly default?: unknown;
  /** If there are several, all must be chosen. */
  readonly owner?: Owner | readonly Owner[];
};

/** Types and ranges of values. `least` and `most` are inclusive, `above` and `below` exclusive. */
export type OptionKind =
  | { readonly type: 'switch' | 'path' | 'text' }
  | { readonly type: 'whole'; readonly least: number; readonly most?: number }
  | { readonly type: 'number'; readonly above?: number; readonly least?: number; readonly below?: number }
  | { readonly type: 'choice'; readonly choices: readonly string[] }
  /** Up to `most` whole numbers. */
  | { readonly type: 'wholes'; readonly least: number; readonly most: number }
  | { readonly type: 'modelOptions' }
  /** The name of a data set, or a kind and a path. */
  | { readonly type: 'dataset' }
  /** The name of a network, or its layers. */
  | { readonly type: 'model' }
  /** A number of steps, or seconds as in `30s`. */
  | { readonly type: 'interval' }
  /** Names or patterns of layers. */
  | { readonly type: 'names' }
  /** Changes of settings while training. */
  | { readonly type: 'changes' }
  /** A factor for each name or pattern of layers. */
  | { readonly type: 'factors' }
  /** A preset's name, or a mean and a deviation for each channel. */
  | { readonly type: 'normalization' };

/** An option has an effect only with these choices of another option, or where that is given or on. */
export type Owner =
  | { readonly option: 'dataset' | 'optimizer' | 'schedule'; readonly choices: readonly string[] }
  | {
      readonly option: 'init' | 'freeze' | 'unfreezeAfter' | 'normalize' | 'augment';
      readonly choices?: undefined;
    };

/** The values that an option of a kind takes. */
type Value<Kind> = Kind extends { readonly choices: readonly (infer Choice)[] }
  ? Choice
  : Kind extends { readonly type: 'whole' | 'number' }
    ? number
    : Kind extends { readonly type: 'switch' }
      ? boolean
      : Kind extends { readonly type: 'path' | 'text' }
        ? string
        : Kind extends { readonly type: 'wholes' }
          ? readonly number[]
          : Kind extends { readonly type: 'interval' }
            ? number | string
            : Kind extends { readonly type: 'dataset' }
              ? DatasetSpec
              : Kind extends { readonly type: 'model' }
                ? string | NetworkDescription
                : OtherValue<Kind>;

type OtherValue<Kind> = Kind extends { readonly type: 'names' }
  ? readonly string[]
  : Kind extends { readonly type: 'changes' }
    ? readonly Change[]
    : Kind extends { readonly type: 'factors' }
      ? Readonly<Record<string, number>>
      : Kind extends { readonly type: 'normalization' }
        ? PresetName | ChannelStatistics
        : Readonly<Record<string, number | readonly number[] | string>>;

type Values<Table> = {
  readonly [Key in keyof Table as Table[Key] extends { readonly default: unknown } ? Key : never]: Value<
    Table[Key]
  >;
} & {
  readonly [Key in keyof Table as Table[Key] extends { readonly default: unknown } ? never : Key]?: Value<
    Table[Key]
  >;
};

/** The complete options of a training; see the table above for meanings and defaults. */
export interface TrainConfig extends Values<typeof table> {}

/** The options of a training as a user writes them; missing ones take their defaults. */
export type TrainConfigInput = {
  readonly [Key in keyof TrainConfig]?: TrainConfig[Key] | undefined;
};

/** The facts about an option. */
export interface TrainOption {
  readonly description: string;
  /** Absent if the option may be missing. */
  readonly default?: unknown;
  /** Empty if the option always has an effect. */
  readonly owners: readonly Owner[];
  readonly kind: OptionKind;
  /** The schema that checks its values. */
  readonly schema: z.ZodType;
}

const patternSchema = z.string().min(1).max(longestPattern);

const channelsSchema = z.array(z.number()).min(1).max(mostChannels);
const statisticsSchema = z.strictObject({ mean: channelsSchema, std: channelsSchema });

/** All options by name. */
export const trainOptions: Readonly<Record<keyof TrainConfig, TrainOption>> = Object.fromEntries(
  Object.entries<TableEntry>(table).map(([name, entry]) => [name, optionOf(entry)]),
) as Record<keyof TrainConfig, TrainOption>;

function optionOf(entry: TableEntry): TrainOption {
  const { meaning, owner = [] } = entry;
  const owners = [owner].flat() as readonly Owner[];
  const choices = owners.flatMap((own) => own.choices ?? []);
  const hasDefault = entry.default !== undefined;
  const schema = schemaOf(entry);
  return {
    description: choices.length > 0 ? `${meaning} (${choices.join(', ')})` : meaning,
    ...(hasDefault && { default: entry.default }),
    owners,
    kind: entry,
    schema: hasDefault ? schema.default(entry.default) : schema.optional(),
  };
}

function schemaOf(kind: OptionKind): z.ZodType {
  switch (kind.type) {
    case 'switch':
      return z.boolean();
    case 'path':
      return pathSchema;
    case 'text':
      return z.string().min(1).max(200);
    case 'choice':
      return z.enum(kind.choices);
    case 'whole': {
      const least = z.int().min(kind.least);
      return kind.most === undefined ? least : least.max(kind.most);
    }
    case 'number': {
      const { above, least, below } = kind;
      const low = above === undefined ? z.number().min(least ?? -Infinity) : z.number().gt(above);
      return below === undefined ? low : low.lt(below);
    }
    case 'wholes':
      return z.array(z.int().min(kind.least)).max(kind.most);
    case 'dataset':
      return z.custom<DatasetSpec>().superRefine((value, context) => {
        const problem = typeof value === 'string' ? specProblem(value) : `${shown(value)} is not a name`;
        if (problem !== undefined) context.addIssue({ code: 'custom', message: problem });
      });
    case 'model':
      return modelSchema;
    case 'modelOptions':
      return z.record(z.string(), z.union([z.number(), z.array(z.number()), z.string()]));
    case 'names':
      return z.array(patternSchema).min(1).max(mostPatterns);
    case 'changes':
      return z.custom<readonly Change[]>().superRefine((value, context) => {
        const message = changesProblem(value);
        if (message !== undefined) context.addIssue({ code: 'custom', message });
      });
    case 'factors':
      return z.record(patternSchema, z.number());
    case 'normalization':
      return z.union([z.enum(presetNames), statisticsSchema]);
    case 'interval':
      return z.union([z.int().min(1), z.string().regex(/^\d+(\.\d+)?s$/)]);
    default:
      return kind satisfies never;
  }
}
