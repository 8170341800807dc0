/**
 * The paper's networks (Simonyan & Zisserman, ICLR 2015), with the names that torchvision gives their layers. A member is
 * a configuration of table 1, with or without batch normalization; the classifier is chosen apart from it.
 */
import { UsageError } from '../errors.ts';
import { checkOptions } from '../options.ts';
import { unknownName } from '../suggest.ts';
import { type Initialization, initializationNames, withInitialization } from './initializations.ts';
import type { LayerSpec, ModelOptions, Shape } from './layer.ts';
import { adaptiveAvgPool2d, dropout, flatten, linear, relu } from './layers/index.ts';
import type { ModelDescription, ModelOption } from './models.ts';
import { type Sequential, sequential } from './network.ts';
import { configurations, type VggEntry, type VggLetter, vggFeatures } from './vgg.ts';

interface Member {
  readonly letter: VggLetter;
  readonly batchNorm?: boolean;
  readonly localResponseNorm?: boolean;
}

export type VggName = `vgg${11 | 13 | 16 | 19}` | `vgg${11 | 13 | 16 | 19}-bn` | 'vgg11-lrn' | 'vgg16-c';

/** Table 1 of the paper; -bn as in torchvision. */
const members: Readonly<Record<VggName, Member>> = {
  vgg11: { letter: 'A' },
  'vgg11-bn': { letter: 'A', batchNorm: true },
  'vgg11-lrn': { letter: 'A', localResponseNorm: true },
  vgg13: { letter: 'B' },
  'vgg13-bn': { letter: 'B', batchNorm: true },
  vgg16: { letter: 'D' },
  'vgg16-bn': { letter: 'D', batchNorm: true },
  'vgg16-c': { letter: 'C' },
  vgg19: { letter: 'E' },
  'vgg19-bn': { letter: 'E', batchNorm: true },
};

export const vggNames: readonly VggName[] = Object.keys(members) as readonly VggName[];

/**
 * What follows the convolutions. `imagenet`: the paper's, two hidden layers of 4096 with dropout, on maps pooled to 7×7;
 * `small`: two hidden layers of 512 with dropout, on maps averaged to one value; `linear`: one layer on those.
 */
export const heads: readonly ['imagenet', 'linear', 'small'] = ['imagenet', 'linear', 'small'];
export type HeadName = (typeof heads)[number];

const hiddenOf: Readonly<Record<HeadName, number>> = { imagenet: 4096, small: 512, linear: 0 };

/** Images of at least this side get the paper's classifier. */
const imagenetFrom = 64;

export interface VggOptions {
  readonly classes: number;
  /** `imagenet` by default. */
  readonly head?: HeadName;
  /** Multiplies the channels of all convolutions; 1 by default. */
  readonly width?: number;
  /** Hidden units of the classifier; 4096 by default for `imagenet`, 512 for `small`. */
  readonly hidden?: number;
  /** Probability of dropping a hidden unit in training; 0.5 by default. */
  readonly dropout?: number;
  /** How weights start; `torchvision` by default. */
  readonly initialization?: Initialization;
}

/**
 * A network of the paper: `vgg('vgg16', { classes: 1000 })`. Fits the weights of torchvision.
 * @throws UsageError for an unknown name or option, or a value out of range.
 */
export function vgg(name: VggName, options: VggOptions): Sequential {
  if (!vggNames.includes(name))
    throw new UsageError(`vgg: ${unknownName('network', String(name), vggNames)}`);
  checkOptions<VggOptions>(name, options, {
    classes: 'required',
    head: 'optional',
    width: 'optional',
    hidden: 'optional',
    dropout: 'optional',
    initialization: 'optional',
  });
  const { classes, head = 'imagenet', width = 1, initialization = 'torchvision' } = options;
  const { hidden = hiddenOf[head], dropout: probability = 0.5 } = options;
  const { letter, ...normalization } = members[name];
  const layers = [
    ...vggFeatures(widened(configurations[letter], width), [], normalization),
    ...headLayers(head, classes, hidden, probability),
  ];
  return withInitialization(sequential(layers, { name }), initialization);
}

