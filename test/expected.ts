/**
 * What the float64 reference computes of a network that a device is compared with: logits, loss and gradients of one
 * batch, then steps of training and an evaluation. Weights are drawn so that their ReLU and pool decisions are far
 * enough from rounding to be the same on any device.
 */
import { type Dataset, fromArrays, type ImageShape } from '../src/data/dataset.ts';
import { random } from '../src/data/random.ts';
import { applyTransform, imageFromBytes } from '../src/data/transforms/apply.ts';
import { compose, normalize, toTensor } from '../src/data/transforms.ts';
import type {
  BatchSource,
  EvaluateResult,
  Session,
  SgdOptions,
  TrainingState,
} from '../src/engine/backend.ts';
import { openReference } from '../src/engine/reference.ts';
import { initialWeights } from '../src/model/initialize.ts';
import type { LayerPass, Network, Shape, Tensor, Weights } from '../src/model/layer.ts';
import { passesOf } from '../src/model/layers/passes.ts';
import { crossEntropy } from '../src/model/loss.ts';
import { sizeOf, tensorsOf } from '../src/model/network.ts';
import { decisionMargin } from './margin.ts';

/** Streams of `random`, apart from the project's and the golden files'. */
const imageStream = 1100;
const weightStream = 1102;

/** Random images [count, …shape], uniform in [−1, 1). */
export function randomImages(shape: Shape, count: number, seed: number): Float32Array {
  const source = random(seed, imageStream);
  return Float32Array.from({ length: count * sizeOf(shape) }, () => 2 * source.uniform() - 1);
}

/** What a network is compared on. */
export interface Drawn {
  /** What is trained on; none where the network takes vectors, which no data set holds. */
  readonly source?: BatchSource | undefined;
  readonly images: Float32Array;
  readonly weights: Weights;
}

/** A step of SGD. */
interface ExpectedStep {
  readonly before: TrainingState;
  readonly losses: Float64Array;
  readonly after: TrainingState;
}

export interface Expected extends Drawn {
  readonly labels: readonly number[];
  readonly logits: Float32Array;
  readonly loss: number;
  readonly gradients: Weights;
  /** How far each gradient is apart by rounding alone; empty without normalization. */
  readonly rounding: ReadonlyMap<string, number>;
  /** None where it would take the reference too long, or where there is no data set. */
  readonly training?: ExpectedTraining | undefined;
}

export interface ExpectedTraining {
  readonly source: BatchSource;
  readonly optimizer: SgdOptions;
  readonly steps: readonly ExpectedStep[];
  /** After the last step. */
  readonly logits: Float32Array;
  readonly evaluation: EvaluateResult;
}

/**
 * `given`, where the caller knows that no decision depends on rounding, otherwise random images and weights. `frozen`
 * layers are indices.
 */
export async function expectedOf(
  network: Network,
  batch: number,
  seed: number,
  given?: Drawn,
  frozen: readonly number[] = [],
): Promise<Expected> {
  const labels = Array.from({ length: batch }, (_, n) => (n * 7 + seed) % network.output[0]!);
  const drawn = given ?? drawDecided(network, labels, seed, frozen);
  const { source, images, weights } = drawn;
  const reference = await openReference(network, { batchSize: batch });
  try {
    await reference.setWeights(weights);
    await reference.freeze(frozen);
    const logits = await reference.predict(images, batch);
    const { loss, gradients } = await reference.gradients(images, labels);
    const rounding = normalizes(network)
      ? roundingOf(network, drawn, labels, gradients, frozen)
      : new Map<string, number>();
    const work = batch * network.layers.reduce((sum, { multiplyAdds }) => sum + multiplyAdds, 0);
    const training =
      source && work <= mostWork ? await trainingOf(network, reference, source, images, frozen) : undefined;
    return { ...drawn, labels, logits, loss, gradients, rounding, training };
  } finally {
    await reference.close();
  }
}

