/**
 * Checks the kernels on an adapter: small networks of odd shapes compute on it and on the reference, plain loops in
 * float64. Together they use every kernel; a difference counts for all kernels that the compared values passed through.
 */
import { fromArrays } from '../../data/dataset.ts';
import { random } from '../../data/random.ts';
import type { ImageFunction } from '../../data/transforms.ts';
import {
  compose,
  normalize,
  pad,
  randomCrop,
  randomHorizontalFlip,
  toTensor,
} from '../../data/transforms.ts';
import { initialWeights } from '../../model/initialize.ts';
import type { Network, Weights } from '../../model/layer.ts';
import {
  adaptiveAvgPool2d,
  avgPool2d,
  batchNorm1d,
  batchNorm2d,
  conv2d,
  dropout,
  flatten,
  linear,
  localResponseNorm,
  maxPool2d,
  relu,
} from '../../model/layers/index.ts';
import { buildNetwork, sequential, sizeOf } from '../../model/network.ts';
import { adam, adamw, muon, sgd } from '../../train/optimizers.ts';
import type { OptimizerOptions, Session, StepOptions } from '../backend.ts';
import { openReference } from '../reference.ts';
import type { Gpu } from './device.ts';
import { openSessionOn } from './driver.ts';
import type { TileTable } from './tiles.ts';

interface Case {
  readonly title: string;
  readonly network: Network;
  readonly batch: number;
  readonly optimizer: OptimizerOptions;
  readonly options?: StepOptions;
  readonly frozen?: readonly number[];
  /** Whether images come as values, not as bytes. */
  readonly values?: true;
}

const build = (layers: Parameters<typeof sequential>[0], input: readonly [number, number, number]): Network =>
  buildNetwork(sequential(layers), input);

/** Networks that together use every kernel. Sums of 1160 values and more are cut into slices by any table. */
const cases: readonly Case[] = [
  {
    title: '3×3 convolutions, a 2×2 pool, linear layers',
    network: build(
      [
        ...[conv2d({ out: 9, kernel: 3, padding: 1 }), relu(), maxPool2d(2)],
        ...[conv2d({ out: 7, kernel: 3 }), relu(), flatten(), linear(18), relu(), linear(5)],
      ],
      [3, 11, 9],
    ),
    batch: 5,
    optimizer: adam({ lr: 0.01 }),
    options: { clipNorm: 0.5, averageDecay: 0.9, labelSmoothing: 0.1 },
  },
  {
    title: 'long sums in slices, strides, 1×1',
    network: build(
      [
        ...[conv2d({ out: 149, kernel: 1 }), relu(), conv2d({ out: 6, kernel: 3, padding: 1 })],
        ...[conv2d({ out: 147, kernel: 3, stride: [2, 1] }), relu(), flatten(), linear(4)],
      ],
      [2, 7, 5],
    ),
    batch: 3,
    optimizer: sgd({ lr: 0.05, momentum: 0.9, nesterov: true }),
    options: { accumulate: 2 },
  },
  {
    title: 'pools of all kinds',
    network: build(
      [
        ...[
          conv2d({ out: 5, kernel: 3, padding: 1 }),
          relu(),
          maxPool2d({ kernel: 3, stride: 2, padding: 1 }),
        ],
        ...[avgPool2d({ kernel: 2, stride: 1 }), relu(), maxPool2d({ kernel: 2, stride: 1 }), relu()],
        ...[adaptiveAvgPool2d([2, 3]), flatten(), linear(4)],
      ],
      [1, 13, 15],
    ),
    batch: 3,
    optimizer: adamw({ lr: 0.01, weightDecay: 0.1 }),
    options: { mixup: 0.4 },
    values: true,
  },
  {
    title: 'normalizations and dropout',
    network: build(
      [
        ...[conv2d({ out: 6, kernel: 3 }), relu(), batchNorm2d(), relu()],
        ...[
          conv2d({ out: 5, kernel: 3, bias: false }),
          batchNorm2d({ affine: false }),
          localResponseNorm(3),
          relu(),
        ],
        ...[localResponseNorm(5), dropout(0.3), flatten(), batchNorm1d(), linear(4)],
      ],
      [3, 20, 19],
    ),
    batch: 7,
    optimizer: sgd({ lr: 0.02, momentum: 0.5 }),
    options: { mixup: 0.3 },
  },
  {
    title: 'muon, wide and tall weights',
    network: build(
      [
        ...[conv2d({ out: 9, kernel: 3, padding: 1 }), relu(), conv2d({ out: 6, kernel: 3 }), maxPool2d(2)],
        ...[relu(), flatten(), linear(150), relu(), linear(5)],
      ],
      [3, 9, 9],
    ),
    batch: 5,
    optimizer: muon({ lr: 0.01, otherLr: 0.5 }),
    options: { clipNorm: 0.5, averageDecay: 0.9 },
  },
  {
    title: 'frozen normalizations',
    network: build(
      [
        ...[conv2d({ out: 4, kernel: 3 }), relu(), batchNorm2d(), conv2d({ out: 6, kernel: 2 }), relu()],
        ...[batchNorm2d(), flatten(), linear(4)],
      ],
      [3, 7, 8],
    ),
    batch: 4,
    optimizer: adam({ lr: 0.01 }),
    frozen: [2, 5],
    values: true,
  },
];

