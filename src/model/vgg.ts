/**
 * The VGG family (Simonyan & Zisserman, ICLR 2015) as a table, keyed by the paper's letters as in torchvision: a
 * number is a 3×3 convolution with padding 1 and that many channels, then ReLU; 'M' is a max-pool of 2.
 * Also the lecture's two networks, built from the same parts. Layer names are those of torchvision's VGG, so weight
 * files are compatible.
 */
import { UsageError } from '../errors.ts';
import { checkOptions, shown } from '../options.ts';
import type { LayerSpec } from './layer.ts';
import {
  batchNorm2d,
  conv2d,
  dropout,
  flatten,
  linear,
  localResponseNorm,
  maxPool2d,
  relu,
} from './layers/index.ts';
import { type Sequential, sequential } from './network.ts';

export type VggLetter = 'A' | 'B' | 'C' | 'D' | 'E';

/** A 3×3 convolution with this many channels, one with another kernel, or a max-pool. */
export type VggEntry = number | { readonly out: number; readonly kernel: number } | 'M';

const pointwise = (out: number): VggEntry => ({ out, kernel: 1 });

/**
 * Table 1 of the paper. With the three linear layers, A has 11 weight layers, B 13, C and D 16, E 19. C differs from D
 * in three convolutions, which are 1×1.
 */
export const configurations: Readonly<Record<VggLetter, readonly VggEntry[]>> = {
  A: [64, 'M', 128, 'M', 256, 256, 'M', 512, 512, 'M', 512, 512, 'M'],
  B: [64, 64, 'M', 128, 128, 'M', 256, 256, 'M', 512, 512, 'M', 512, 512, 'M'],
  C: [
    ...[64, 64, 'M' as const, 128, 128, 'M' as const],
    ...[256, 256, pointwise(256), 'M' as const],
    ...[512, 512, pointwise(512), 'M' as const, 512, 512, pointwise(512), 'M' as const],
  ],
  D: [64, 64, 'M', 128, 128, 'M', 256, 256, 256, 'M', 512, 512, 512, 'M', 512, 512, 512, 'M'],
  E: [64, 64, 'M', 128, 128, 'M', 256, 256, 256, 256, 'M', 512, 512, 512, 512, 'M', 512, 512, 512, 512, 'M'],
};

/** Settings of a max-pool that differ from the paper's. */
export interface PoolSettings {
  readonly kernel: number;
  readonly stride: number;
}

export interface VggFeaturesOptions {
  /** Whether batch normalization follows each convolution, as in torchvision's vgg16_bn; false by default. */
  readonly batchNorm?: boolean;
  /** Whether local response normalization follows the first convolution, as in the paper's A-LRN; false by default. */
  readonly localResponseNorm?: boolean;
}

/**
 * The convolutional part of a VGG network, named `features.0`, `features.1`, …:
 * `sequential([...vggFeatures(configurations.D), flatten(), linear(10)])` is VGG-16 for 32×32 images.
 * `pools` lists the max-pools in order; the default is kernel 2 and stride 2.
 */
export function vggFeatures(
  configuration: readonly VggEntry[],
  pools: readonly PoolSettings[] = [],
  options: VggFeaturesOptions = {},
): readonly LayerSpec[] {
  checkOptions<VggFeaturesOptions>('vggFeatures', options, {
    batchNorm: 'optional',
    localResponseNorm: 'optional',
  });
  for (const [argument, value] of Object.entries({ configuration, pools })) {
    if (!Array.isArray(value)) throw new UsageError(`vggFeatures: ${argument} ${shown(value)} is not a list`);
  }
  const layers: LayerSpec[] = [];
  let place = 0;
  const name = (): string => `features.${place++}`;
  let pool = 0;
  for (const [index, entry] of configuration.entries()) {
    if (entry === 'M') {
      layers.push(maxPool2d({ ...(pools[pool++] ?? { kernel: 2, stride: 2 }), name: name() }));
      continue;
    }
    const { out, kernel } = typeof entry === 'object' && entry !== null ? entry : { out: entry, kernel: 3 };
    layers.push(conv2d({ out, kernel, padding: Math.floor(kernel / 2), name: name() }));
    if (options.batchNorm) layers.push(batchNorm2d({ name: name() }));
    layers.push(relu({ name: name() }));
    // Without a number, so that weight files fit networks with and without it.
    if (options.localResponseNorm && index === 0) {
      layers.push(localResponseNorm({ ...krizhevsky, name: 'features.lrn' }));
    }
  }
  return layers;
}

/** Krizhevsky et al. 2012; their α is not divided by the size, as PyTorch's is. */
const krizhevsky = { size: 5, alpha: 5e-4, beta: 0.75, k: 2 };

/** The lecture's network: one block of two convolutions; 20,778 parameters on 3×32×32 with ten classes. */
export function simplified(options: { readonly classes: number }): Sequential {
  checkOptions<typeof options>('simplified', options, { classes: 'required' });
  return sequential(
    [
      conv2d({ out: 16, kernel: 3, name: 'conv1' }),
      relu(),
      conv2d({ out: 32, kernel: 3, name: 'conv2' }),
      relu(),
      maxPool2d(4),
      flatten(),
      linear({ out: options.classes, name: 'fc' }),
    ],
    { name: 'simplified' },
  );
}

export interface Vgg7Options {
  readonly classes: number;
  /** Channels of the first and second block; 64 and 128 by default. */
  readonly channels?: readonly [number, number];
  /** Kernels of the two max-pools; 2 and 2 by default. */
  readonly poolKernels?: readonly [number, number];
  /** Strides of the two max-pools; 2 and 2 by default. */
  readonly poolStrides?: readonly [number, number];
  /** Hidden units of the classifier; 512 by default. */
  readonly hidden?: number;
  /** Probability of dropping a hidden unit in training; 0 (no dropout) by default. */
  readonly dropout?: number;
  /** Whether batch normalization follows each convolution; false by default. */
  readonly batchNorm?: boolean;
}

/** The lecture's third exercise: a block of two convolutions, a block of three, and two linear layers. */
export function vgg7(options: Vgg7Options): Sequential {
  checkOptions<Vgg7Options>('vgg7', options, {
    classes: 'required',
    channels: 'optional',
    poolKernels: 'optional',
    poolStrides: 'optional',
    hidden: 'optional',
    dropout: 'optional',
    batchNorm: 'optional',
  });
  const { classes, channels = [64, 128], poolKernels = [2, 2], poolStrides = [2, 2], hidden = 512 } = options;
  const { dropout: probability = 0, batchNorm = false } = options;
  for (const [option, value] of Object.entries({ channels, poolKernels, poolStrides })) {
    if (!Array.isArray(value) || value.length !== 2) {
      throw new UsageError(`vgg7: ${option} ${shown(value)} is not a list of two numbers`);
    }
  }
  const [first, second] = channels;
  const pools = [
    { kernel: poolKernels[0], stride: poolStrides[0] },
    { kernel: poolKernels[1], stride: poolStrides[1] },
  ];
  return sequential(
    [
      ...vggFeatures([first, first, 'M', second, second, second, 'M'], pools, { batchNorm }),
      flatten(),
      linear({ out: hidden, name: 'classifier.0' }),
      relu({ name: 'classifier.1' }),
      // Not numbered, so that weight files fit networks with and without it.
      ...(probability > 0 ? [dropout({ probability, name: 'classifier.dropout' })] : []),
      linear({ out: classes, name: 'classifier.2' }),
    ],
    { name: batchNorm ? 'vgg7-bn' : 'vgg7' },
  );
}