/** Up to three steps, as long as decisions have the margin, and an evaluation. */
async function trainingOf(
  network: Network,
  reference: Session,
  source: BatchSource,
  images: Float32Array,
  frozen: readonly number[],
): Promise<ExpectedTraining> {
  const optimizer: SgdOptions = { kind: 'sgd', lr: 0.02, momentum: 0.9, nesterov: false, weightDecay: 0 };
  const steps: ExpectedStep[] = [];
  let before = await reference.state();
  while (steps.length < 3) {
    if (steps.length > 0 && decisionMargin(network, before.weights, images, true, frozen) <= margin) break;
    const { losses } = await reference.train({ source, optimizer, from: 0, to: 1 });
    const after = await reference.state();
    steps.push({ before, losses, after });
    before = after;
  }
  const logits = await reference.predict(images, source.order.length);
  return { source, optimizer, steps, logits, evaluation: await reference.evaluate(source) };
}

export function largestIn(values: ArrayLike<number>): number {
  let largest = 0;
  for (let i = 0; i < values.length; i++) largest = Math.max(largest, Math.abs(values[i]!));
  return largest;
}

export const normalizes = ({ layers }: Network): boolean =>
  layers.some(({ spec }) => spec.kind === 'batchNorm');

/**
 * How far each gradient is apart where every layer's output and gradient is rounded to float32: behind a normalization
 * of values that are as good as equal, or of a bias that it takes out again, that is more than a share of the result.
 */
function roundingOf(
  network: Network,
  { images, weights }: Drawn,
  labels: readonly number[],
  gradients: Weights,
  frozen: readonly number[],
): ReadonlyMap<string, number> {
  const samples = labels.map((_, n) => n);
  const rounded = ({ shape, data }: Tensor): Tensor => ({ shape, data: data.map(Math.fround) });
  const parameters = network.layers.map((layer) =>
    layer.parameters.map(({ name }) => Float64Array.from(weights.get(name)!.data)),
  );
  const passes = network.layers.map(
    ({ spec, buffers }, layer): LayerPass => ({
      training: !(spec.kind === 'batchNorm' && frozen.includes(layer)),
      buffers: buffers.map(({ name }) => Float64Array.from(weights.get(name)!.data)),
      draws: { seed: 0, epoch: 0, layer },
      samples,
    }),
  );
  const values: Tensor[] = [{ shape: [labels.length, ...network.input], data: Float64Array.from(images) }];
  for (const [i, { spec }] of network.layers.entries()) {
    values.push(rounded(passesOf(spec).forward(spec, values[i]!, parameters[i]!, passes[i]!)));
  }
  let { gradient } = crossEntropy(values.at(-1)!, labels);
  const apart = new Map<string, number>();
  for (const [i, { spec, parameters: own }] of [...network.layers.entries()].toReversed()) {
    const result = passesOf(spec).backward(spec, values[i]!, parameters[i]!, rounded(gradient), passes[i]!);
    gradient = result.input;
    for (const [j, { name }] of own.entries()) {
      const exact = gradients.get(name)?.data;
      if (exact) apart.set(name, largestIn(result.parameters[j]!.map((value, k) => value - exact[k]!)));
    }
  }
  return apart;
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
function imagesOf({ dataset, transform }: BatchSource): Float32Array {
  const { pixels, shape, length } = dataset as Dataset;
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

/** The first random images and weights, from `seed` on, whose decisions have the margin. */
function drawDecided(
  network: Network,
  labels: readonly number[],
  seed: number,
  frozen: readonly number[],
): Drawn {
  for (let attempt = 0; attempt < 100; attempt++) {
    const draw = seed * 1000 + attempt;
    const source = network.input.length === 3 ? randomSource(network, labels, draw) : undefined;
    const images = source ? imagesOf(source) : randomImages(network.input, labels.length, draw);
    const weights = randomWeights(network, draw);
    if (decisionMargin(network, weights, images, true, frozen) > margin) return { source, images, weights };
  }
  throw new Error(
    `${network.name}: none of 100 draws has decisions with a margin; use a smaller batch or map`,
  );
}

/** The first random images and weights, from `seed` on, whose decisions in inference have the margin. */
export function drawInference(network: Network, count: number, seed: number): Omit<Drawn, 'source'> {
  for (let attempt = 0; attempt < 100; attempt++) {
    const images = randomImages(network.input, count, seed * 1000 + attempt);
    const weights = randomWeights(network, seed * 1000 + attempt);
    if (decisionMargin(network, weights, images, false) > margin) return { images, weights };
  }
  throw new Error(`${network.name}: none of 100 draws has decisions with a margin`);
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
