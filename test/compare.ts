/**
 * Any device against the float64 reference, on any network: logits, loss and all gradients of one batch of random
 * images, then steps of training and an evaluation.
 */
import { expect } from 'vitest';
import type { OpenSession, Session } from '../src/engine/backend.ts';
import type { Network, Shape, Weights } from '../src/model/layer.ts';
import { buildNetwork, type Sequential } from '../src/model/network.ts';
import { expectAllClose } from './allclose.ts';
import {
  type Drawn,
  type Expected,
  type ExpectedTraining,
  expectedOf,
  largestIn,
  normalizes,
} from './expected.ts';

export interface CompareOptions {
  readonly batch: number;
  readonly seed?: number;
  readonly threads?: number;
  /** Largest difference over the tensor's largest value; 1e-4 by default. */
  readonly tolerance?: number;
  /** In place of random images and weights, where the caller knows that no decision depends on rounding. */
  readonly given?: Drawn;
  /** Indices of frozen layers. */
  readonly frozen?: readonly number[];
}

/** The reference's results, which all devices share: it takes longer than they do. */
const known = new WeakMap<Sequential, Map<string, Promise<Expected>>>();

function knownFor(
  network: Network,
  model: Sequential,
  batch: number,
  seed: number,
  frozen: readonly number[],
): Promise<Expected> {
  const ofModel = known.get(model) ?? new Map<string, Promise<Expected>>();
  known.set(model, ofModel);
  const key = `${network.input.join('×')}, batch ${batch}, seed ${seed}, frozen ${frozen}`;
  const expected = ofModel.get(key) ?? expectedOf(network, batch, seed, undefined, frozen);
  ofModel.set(key, expected);
  return expected;
}

/** Fails where `open`'s device and the reference differ on `model` for images of shape `input`. */
export async function compareWithReference(
  open: OpenSession,
  model: Sequential,
  input: Shape,
  options: CompareOptions,
): Promise<void> {
  const { batch, seed = 1, threads = 1, tolerance = 1e-4, given, frozen = [] } = options;
  const network = buildNetwork(model, input);
  const expected = await (given
    ? expectedOf(network, batch, seed, given, frozen)
    : knownFor(network, model, batch, seed, frozen));
  const { images, labels, training } = expected;
  const session = await open(network, { batchSize: batch, threads });
  try {
    await session.setWeights(expected.weights);
    await session.freeze(frozen);
    const logits = await session.predict(images, batch);
    expectAllClose(logits, expected.logits, tolerance, `${model.name}: logits`);
    const { loss, gradients } = await session.gradients(images, labels);
    expectAllClose([loss], [expected.loss], tolerance, `${model.name}: loss`);
    expectGradients(network, gradients, expected.gradients, tolerance, 'gradient', expected.rounding);
    // After a step the two have gradients that differ a little.
    if (training) await compareTraining(network, session, training, images, 10 * tolerance);
  } finally {
    await session.close();
  }
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
  { source, optimizer, steps, logits, evaluation }: ExpectedTraining,
  images: Float32Array,
  tolerance: number,
): Promise<void> {
  const { name } = network;
  for (const [i, { before, losses, after: expected }] of steps.entries()) {
    const step = i + 1;
    await session.setState(before);
    const result = await session.train({ source, optimizer, from: 0, to: 1 });
    expectAllClose(result.losses, losses, tolerance, `${name}: loss of step ${step}`);
    const after = await session.state();
    const [momentum, expectedMomentum] = [after.moments.momentum!, expected.moments.momentum!];
    expectGradients(network, momentum, expectedMomentum, tolerance, `momentum after step ${step}`);
    const longest = Math.max(0, ...[...expectedMomentum.values()].map(({ data }) => largestIn(data)));
    for (const [tensor, { data }] of expected.weights) {
      const variance = expected.weights.get(tensor.replace(/running_mean$/, 'running_var'));
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
  await session.setState(steps.at(-1)!.after);
  const count = source.order.length;
  const largest = largestIn(logits);
  expectAllClose(await session.predict(images, count), logits, tolerance, `${name}: logits after training`);
  const actual = await session.evaluate(source);
  const scale = Math.max(largest, Math.abs(evaluation.loss));
  expectAllClose([actual.loss], [evaluation.loss], tolerance, `${name}: loss of the evaluation`, scale);
  expect(actual.images).toBe(count);
  // Two logits that are as good as equal may have either order.
  const classes = logits.length / count;
  let close = 0;
  for (let n = 0; n < count; n++) {
    const own = logits[n * classes + source.dataset.labels[n]!]!;
    const row = logits.subarray(n * classes, (n + 1) * classes);
    if (row.filter((logit) => Math.abs(logit - own) <= tolerance * largest).length > 1) close++;
  }
  expect(Math.abs(actual.correct - evaluation.correct), `${name}: correct`).toBeLessThanOrEqual(close);
  const fives = Math.round(Math.abs(actual.topFive - evaluation.topFive) * count);
  expect(fives, `${name}: among the top five`).toBeLessThanOrEqual(close);
}