export interface CheckResult {
  /** The case and what was compared. */
  readonly title: string;
  /** Largest difference over the largest expected value, of each tensor. */
  readonly error: number;
  /** The most that is right. */
  readonly most: number;
  /** Names of the kernels that ran for it. */
  readonly kernels: readonly string[];
}

/** Right up to rounding; Adam's first steps and Muon divide by gradients or parts of them, which may be small. */
const tolerance = 2e-5;
const dividedTolerance = 1e-3;
/** Steps of a training: with more, rounding grows through dropout and normalization. */
const steps = 2;

/** Runs the checks, all or those of wanted titles. `onCheck` is told each title before it runs. */
export async function checkGpu(
  gpu: Gpu,
  onCheck: (title: string) => void = () => {},
  wanted: (title: string) => boolean = () => true,
): Promise<CheckResult[]> {
  const results: CheckResult[] = [];
  for (const one of cases) {
    if (!wanted(one.title)) continue;
    onCheck(one.title);
    results.push(...(await checkCase(gpu, one, gpu.tiles)));
  }
  // Small networks choose small tiles.
  const [products] = cases as readonly [Case];
  for (const tile of gpu.tiles.tiles.slice(0, -1)) {
    const { bm, bn, tm, tn } = tile;
    const title = `tiles of ${bm}×${bn}, ${tm}×${tn}`;
    if (!wanted(title)) continue;
    onCheck(title);
    results.push(...(await checkCase(gpu, { ...products, title }, { ...gpu.tiles, tiles: [tile] })));
  }
  return results;
}

async function checkCase(gpu: Gpu, one: Case, tiles: TileTable): Promise<CheckResult[]> {
  const { network, batch, frozen = [] } = one;
  const options = { batchSize: batch };
  const sessions = [
    await openSessionOn(gpu, { ...tiles, adapter: undefined }, network, options),
    await openReference(network, options),
  ] as const;
  const results: CheckResult[] = [];
  const used = new Set<string>();
  const compare = async (
    what: string,
    most: number,
    compute: (session: Session) => Promise<readonly ArrayLike<number>[]>,
  ): Promise<void> => {
    used.clear();
    const [actual, expected] = [await compute(sessions[0]), await compute(sessions[1])];
    const scales = expected.map(largestOf);
    // Some tensors are 0 but for rounding, such as gradients of biases before a normalization.
    const least = 1e-3 * Math.max(...scales);
    const errors = expected.map((tensor, i) => apart(actual[i]!, tensor) / Math.max(scales[i]!, least));
    const error = Math.max(...errors);
    results.push({ title: `${one.title}: ${what}`, error, most, kernels: [...used] });
  };
  gpu.onKernel = ({ name }) => used.add(name);
  try {
    const weights = weightsOf(network);
    for (const session of sessions) {
      await session.setWeights(weights);
      await session.freeze(frozen);
    }
    await compareValues(one, compare);
    const divides = one.optimizer.kind !== 'sgd';
    await compare('training', divides ? dividedTolerance : tolerance * 10, (session) =>
      trained(session, one),
    );
  } finally {
    gpu.onKernel = undefined;
    for (const session of sessions) await session.close();
  }
  return results;
}

