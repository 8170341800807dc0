/**
 * Any device against the float64 reference, on any network: logits, loss and all gradients of one batch of random
 * images, then steps of training and an evaluation, with weights whose ReLU and pool decisions are far enough from
 * rounding to be the same on both.
 */
import { expect } from 'vitest';
import { type Dataset, fromArrays, type ImageShape } from '../src/data/dataset.ts';
import { random } from '../src/data/random.ts';
import { applyTransform, compose, imageFromBytes, normalize, toTensor } from '../src/data/transforms.ts';
import type { BatchSource, OpenSession, Session, SgdOptions } from '../src/engine/backend.ts';
import { openReference } from '../src/engine/reference.ts';
import { initialWeights } from '../src/model/initialize.ts';
import type { LayerPass, Network, Shape, Tensor, Weights } from '../src/model/layer.ts';
import { kindOf } from '../src/model/layers/index.ts';
import { crossEntropy } from '../src/model/loss.ts';
import { buildNetwork, type Sequential, sizeOf, tensorsOf } from '../src/model/network.ts';
import { expectAllClose } from './allclose.ts';
import { decisionMargin } from './margin.ts';

/** Streams of `random`, apart from the project's and the golden files'. */
const imageStream = 1100;
const weightStream = 1102;

/** Random images [count, …shape], uniform in [−1, 1). */
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
  /** In place of random images and weights, where the caller knows that no decision depends on rounding. */
  readonly given?: Drawn;
}

/** Fails where `open`'s device and the reference differ on `model` for images of shape `input`. */
export async function compareWithReference(
  open: OpenSession,
  model: Sequential,
  input: Shape,
  options: CompareOptions,
): Promise<void> {
  const { batch, seed = 1, threads = 1, tolerance = 1e-4 } = options;
  const network = buildNetwork(model, input);
  const labels = Array.from({ length: batch }, (_, n) => (n * 7 + seed) % network.output[0]!);
  const { source, images, weights } = options.given ?? drawDecided(network, labels, seed);
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
    const rounding = normalizes(network)
      ? roundingOf(network, { images, weights }, labels, expected.gradients)
      : new Map<string, number>();
    expectGradients(network, actual.gradients, expected.gradients, tolerance, 'gradient', rounding);
    // After a step the two have gradients that differ a little.
    const work = batch * network.layers.reduce((sum, { multiplyAdds }) => sum + multiplyAdds, 0);
    if (source && work <= mostWork)
      await compareTraining(network, session, reference, source, images, 10 * tolerance);
  } finally {
    await session.close();
    await reference.close();
  }
}

const largestIn = (values: ArrayLike<number>): number =>
  Array.from(values).reduce((a, b) => Math.max(a, Math.abs(b)), 0);

const normalizes = ({ layers }: Network): boolean => layers.some(({ spec }) => spec.kind === 'batchNorm');

/**
 * How far each gradient is apart where every layer's output and gradient is rounded to float32: behind a normalization
 * of values that are as good as equal, or of a bias that it takes out again, that is more than a share of the result.
 */
function roundingOf(
  network: Network,
  { images, weights }: Omit<Drawn, 'source'>,
  labels: readonly number[],
  gradients: Weights,
): ReadonlyMap<string, number> {
  const samples = labels.map((_, n) => n);
  const rounded = ({ shape, data }: Tensor): Tensor => ({ shape, data: data.map(Math.fround) });
  const parameters = network.layers.map((layer) =>
    layer.parameters.map(({ name }) => Float64Array.from(weights.get(name)!.data)),
  );
  const passes = network.layers.map(
    (_, layer): LayerPass => ({ training: true, buffers: [], draws: { seed: 0, epoch: 0, layer }, samples }),
  );
  const values: Tensor[] = [{ shape: [labels.length, ...network.input], data: Float64Array.from(images) }];
  for (const [i, { spec }] of network.layers.entries()) {
    values.push(rounded(kindOf(spec).forward(spec, values[i]!, parameters[i]!, passes[i]!)));
  }
  let { gradient } = crossEntropy(values.at(-1)!, labels);
  const apart = new Map<string, number>();
  for (const [i, { spec, parameters: own }] of [...network.layers.entries()].toReversed()) {
    const result = kindOf(spec).backward(spec, values[i]!, parameters[i]!, rounded(gradient), passes[i]!);
    gradient = result.input;
    for (const [j, { name }] of own.entries()) {
      const exact = gradients.get(name)!.data;
      apart.set(name, largestIn(result.parameters[j]!.map((value, k) => value - exact[k]!)));
    }
  }
  return apart;
}

