/**
 * The reference: the layers' naive loops in float64, on the calling thread. It is the oracle of the tests and far too
 * slow for anything else. Arithmetic is float64; parameters and moments are rounded to float32 at the end of a step, so
 * that a saved state is the whole state. The optimizers are PyTorch's.
 */

import { mixupShare } from '../data/mixup.ts';
import { random, streams } from '../data/random.ts';
import { applyTransform, imageFromBytes } from '../data/transforms.ts';
import { UsageError, VggError } from '../errors.ts';
import { averageShare, clippingScale } from '../kernels/optimizer.ts';
import type { LayerGradients, LayerPass, Network, ParameterSpec, Tensor, Weights } from '../model/layer.ts';
import { checkMoments } from '../model/layers/batch-norm.ts';
import { kindOf } from '../model/layers/index.ts';
import { crossEntropy, type SoftTargets } from '../model/loss.ts';
import { parametersOf, sizeOf, tensorsOf } from '../model/network.ts';
import type {
  BatchSource,
  EvaluateResult,
  MomentName,
  OpenSession,
  OptimizerOptions,
  Session,
  TrainingState,
  TrainRequest,
  TrainResult,
} from './backend.ts';

/** Parameters, or anything with their sizes, layer by layer. */
type ByLayer = readonly (readonly Float64Array[])[];

/** What the random draws of a training pass depend on. */
interface Draws {
  readonly seed: number;
  readonly epoch: number;
  /** Position in the data set of each image of the batch. */
  readonly samples: ArrayLike<number>;
}

/** Opens the float64 reference, which ignores `batchSize` and `threads`. */
export const openReference: OpenSession = async (network) => {
  const maps = network.layers.reduce((sum, { output }) => sum + sizeOf(output), sizeOf(network.input));
  const bytes = 8 * (maps + 4 * network.parameterCount);
  if (bytes <= mostBytes) return new ReferenceSession(network);
  throw new VggError(
    `${network.name}: training on the reference needs at least ${(bytes / 2 ** 30).toFixed(1)} GiB, above the limit of ` +
      '4 GiB; use fewer channels or hidden units, or smaller images',
  );
};

/** For parameters with gradients and moments, and one image's maps. */
const mostBytes = 2 ** 32;

class ReferenceSession implements Session {
  readonly description = 'reference, float64, 1 thread';
  readonly device = 'reference';
  readonly threads = 1;
  readonly #network: Network;
  #parameters: ByLayer;
  /** Running moments of batch normalizations. */
  #buffers: ByLayer;
  /** Moments of the optimizer and average of the weights, if in use. */
  #moments: Partial<Record<MomentName, ByLayer>> = {};
  /** Optimizer steps done. */
  #steps = 0;
  #closed = false;
  #rested = performance.now();

  constructor(network: Network) {
    this.#network = network;
    this.#parameters = zeros(network);
    this.#buffers = network.layers.map(() => []);
  }

  /** Also resets the optimizer. */
  async setWeights(weights: Weights): Promise<void> {
    await this.setState({ weights, optimizerSteps: 0, moments: {} });
  }

