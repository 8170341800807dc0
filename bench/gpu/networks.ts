/** The four networks that are compared, as data from which both sides build them. */
import type { ImageShape } from '../../src/data/dataset.ts';
import type { LayerSpec, Network } from '../../src/model/layer.ts';
import {
  batchNorm2d,
  conv2d,
  dropout,
  flatten,
  linear,
  maxPool2d,
  relu,
} from '../../src/model/layers/index.ts';
import { buildNetwork, sequential } from '../../src/model/network.ts';

export interface BenchNetwork {
  readonly name: string;
  readonly batch: number;
  readonly side: number;
  /** Channels of 3×3 convolutions, each with a ReLU; `M` is a max-pool. */
  readonly features: readonly (number | 'M')[];
  readonly padding: number;
  readonly pool: number;
  readonly batchNorm: boolean;
  readonly hidden: readonly number[];
  /** Probability behind each hidden layer; 0: none. */
  readonly dropout: number;
  readonly classes: number;
}

const configurationD = [
  ...[64, 64, 'M', 128, 128, 'M', 256, 256, 256, 'M', 512, 512, 512, 'M', 512, 512, 512, 'M'],
] as readonly (number | 'M')[];

const usual = { side: 32, padding: 1, pool: 2, batchNorm: false, hidden: [], dropout: 0, classes: 10 };

/** The lecture's network. */
const simplified = { ...usual, features: [16, 32, 'M'] as const, padding: 0, pool: 4 };

const networks: readonly BenchNetwork[] = [
  { ...simplified, name: 'simplified', batch: 100 },
  { ...usual, name: 'vgg7', batch: 100, features: [64, 64, 'M', 128, 128, 128, 'M'], hidden: [512] },
  { ...usual, name: 'vgg16-bn @32²', batch: 128, features: configurationD, batchNorm: true },
  {
    ...{ ...usual, name: 'vgg16 @224²', batch: 64, side: 224, features: configurationD },
    ...{ hidden: [4096, 4096], dropout: 0.5, classes: 1000 },
  },
];

const quickNetworks: readonly BenchNetwork[] = [
  {
    ...{ ...usual, name: 'small', batch: 4, side: 8, features: [4, 'M', 8, 'M'] },
    ...{ batchNorm: true, hidden: [12], dropout: 0.5 },
  },
];

export const networksOf = (quick: boolean): readonly BenchNetwork[] => (quick ? quickNetworks : networks);

export const imageShape = ({ side }: BenchNetwork): ImageShape => [3, side, side];

export function networkOf(own: BenchNetwork): Network {
  const { name, features, padding, pool, batchNorm, hidden, dropout: probability, classes } = own;
  const layers: LayerSpec[] = features.flatMap((entry): LayerSpec[] =>
    entry === 'M'
      ? [maxPool2d(pool)]
      : [conv2d({ out: entry, kernel: 3, padding }), ...(batchNorm ? [batchNorm2d()] : []), relu()],
  );
  const dropouts = probability > 0 ? [dropout(probability)] : [];
  layers.push(flatten(), ...hidden.flatMap((out) => [linear(out), relu(), ...dropouts]), linear(classes));
  return buildNetwork(sequential(layers, { name }), imageShape(own));
}