const widened = (configuration: readonly VggEntry[], width: number): readonly VggEntry[] => {
  const channels = (count: number): number => Math.max(1, Math.round(count * width));
  return configuration.map((entry) => {
    if (entry === 'M') return entry;
    return typeof entry === 'number' ? channels(entry) : { ...entry, out: channels(entry.out) };
  });
};

function headLayers(head: HeadName, classes: number, hidden: number, probability: number): LayerSpec[] {
  const pooled = (size: number): LayerSpec[] => [adaptiveAvgPool2d({ size, name: 'avgpool' }), flatten()];
  const at = (place: number): string => `classifier.${place}`;
  const dropped = (place: number): LayerSpec => dropout({ probability, name: at(place) });
  switch (head) {
    case 'imagenet':
      return [
        ...pooled(7),
        ...[linear({ out: hidden, name: at(0) }), relu({ name: at(1) }), dropped(2)],
        ...[linear({ out: hidden, name: at(3) }), relu({ name: at(4) }), dropped(5)],
        linear({ out: classes, name: at(6) }),
      ];
    case 'small':
      return [
        ...pooled(1),
        ...[dropped(0), linear({ out: hidden, name: at(1) }), relu({ name: at(2) })],
        ...[dropped(3), linear({ out: hidden, name: at(4) }), relu({ name: at(5) })],
        linear({ out: classes, name: at(6) }),
      ];
    case 'linear':
      return [...pooled(1), linear({ out: classes, name: 'classifier' })];
    default:
      return head satisfies never;
  }
}

const options: Readonly<Record<string, ModelOption>> = {
  head: {
    kind: 'choice',
    choices: heads,
    default: 'auto',
    description: `classifier; imagenet from ${imagenetFrom}×${imagenetFrom} pixels, linear below`,
  },
  width: { kind: 'factor', default: 1, description: 'factor of the channels' },
  hidden: {
    kind: 'count',
    default: 'auto',
    description: 'hidden units of the classifier; 4096, or 512 with head=small',
  },
  dropout: { kind: 'share', default: 0.5, description: 'probability of dropping a hidden unit' },
  initialization: {
    kind: 'choice',
    choices: initializationNames,
    default: 'torchvision',
    description: 'how weights start',
  },
};

/** Chooses the head from the size of the images; rejects options that have no effect with it. */
function complete(all: ModelOptions, chosen: ModelOptions, input: Shape | undefined): ModelOptions {
  const side = input ? Math.min(...input.slice(1)) : imagenetFrom;
  const head = (all.head === 'auto' ? (side >= imagenetFrom ? 'imagenet' : 'linear') : all.head) as HeadName;
  const { hidden, dropout: probability, ...others } = all;
  if (head !== 'linear') {
    return { ...others, head, hidden: hidden === 'auto' ? hiddenOf[head] : hidden!, dropout: probability! };
  }
  const useless = ['hidden', 'dropout'].find((option) => (chosen[option] ?? 'auto') !== 'auto');
  if (useless === undefined) return { ...others, head };
  const reason = all.head === 'auto' ? `, which images of ${side} pixels get` : '';
  throw new UsageError(
    `option ${useless}=${String(chosen[useless])} has no effect with head=linear${reason}; ` +
      'leave it out, or use head=small or head=imagenet',
  );
}

const letters: Readonly<Record<VggLetter, string>> = {
  A: '11 layers',
  B: '13 layers',
  C: '16 layers, three of them 1×1',
  D: '16 layers',
  E: '19 layers',
};

function describe({ letter, batchNorm, localResponseNorm }: Member): string {
  const normalization = batchNorm
    ? ', with batch normalization'
    : localResponseNorm
      ? ', with local response normalization'
      : '';
  return `configuration ${letter} of the paper: ${letters[letter]}${normalization}`;
}

const descriptionOf = (name: VggName): ModelDescription => ({
  description: describe(members[name]),
  usual: { input: [3, 224, 224], classes: 1000 },
  options,
  complete,
  build: (classes, given) => vgg(name, { classes, ...given }),
});

/** The family for the table of models. */
export const familyModels: Readonly<Record<string, ModelDescription>> = Object.fromEntries(
  vggNames.map((name) => [name, descriptionOf(name)]),
);