  async weights(): Promise<Weights> {
    this.#assertOpen();
    return asWeights(
      tensorsOf(this.#network),
      this.#parameters.map((own, i) => [...own, ...this.#buffers[i]!]),
    );
  }

  async state(): Promise<TrainingState> {
    this.#assertOpen();
    const parameters = parametersOf(this.#network);
    const moments = Object.entries(this.#moments).map(([name, values]) => [
      name,
      asWeights(parameters, values),
    ]);
    return {
      weights: await this.weights(),
      optimizerSteps: this.#steps,
      moments: Object.fromEntries(moments),
    };
  }

  async setState({ weights, optimizerSteps, moments }: TrainingState): Promise<void> {
    this.#assertOpen();
    const parameters = this.#network.layers.map((layer) => layer.parameters);
    const buffers = this.#network.layers.map((layer) => layer.buffers);
    [this.#parameters, this.#buffers] = [fromWeights(parameters, weights), fromWeights(buffers, weights)];
    this.#moments = {};
    for (const [name, values] of Object.entries(moments) as [MomentName, Weights][]) {
      this.#moments[name] = fromWeights(parameters, values);
    }
    this.#steps = optimizerSteps;
  }

  async swapAverage(): Promise<void> {
    this.#assertOpen();
    if (!this.#moments.average) return;
    [this.#parameters, this.#moments.average] = [this.#moments.average, this.#parameters];
  }

  async train(request: TrainRequest): Promise<TrainResult> {
    this.#assertOpen();
    const { source, optimizer, from, to, rates, onSteps, signal } = request;
    const { accumulate = 1, labelSmoothing = 0, clipNorm = 0, averageDecay = 0, mixup = 0 } = request;
    const start = performance.now();
    const { batchSize, order } = source;
    const epochSteps = Math.ceil(order.length / batchSize);
    const losses: number[] = [];
    const correct: number[] = [];
    let images = 0;
    let sum = zeros(this.#network);
    const [ownMoment] = Object.keys(this.#moments).filter((name) => name !== 'average');
    if (ownMoment !== undefined && (ownMoment === 'momentum') !== (optimizer.kind === 'sgd')) {
      // Another optimizer starts from scratch.
      this.#moments = {};
      this.#steps = 0;
    }
    if (averageDecay === 0) delete this.#moments.average;
    else {
      this.#moments.average ??= this.#parameters.map((tensors) => tensors.map((values) => values.slice()));
    }
    for (let step = from; step < to; step++) {
      const position = step % accumulate;
      if (signal?.aborted && position === 0) break;
      const { input, labels, samples } = readBatch(this.#network, source, step);
      checkMoments(this.#network, labels.length);
      const targets = { smoothing: labelSmoothing };
      const ownShare = mixup > 0 ? mixupShare(mixup, source.seed, source.epoch, step) : 1;
      const batch = await this.#backward(
        ownShare === 1 ? input : mixed(input, ownShare),
        labels,
        { ...source, samples },
        ownShare === 1 ? targets : { ...targets, others: { labels: labels.toReversed(), ownShare } },
      );
      losses.push(batch.loss);
      correct.push(batch.correct);
      images += labels.length;
      onSteps?.([{ step: step + 1, loss: batch.loss }]);
      // A step with a non-finite loss is not applied, so that the parameters before it can be inspected.
      if (!Number.isFinite(batch.loss)) break;
      this.#updateBuffers(batch.values);
      // The accumulated batches count as one batch of all their images.
      const first = (step - position) * batchSize;
      const share = labels.length / (Math.min(order.length, first + accumulate * batchSize) - first);
      addScaled(sum, batch.gradients, share);
      if (position === accumulate - 1 || step === epochSteps - 1) {
        this.#steps++;
        if (clipNorm > 0) {
          const squares = sum.flat().map((values) => values.reduce((total, g) => total + g * g, 0));
          const norm = Math.sqrt(squares.reduce((total, square) => total + square, 0));
          addScaled(sum, sum, clippingScale(norm, clipNorm) - 1);
        }
        this.#apply(sum, { ...optimizer, lr: rates?.[step - from] ?? optimizer.lr });
        if (averageDecay > 0) this.#moveAverage(averageShare(averageDecay, this.#steps));
        sum = zeros(this.#network);
      }
      await eventLoop();
    }
    return {
      steps: losses.length,
      losses: Float64Array.from(losses),
      correct: Uint32Array.from(correct),
      images,
      seconds: (performance.now() - start) / 1000,
    };
  }

  async evaluate(source: BatchSource, signal?: AbortSignal): Promise<EvaluateResult> {
    this.#assertOpen();
    const start = performance.now();
    let lossSum = 0;
    let correct = 0;
    let topFive = 0;
    let images = 0;
    for (let step = 0; step * source.batchSize < source.order.length; step++) {
      if (signal?.aborted) break;
      const { input, labels } = readBatch(this.#network, source, step);
      const batch = crossEntropy(await this.#forward(input), labels);
      lossSum += batch.loss * labels.length;
      correct += batch.correct;
      topFive += batch.topFive;
      images += labels.length;
      await eventLoop();
    }
    const seconds = (performance.now() - start) / 1000;
    const [loss, accuracy] = [lossSum / images, correct / images];
    return { loss, accuracy, topFive: topFive / images, correct, images, seconds };
  }

  async gradients(
    images: Float32Array,
    labels: ArrayLike<number>,
  ): Promise<{ loss: number; gradients: Weights }> {
    this.#assertOpen();
    checkMoments(this.#network, labels.length);
    const samples = Array.from({ length: labels.length }, (_, i) => i);
    const input = asTensor(this.#network, images, labels.length);
    const { loss, gradients } = await this.#backward(input, labels, { seed: 0, epoch: 0, samples });
    return { loss, gradients: asWeights(parametersOf(this.#network), gradients) };
  }

  async predict(images: Float32Array, count: number): Promise<Float32Array> {
    this.#assertOpen();
    return Float32Array.from((await this.#forward(asTensor(this.#network, images, count))).data);
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#parameters = [];
    this.#buffers = [];
    this.#moments = {};
  }

  #assertOpen(): void {
    if (this.#closed) throw new VggError('this session is closed; open a new one');
  }

  /** The pass through layer `layer`: training with `draws`, evaluation without. */
  #pass(layer: number, draws?: Draws): LayerPass {
    const { seed, epoch, samples } = draws ?? { seed: 0, epoch: 0, samples: [] };
    const buffers = this.#buffers[layer]!;
    return { training: draws !== undefined, buffers, draws: { seed, epoch, layer }, samples };
  }

  /** Logits. */
  async #forward(input: Tensor): Promise<Tensor> {
    let value = input;
    for (const i of this.#network.layers.keys()) value = await this.#forwardLayer(i, value);
    return value;
  }

  async #forwardLayer(i: number, input: Tensor, draws?: Draws): Promise<Tensor> {
    const { spec } = this.#network.layers[i]!;
    const parts: Tensor[] = [];
    for (const [part, own] of this.#turns(i, input, draws)) {
      parts.push(kindOf(spec).forward(spec, part(input), this.#parameters[i]!, this.#pass(i, own)));
      await this.#breathe();
    }
    return joined(parts);
  }

  async #backwardLayer(i: number, input: Tensor, gradient: Tensor, draws: Draws): Promise<LayerGradients> {
    const { spec } = this.#network.layers[i]!;
    const parts: Tensor[] = [];
    let parameters: readonly Float64Array[] | undefined;
    for (const [part, own] of this.#turns(i, input, draws)) {
      const pass = this.#pass(i, own);
      const result = kindOf(spec).backward(spec, part(input), this.#parameters[i]!, part(gradient), pass);
      parts.push(result.input);
      if (parameters) addScaled([parameters], [result.parameters], 1);
      else parameters = result.parameters;
      await this.#breathe();
    }
    return { input: joined(parts), parameters: parameters ?? [] };
  }

  /**
   * The parts of a batch that a layer processes one by one, so that signals are handled in between; all images at once if
   * that is fast, or if they depend on each other.
   */
  *#turns<D extends Draws | undefined>(
    layer: number,
    { shape: [count = 0] }: Tensor,
    draws: D,
  ): Generator<readonly [part: (whole: Tensor) => Tensor, draws: D]> {
    const { spec, multiplyAdds } = this.#network.layers[layer]!;
    const fits = Math.max(1, Math.floor(mostMultiplyAdds / multiplyAdds));
    if (spec.kind === 'batchNorm' || count <= fits) return yield [(whole) => whole, draws];
    for (let first = 0; first < count; first += fits) {
      const end = Math.min(count, first + fits);
      yield [
        ({ shape: [, ...shape], data }) => {
          const size = sizeOf(shape);
          return { shape: [end - first, ...shape], data: data.subarray(first * size, end * size) };
        },
        draws && { ...draws, samples: Array.from(draws.samples).slice(first, end) },
      ];
    }
  }

  /** Lets timers and signals run if they have waited long enough. */
  async #breathe(): Promise<void> {
    if (performance.now() - this.#rested < restEvery) return;
    await eventLoop();
    this.#rested = performance.now();
  }

  /** `values` are the layers' inputs, and the logits. */
  async #backward(
    input: Tensor,
    labels: ArrayLike<number>,
    draws: Draws,
    targets?: SoftTargets,
  ): Promise<{ values: readonly Tensor[]; loss: number; correct: number; gradients: ByLayer }> {
    const { layers } = this.#network;
    const values = [input];
    for (const i of layers.keys()) {
      values.push(await this.#forwardLayer(i, values[i]!, draws));
    }
    const { loss, correct, gradient: first } = crossEntropy(values[layers.length]!, labels, targets);
    let gradient = first;
    const gradients: (readonly Float64Array[])[] = layers.map(() => []);
    for (let i = layers.length - 1; i >= 0; i--) {
      const result = await this.#backwardLayer(i, values[i]!, gradient, draws);
      gradients[i] = result.parameters;
      gradient = result.input;
    }
    return { values, loss, correct, gradients };
  }

  /** Updates buffers from the layers' `inputs` in the last step. Rounded like the parameters. */
  #updateBuffers(inputs: readonly Tensor[]): void {
    this.#buffers = this.#network.layers.map(({ spec }, i) => {
      const buffers = this.#buffers[i]!;
      const updated = kindOf(spec).updatedBuffers?.(spec, inputs[i]!, buffers) ?? buffers;
      return updated.map((values) => values.map(Math.fround));
    });
  }

  /** One optimizer step. */
  #apply(gradients: ByLayer, optimizer: OptimizerOptions): void {
    const { lr, weightDecay } = optimizer;
    if (optimizer.kind === 'sgd') {
      const { momentum, nesterov } = optimizer;
      this.#update(gradients, ['momentum'], (parameter, gradient, [moved]) => {
        const g = gradient + weightDecay * parameter;
        const m = momentum * moved! + g;
        return [parameter - lr * (nesterov ? g + momentum * m : m), m];
      });
      return;
    }
    const { kind, epsilon } = optimizer;
    const [beta1, beta2] = optimizer.betas;
    const stepSize = lr / (1 - beta1 ** this.#steps);
    const correction2 = Math.sqrt(1 - beta2 ** this.#steps);
    this.#update(gradients, ['firstMoment', 'secondMoment'], (parameter, gradient, [first, second]) => {
      const g = kind === 'adam' ? gradient + weightDecay * parameter : gradient;
      const kept = kind === 'adamw' ? parameter * (1 - lr * weightDecay) : parameter;
      const m = beta1 * first! + (1 - beta1) * g;
      const v = beta2 * second! + (1 - beta2) * g * g;
      return [kept - (stepSize * m) / (Math.sqrt(v) / correction2 + epsilon), m, v];
    });
  }

  /** Updates each parameter and its moments by `rule`. */
  #update(
    gradients: ByLayer,
    moments: readonly MomentName[],
    rule: (parameter: number, gradient: number, moments: readonly number[]) => readonly number[],
  ): void {
    const { average } = this.#moments;
    // Moments of another optimizer are dropped.
    const kept = moments.map((name): [MomentName, ByLayer] => [
      name,
      this.#moments[name] ?? zeros(this.#network),
    ]);
    this.#moments = { ...Object.fromEntries(kept), ...(average && { average }) };
    for (const [i, tensors] of gradients.entries()) {
      for (const [j, gradient] of tensors.entries()) {
        const parameter = this.#parameters[i]![j]!;
        const own = kept.map(([, values]) => values[i]![j]!);
        for (let k = 0; k < gradient.length; k++) {
          const [value, ...after] = rule(
            parameter[k]!,
            gradient[k]!,
            own.map((values) => values[k]!),
          );
          parameter[k] = Math.fround(value!);
          for (const [m, values] of own.entries()) values[k] = Math.fround(after[m]!);
        }
      }
    }
  }

  #moveAverage(share: number): void {
    for (const [i, tensors] of this.#moments.average!.entries()) {
      for (const [j, average] of tensors.entries()) {
        const parameter = this.#parameters[i]![j]!;
        for (let k = 0; k < average.length; k++) {
          average[k] = Math.fround(average[k]! + (parameter[k]! - average[k]!) * share);
        }
      }
    }
  }
}

/** The values of each layer's tensors in `weights`. @throws UsageError if one is missing or has another size. */
function fromWeights(tensors: readonly (readonly ParameterSpec[])[], weights: Weights): ByLayer {
  return tensors.map((own) =>
    own.map(({ name, shape }) => {
      const weight = weights.get(name);
      if (weight?.data.length !== sizeOf(shape)) {
        throw new UsageError(
          `${name} has ${weight?.data.length ?? 'no'} values, but the network needs [${shape.join(', ')}]`,
        );
      }
      return Float64Array.from(weight.data);
    }),
  );
}

function asWeights(tensors: readonly ParameterSpec[], values: ByLayer): Weights {
  const flat = values.flat();
  return new Map(tensors.map(({ name, shape }, i) => [name, { shape, data: Float32Array.from(flat[i]!) }]));
}

function zeros(network: Network): ByLayer {
  return network.layers.map((layer) => layer.parameters.map(({ shape }) => new Float64Array(sizeOf(shape))));
}

/** sum += gradients · scale. */
function addScaled(sum: ByLayer, gradients: ByLayer, scale: number): void {
  for (const [i, tensors] of gradients.entries()) {
    for (const [j, gradient] of tensors.entries()) {
      const total = sum[i]![j]!;
      for (let k = 0; k < total.length; k++) total[k]! += gradient[k]! * scale;
    }
  }
}

/** Mixes each image i of a batch with the i-th from the end. */
function mixed({ shape, data }: Tensor, ownShare: number): Tensor {
  const [batch = 1] = shape;
  const size = data.length / batch;
  return {
    shape,
    data: data.map((value, i) => {
      const other = (batch - 1 - Math.floor(i / size)) * size + (i % size);
      return value * ownShare + data[other]! * (1 - ownShare);
    }),
  };
}

/** `count` images as the network's input. @throws UsageError if the number of values does not fit. */
function asTensor(network: Network, images: Float32Array, count: number): Tensor {
  const size = sizeOf(network.input);
  if (images.length !== count * size) {
    throw new UsageError(
      `${network.name}: ${images.length} values are not ${count} images of ${network.input.join('×')} = ${size} values`,
    );
  }
  return { shape: [count, ...network.input], data: Float64Array.from(images) };
}

/** The images of one step after the transforms, and their labels. The last batch may be smaller. */
function readBatch(
  network: Network,
  source: BatchSource,
  step: number,
): { input: Tensor; labels: number[]; samples: Uint32Array } {
  const { dataset, transform, batchSize, order, seed, epoch } = source;
  const samples = order.subarray(step * batchSize, (step + 1) * batchSize);
  if (samples.length === 0) {
    throw new UsageError(`step ${step + 1} is beyond the ${order.length} images in batches of ${batchSize}`);
  }
  const size = sizeOf(network.input);
  const data = new Float64Array(samples.length * size);
  const bytes = sizeOf(dataset.shape);
  for (const [i, sample] of samples.entries()) {
    const source = imageFromBytes(
      dataset.pixels.subarray(sample * bytes, (sample + 1) * bytes),
      dataset.shape,
    );
    const image = applyTransform(transform, source, random(seed, streams.transform, epoch, sample));
    if (image.shape.join('×') !== network.input.join('×')) {
      throw new UsageError(
        `${network.name}: the transform returns ${image.shape.join('×')} images, but the network takes ` +
          `${network.input.join('×')}; change the transform or the network's input`,
      );
    }
    data.set(image.values, i * size);
  }
  const labels = Array.from(samples, (sample) => dataset.labels[sample]!);
  return { input: { shape: [samples.length, ...network.input], data }, labels, samples };
}

/** Multiply-adds that a layer computes at a time: a fraction of a second. */
const mostMultiplyAdds = 5e7;

/** The images of several tensors in one. */
function joined(parts: readonly Tensor[]): Tensor {
  const [first] = parts;
  if (first === undefined || parts.length === 1) return first ?? { shape: [0], data: new Float64Array(0) };
  const [, ...shape] = first.shape;
  const data = new Float64Array(parts.reduce((sum, part) => sum + part.data.length, 0));
  let at = 0;
  for (const part of parts) {
    data.set(part.data, at);
    at += part.data.length;
  }
  return { shape: [data.length / sizeOf(shape), ...shape], data };
}

/** Milliseconds of computing before timers and signals may run. */
const restEvery = 50;

function eventLoop(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 0));
}