/** Forward values, gradients with respect to the images, and those of parameters. */
async function compareValues(
  { network, batch }: Case,
  compare: (
    what: string,
    most: number,
    compute: (session: Session) => Promise<readonly ArrayLike<number>[]>,
  ) => Promise<void>,
): Promise<void> {
  const images = noise(batch * sizeOf(network.input), 1);
  const layers = [...network.layers.keys()];
  const last = layers.length - 1;
  const [classes = 1] = network.output;
  const request = { images, count: batch };
  await compare(
    'forward',
    tolerance,
    async (session) => (await session.features({ ...request, layers })).values,
  );
  // A second gradient is added on its way.
  const inner = last - 1;
  const given = new Map([
    [last, noise(batch * classes, 2)],
    [inner, noise(batch * sizeOf(network.layers[inner]!.output), 3)],
  ]);
  await compare('input gradient', tolerance, async (session) => [
    (await session.features({ ...request, layers: [last], backward: { given } })).gradient!,
  ]);
  const labels = Array.from({ length: batch }, (_, i) => (3 * i) % classes);
  await compare('weight gradients', tolerance, async (session) => {
    const { loss, gradients } = await session.gradients(images, labels);
    return [[loss], ...tensorsIn(gradients)];
  });
}

/** Losses, weights and moments after some steps. */
async function trained(
  session: Session,
  { network, batch, optimizer, options = {}, values }: Case,
): Promise<readonly ArrayLike<number>[]> {
  const [channels, height, width] = network.input as readonly [number, number, number];
  const count = steps * batch - 1;
  const shape = [channels, height + 2, width + 1] as const;
  const [classes = 1] = network.output;
  const bytes = Uint8Array.from(noise(count * sizeOf(shape), 4), (value) => (value + 1) * 127);
  const labels = Array.from({ length: count }, (_, i) => (i * i) % classes);
  // Unknown functions run on the host, so that images reach the device as values.
  const unknown: readonly ImageFunction[] = values ? [(image) => image] : [];
  const channelsOf = (value: number): number[] => new Array<number>(channels).fill(value);
  const transform = compose([
    ...unknown,
    ...[pad(1), randomHorizontalFlip(), randomCrop([height, width]), toTensor()],
    normalize(channelsOf(0.45), channelsOf(0.25)),
  ]);
  const order = Uint32Array.from({ length: count }, (_, i) => (i * 5 + 2) % count);
  const dataset = fromArrays(bytes, labels, shape);
  const source = { dataset, transform, batchSize: batch, order, seed: 3, epoch: 2 };
  const { losses } = await session.train({ ...options, source, optimizer, from: 0, to: steps });
  const { weights, moments } = await session.state();
  return [
    losses,
    ...tensorsIn(weights as Weights),
    ...Object.values(moments).flatMap((all) => tensorsIn(all)),
  ];
}

const tensorsIn = (weights: Weights): readonly Float32Array[] =>
  [...weights.values()].map(({ data }) => data);

/** Initial weights, with running moments as of some training. */
function weightsOf(network: Network): Weights {
  const weights = new Map(initialWeights(network, 1));
  for (const [name, { shape, data }] of weights) {
    if (!name.includes('running')) continue;
    const own = noise(data.length, 5);
    weights.set(name, { shape, data: own.map((value) => (name.includes('var') ? 1 + value / 2 : value)) });
  }
  return weights;
}

/** Values from −1 to 1. */
function noise(length: number, seed: number): Float32Array<ArrayBuffer> {
  const source = random(seed, 1300);
  return Float32Array.from({ length }, () => 2 * source.uniform() - 1);
}

/** The largest difference; ∞ for a NaN. */
function apart(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  let worst = 0;
  for (let i = 0; i < expected.length; i++) {
    const own = Math.abs(actual[i]! - expected[i]!);
    if (!(own <= worst)) worst = Number.isNaN(own) ? Number.POSITIVE_INFINITY : own;
  }
  return worst;
}

function largestOf(values: ArrayLike<number>): number {
  let largest = 0;
  for (let i = 0; i < values.length; i++) largest = Math.max(largest, Math.abs(values[i]!));
  return largest;
}