/** Gradients, or what is as long as they are, of every parameter. `rounding` says how far each is apart by
 * rounding alone. */
function expectGradients(
  network: Network,
  actual: Weights,
  expected: Weights,
  tolerance: number,
  what: string,
  rounding: ReadonlyMap<string, number> = new Map(),
): void {
  const largest = Math.max(0, ...[...expected.values()].map(({ data }) => largestIn(data)));
  expect([...actual.keys()]).toEqual([...expected.keys()]);
  for (const [name, { data }] of expected) {
    const own = largestIn(data);
    // Where a layer is as good as dead, sums that cancel leave rounding of the terms' size, not of their sum's. And a
    // normalization takes out of a gradient what changes only mean or deviation, up to all of it.
    const dead = own < 1e-6 * largest ? largest : own;
    const scale = Math.max(
      normalizes(network) ? Math.max(own, largest / 10) : dead,
      (10 * (rounding.get(name) ?? 0)) / tolerance,
    );
    expectAllClose(actual.get(name)!.data, data, tolerance, `${network.name}: ${what} of ${name}`, scale);
  }
}

/** Steps of SGD, each from the reference's state, so that both take the same decisions; then an evaluation. */
async function compareTraining(
  network: Network,
  session: Session,
  reference: Session,
  source: BatchSource,
  images: Float32Array,
  tolerance: number,
): Promise<void> {
  const optimizer: SgdOptions = { kind: 'sgd', lr: 0.02, momentum: 0.9, nesterov: false, weightDecay: 0 };
  const { name } = network;
  for (let step = 1; step <= 3; step++) {
    const before = await reference.state();
    if (step > 1 && decisionMargin(network, before.weights, images) <= margin) break;
    await session.setState(before);
    const expected = await reference.train({ source, optimizer, from: 0, to: 1 });
    const { losses } = await session.train({ source, optimizer, from: 0, to: 1 });
    expectAllClose(losses, expected.losses, tolerance, `${name}: loss of step ${step}`);
    const [after, expectedAfter] = [await session.state(), await reference.state()];
    const [momentum, expectedMomentum] = [after.moments.momentum!, expectedAfter.moments.momentum!];
    expectGradients(network, momentum, expectedMomentum, tolerance, `momentum after step ${step}`);
    const longest = Math.max(0, ...[...expectedMomentum.values()].map(({ data }) => largestIn(data)));
    for (const [tensor, { data }] of expectedAfter.weights) {
      const variance = expectedAfter.weights.get(tensor.replace(/running_mean$/, 'running_var'));
      // As far apart as the steps are, and a mean as the values are.
      const scale = Math.max(
        largestIn(data),
        optimizer.lr * longest,
        tensor.endsWith('running_mean') ? Math.sqrt(largestIn(variance!.data)) : 0,
      );
      const what = `${name}: ${tensor} after step ${step}`;
      expectAllClose(after.weights.get(tensor)!.data, data, tolerance, what, scale);
    }
  }
  await session.setState(await reference.state());
  const count = source.order.length;
  const logits = await reference.predict(images, count);
  const largest = largestIn(logits);
  expectAllClose(await session.predict(images, count), logits, tolerance, `${name}: logits after training`);
  const [actual, expected] = [await session.evaluate(source), await reference.evaluate(source)];
  const scale = Math.max(largest, Math.abs(expected.loss));
  expectAllClose([actual.loss], [expected.loss], tolerance, `${name}: loss of the evaluation`, scale);
  expect(actual.images).toBe(count);
  // Two logits that are as good as equal may have either order.
  const classes = logits.length / count;
  let close = 0;
  for (let n = 0; n < count; n++) {
    const own = logits[n * classes + source.dataset.labels[n]!]!;
    const row = logits.subarray(n * classes, (n + 1) * classes);
    if (row.filter((logit) => Math.abs(logit - own) <= tolerance * largest).length > 1) close++;
  }
  expect(Math.abs(actual.correct - expected.correct), `${name}: correct`).toBeLessThanOrEqual(close);
  const fives = Math.round(Math.abs(actual.topFive - expected.topFive) * count);
  expect(fives, `${name}: among the top five`).toBeLessThanOrEqual(close);
}

