/**
 * Any device against the float64 reference, on any network: loss, logits and all gradients of one batch of random
 * pictures, with weights whose ReLU and pool decisions are far enough from rounding to be the same on both.
 */
import { random } from '../src/data/random.ts';
import type { OpenSession } from '../src/engine/backend.ts';
import { openReference } from '../src/engine/reference.ts';
import { initialWeights } from '../src/model/initialize.ts';
import type { LayerSpec, Network, Shape, Weight, Weights } from '../src/model/layer.ts';
import type { Sides } from '../src/model/layers/arguments.ts';
import { conv2d, flatten, linear, maxPool2d, relu } from '../src/model/layers/index.ts';
import { buildNetwork, type Sequential, sequential, sizeOf } from '../src/model/network.ts';
import { expectAllClose } from './allclose.ts';
import { decisionMargin } from './margin.ts';

/** Streams of `random`, apart from the project's and the golden files'. */
const streams = { images: 1100, networks: 1101 } as const;

/** Random pictures [count, …shape], uniform in [−1, 1). */
export function randomImages(shape: Shape, count: number, seed: number): Float32Array {
  const source = random(seed, streams.images);
  return Float32Array.from({ length: count * sizeOf(shape) }, () => 2 * source.uniform() - 1);
}

export interface CompareOptions {
  readonly batch: number;
  readonly seed?: number;
  readonly threads?: number;
  /** Largest difference over the tensor's largest value; 1e-4 by default. */
  readonly tolerance?: number;
}

/** Fails where `open`'s device and the reference differ on `model` for pictures of shape `input`. */
export async function compareWithReference(
  open: OpenSession,
  model: Sequential,
  input: Shape,
  { batch, seed = 1, threads = 1, tolerance = 1e-4 }: CompareOptions,
): Promise<void> {
  const network = buildNetwork(model, input);
  const images = randomImages(input, batch, seed);
  const labels = Array.from({ length: batch }, (_, n) => (n * 7 + seed) % network.output[0]!);
  const weights = decidedWeights(network, images, seed);
  const reference = await openReference(network, { batchSize: batch });
  const session = await open(network, { batchSize: batch, threads });
  try {
    await reference.setWeights(weights);
    await session.setWeights(weights);
    const expectedLogits = await reference.predict(images, batch);
    const logits = await session.predict(images, batch);
    expectAllClose(logits, expectedLogits, tolerance, `${model.name}: logits`);
    const expected = await reference.gradients(images, labels);
    const actual = await session.gradients(images, labels);
    expectAllClose([actual.loss], [expected.loss], tolerance, `${model.name}: loss`);
    const largestOf = ({ data }: Weight): number => data.reduce((a, b) => Math.max(a, Math.abs(b)), 0);
    const largest = Math.max(...[...expected.gradients.values()].map(largestOf));
    for (const [name, weight] of expected.gradients) {
      // Where a layer is as good as dead, sums that cancel leave rounding of the terms' size, not of their sum's.
      const scale = largestOf(weight) < 1e-6 * largest ? largest : undefined;
      const found = actual.gradients.get(name)!.data;
      expectAllClose(found, weight.data, tolerance, `${model.name}: gradient of ${name}`, scale);
    }
  } finally {
    await session.close();
    await reference.close();
  }
}

/** The first random weights, from `seed` on, whose decisions on `images` have a margin of 5e-6. */
function decidedWeights(network: Network, images: Float32Array, seed: number): Weights {
  for (let attempt = 0; attempt < 100; attempt++) {
    const weights = initialWeights(network, seed * 1000 + attempt);
    if (decisionMargin(network, weights, images) > 5e-6) return weights;
  }
  throw new Error(
    `${network.name}: none of 100 draws has decisions with a margin; use a smaller batch or map`,
  );
}

export interface RandomCase {
  readonly model: Sequential;
  readonly input: Shape;
  readonly batch: number;
}

/** A small random network: one to three convolutions of any kernel, stride and padding, with or without ReLU and pool. */
export function randomCase(number: number): RandomCase {
  const source = random(number, streams.networks);
  const pick = <T>(...choices: readonly T[]): T => choices[source.integer(choices.length)]!;
  const channels = (): number => 1 + source.integer(pick(4, 20));
  const input = [channels(), 1 + source.integer(14), 1 + source.integer(14)];
  const layers: LayerSpec[] = [];
  const classes = 2 + source.integer(12);
  const fits = (spec: LayerSpec): boolean => {
    try {
      buildNetwork(sequential([...layers, spec, flatten(), linear(classes)]), input);
      return true;
    } catch {
      return false;
    }
  };
  const add = (spec: LayerSpec): void => {
    if (fits(spec)) layers.push(spec);
  };
  const convolutions = 1 + source.integer(3);
  for (let i = 0; i < convolutions; i++) {
    const kernel = pick(1, 2, 3, 3, 3, 4, 5, 7);
    const rectangle: readonly [number, number] = [kernel, pick(1, 3, kernel)];
    const padding = source.integer(3);
    add(
      conv2d({ out: channels(), kernel: pick<Sides>(kernel, rectangle), stride: pick(1, 1, 2, 3), padding }),
    );
    if (source.uniform() < 0.8) add(relu());
    if (source.uniform() < 0.5) {
      const pool = pick(2, 2, 3, 4);
      add(
        maxPool2d({ kernel: pool, stride: 1 + source.integer(4), padding: pick(0, 0, Math.floor(pool / 2)) }),
      );
      if (source.uniform() < 0.2) add(relu());
    }
  }
  layers.push(flatten());
  if (source.uniform() < 0.3) layers.push(linear(1 + source.integer(30)), relu());
  layers.push(linear({ out: classes, bias: source.uniform() < 0.8 }));
  return { model: sequential(layers, { name: `random ${number}` }), input, batch: pick(1, 2, 3, 5, 7, 13) };
}
