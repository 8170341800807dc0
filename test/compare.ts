/**
 * Any device against the float64 reference, on any network: loss, logits and all gradients of one batch of random
 * pictures, with weights whose ReLU and pool decisions are far enough from rounding to be the same on both.
 */
import { random } from '../src/data/random.ts';
import type { OpenSession } from '../src/engine/backend.ts';
import { openReference } from '../src/engine/reference.ts';
import { initialWeights } from '../src/model/initialize.ts';
import type { Network, Shape, Weight, Weights } from '../src/model/layer.ts';
import { buildNetwork, type Sequential, sizeOf } from '../src/model/network.ts';
import { expectAllClose } from './allclose.ts';
import { decisionMargin } from './margin.ts';

/** A stream of `random`, apart from the project's and the golden files'. */
const imageStream = 1100;

/** Random pictures [count, …shape], uniform in [−1, 1). */
export function randomImages(shape: Shape, count: number, seed: number): Float32Array {
  const source = random(seed, imageStream);
  return Float32Array.from({ length: count * sizeOf(shape) }, () => 2 * source.uniform() - 1);
}

export interface CompareOptions {
  readonly batch: number;
  readonly seed?: number;
  readonly threads?: number;
  /** Largest difference over the tensor's largest value; 1e-4 by default. */
  readonly tolerance?: number;
  /** Random ones by default. Where they are given, the caller knows that no decision hangs on rounding. */
  readonly images?: Float32Array;
  readonly weights?: Weights;
}

/** Fails where `open`'s device and the reference differ on `model` for pictures of shape `input`. */
export async function compareWithReference(
  open: OpenSession,
  model: Sequential,
  input: Shape,
  options: CompareOptions,
): Promise<void> {
  const { batch, seed = 1, threads = 1, tolerance = 1e-4 } = options;
  const network = buildNetwork(model, input);
  const images = options.images ?? randomImages(input, batch, seed);
  const labels = Array.from({ length: batch }, (_, n) => (n * 7 + seed) % network.output[0]!);
  const weights = options.weights ?? decidedWeights(network, images, seed);
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
    const normalized = network.layers.some(({ spec }) => spec.kind === 'batchNorm');
    for (const [name, weight] of expected.gradients) {
      const own = largestOf(weight);
      // Where a layer is as good as dead, sums that cancel leave rounding of the terms' size, not of their sum's. And a
      // normalisation takes out of a gradient what changes only mean or deviation, up to all of it.
      const dead = own < 1e-6 * largest ? largest : own;
      const scale = normalized ? Math.max(own, largest / 10) : dead;
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