/** One batch of random bytes. With these keys a step draws the same dropout as `gradients` does. */
function randomSource({ input, output }: Network, labels: readonly number[], seed: number): BatchSource {
  const [channels = 0] = input;
  const source = random(seed, imageStream);
  const bytes = Uint8Array.from({ length: labels.length * sizeOf(input) }, () => source.integer(256));
  const dataset: Dataset = fromArrays(bytes, labels, input as ImageShape, {
    classes: Array.from({ length: output[0]! }, (_, c) => String(c)),
  });
  const half = new Array<number>(channels).fill(0.5);
  const transform = compose([toTensor(), normalize(half, half)]);
  const order = Uint32Array.from(labels, (_, n) => n);
  return { dataset, transform, batchSize: labels.length, order, seed: 0, epoch: 0 };
}

/** The images of a source as the network sees them, from −1 to 1. */
function imagesOf({ dataset: { pixels, shape, length }, transform }: BatchSource): Float32Array {
  const size = sizeOf(shape);
  const images = new Float32Array(length * size);
  for (let n = 0; n < length; n++) {
    const image = imageFromBytes(pixels.subarray(n * size, (n + 1) * size), shape);
    images.set(applyTransform(transform, image, random(0, imageStream)).values, n * size);
  }
  return images;
}

/** Multiply-adds of a forward pass from which on the reference takes too long for several steps. */
const mostWork = 2e6;

/** Distance of a decision from the other one, over the layer's largest value, that no rounding bridges. */
const margin = 5e-6;

/** What a network is compared on. */
interface Drawn {
  /** What is trained on; none where the network takes vectors, which no data set holds. */
  readonly source?: BatchSource | undefined;
  readonly images: Float32Array;
  readonly weights: Weights;
}

/** The first random images and weights, from `seed` on, whose decisions have the margin. */
function drawDecided(network: Network, labels: readonly number[], seed: number): Drawn {
  for (let attempt = 0; attempt < 100; attempt++) {
    const draw = seed * 1000 + attempt;
    const source = network.input.length === 3 ? randomSource(network, labels, draw) : undefined;
    const images = source ? imagesOf(source) : randomImages(network.input, labels.length, draw);
    const weights = randomWeights(network, draw);
    if (decisionMargin(network, weights, images) > margin) return { source, images, weights };
  }
  throw new Error(
    `${network.name}: none of 100 draws has decisions with a margin; use a smaller batch or map`,
  );
}

/** Initial weights, and other values than a normalization's ones and zeros, which would hide an exchange of them. */
function randomWeights(network: Network, seed: number): Weights {
  const source = random(seed, weightStream);
  const weights = new Map(initialWeights(network, seed));
  for (const { name, shape, initial } of tensorsOf(network)) {
    if (!('constant' in initial)) continue;
    const data = Float32Array.from(
      { length: sizeOf(shape) },
      () => initial.constant + source.uniform() - 0.5,
    );
    weights.set(name, { shape, data });
  }
  return weights;
}
