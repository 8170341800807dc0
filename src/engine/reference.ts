/**
 * The plain reference: the layers' own naive loops in float64, on the calling thread. It is the oracle of the tests
 * and far too slow for anything else. Parameters, moments and activations stay in float64 from step to step; only
 * what is given out is rounded to float32. Adam is PyTorch's (Kingma & Ba 2015, with epsilon outside the root).
 */

import { random, streams } from '../data/random.ts';
import { applyTransform, imageFromBytes } from '../data/transforms.ts';
import { UsageError, VggError } from '../errors.ts';
import type { Network, Tensor, Weights } from '../model/layer.ts';
import { kindOf } from '../model/layers/index.ts';
import { crossEntropy } from '../model/loss.ts';
import { parametersOf, sizeOf } from '../model/network.ts';
import type {
  AdamOptions,
  BatchSource,
  EvaluateResult,
  OpenSession,
  Session,
  TrainRequest,
  TrainResult,
} from './backend.ts';

/** Parameters, or anything with their sizes, layer by layer. */
type ByLayer = readonly (readonly Float64Array[])[];

/** Opens the float64 reference. `batchSize` and `threads` do not matter to it. */
export const openReference: OpenSession = async (network) => new ReferenceSession(network);

class ReferenceSession implements Session {
  readonly description = 'reference, float64, 1 thread';
  readonly device = 'reference';
  readonly threads = 1;
  readonly #network: Network;
  #parameters: ByLayer;
  /** Adam's first and second moments and its step count. */
  #moments: readonly [ByLayer, ByLayer];
  #steps = 0;
  #closed = false;

  constructor(network: Network) {
    this.#network = network;
    this.#parameters = zeros(network);
    this.#moments = [zeros(network), zeros(network)];
  }

  /** Also starts the optimizer afresh. */
  async setWeights(weights: Weights): Promise<void> {
    this.#assertOpen();
    this.#parameters = this.#network.layers.map((layer) =>
      layer.parameters.map(({ name, shape }) => {
        const weight = weights.get(name);
        if (weight?.data.length !== sizeOf(shape)) {
          throw new UsageError(`${name}: ${weight?.data.length ?? 'no'} values for [${shape.join(', ')}]`);
        }
        return Float64Array.from(weight.data);
      }),
    );
    this.#moments = [zeros(this.#network), zeros(this.#network)];
    this.#steps = 0;
  }

  async weights(): Promise<Weights> {
    this.#assertOpen();
    return this.#asWeights(this.#parameters);
  }

  async train({ source, optimizer, from, to, onSteps, signal }: TrainRequest): Promise<TrainResult> {
    this.#assertOpen();
    const start = performance.now();
    const losses: number[] = [];
    let images = 0;
    for (let step = from; step < to; step++) {
      if (signal?.aborted) break;
      const { input, labels } = readBatch(this.#network, source, step);
      const { loss, gradients } = this.#backward(input, labels);
      losses.push(loss);
      images += labels.length;
      onSteps?.([{ step: step + 1, loss }]);
      // A step that went wrong is not applied, so that the parameters before it can still be looked at.
      if (!Number.isFinite(loss)) break;
      this.#adam(gradients, optimizer);
      await eventLoop();
    }
    return {
      steps: losses.length,
      losses: Float64Array.from(losses),
      images,
      seconds: (performance.now() - start) / 1000,
    };
  }

  async evaluate(source: BatchSource, signal?: AbortSignal): Promise<EvaluateResult> {
    this.#assertOpen();
    const start = performance.now();
    let lossSum = 0;
    let correct = 0;
    let images = 0;
    for (let step = 0; step * source.batchSize < source.order.length; step++) {
      if (signal?.aborted) break;
      const { input, labels } = readBatch(this.#network, source, step);
      const batch = crossEntropy(this.#forward(input), labels);
      lossSum += batch.loss * labels.length;
      correct += batch.correct;
      images += labels.length;
      await eventLoop();
    }
    const seconds = (performance.now() - start) / 1000;
    return { loss: lossSum / images, accuracy: correct / images, correct, images, seconds };
  }

  async gradients(
    images: Float32Array,
    labels: ArrayLike<number>,
  ): Promise<{ loss: number; gradients: Weights }> {
    this.#assertOpen();
    const { loss, gradients } = this.#backward(asTensor(this.#network, images, labels.length), labels);
    return { loss, gradients: this.#asWeights(gradients) };
  }

  async predict(images: Float32Array, count: number): Promise<Float32Array> {
    this.#assertOpen();
    return Float32Array.from(this.#forward(asTensor(this.#network, images, count)).data);
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#parameters = [];
    this.#moments = [[], []];
  }

  #assertOpen(): void {
    if (this.#closed) throw new VggError('this session is closed; open another one');
  }

  /** Logits. */
  #forward(input: Tensor): Tensor {
    return this.#network.layers.reduce(
      (value, { spec }, i) => kindOf(spec).forward(spec, value, this.#parameters[i]!),
      input,
    );
  }

  #backward(input: Tensor, labels: ArrayLike<number>): { loss: number; gradients: ByLayer } {
    const { layers } = this.#network;
    const values = [input];
    for (const [i, { spec }] of layers.entries()) {
      values.push(kindOf(spec).forward(spec, values[i]!, this.#parameters[i]!));
    }
    let { loss, gradient } = crossEntropy(values[layers.length]!, labels);
    const gradients: (readonly Float64Array[])[] = layers.map(() => []);
    for (let i = layers.length - 1; i >= 0; i--) {
      const { spec } = layers[i]!;
      const result = kindOf(spec).backward(spec, values[i]!, this.#parameters[i]!, gradient);
      gradients[i] = result.parameters;
      gradient = result.input;
    }
    return { loss, gradients };
  }

  #adam(gradients: ByLayer, { lr, betas: [beta1, beta2], epsilon }: AdamOptions): void {
    this.#steps++;
    const stepSize = lr / (1 - beta1 ** this.#steps);
    const correction2 = Math.sqrt(1 - beta2 ** this.#steps);
    for (const [i, tensors] of gradients.entries()) {
      for (const [j, gradient] of tensors.entries()) {
        const parameter = this.#parameters[i]![j]!;
        const first = this.#moments[0][i]![j]!;
        const second = this.#moments[1][i]![j]!;
        for (let k = 0; k < gradient.length; k++) {
          const g = gradient[k]!;
          first[k] = beta1 * first[k]! + (1 - beta1) * g;
          second[k] = beta2 * second[k]! + (1 - beta2) * g * g;
          parameter[k]! -= (stepSize * first[k]!) / (Math.sqrt(second[k]!) / correction2 + epsilon);
        }
      }
    }
  }

  #asWeights(values: ByLayer): Weights {
    const flat = values.flat();
    return new Map(
      parametersOf(this.#network).map(({ name, shape }, i) => [
        name,
        { shape, data: Float32Array.from(flat[i]!) },
      ]),
    );
  }
}

function zeros(network: Network): ByLayer {
  return network.layers.map((layer) => layer.parameters.map(({ shape }) => new Float64Array(sizeOf(shape))));
}

/** `count` pictures as the network's input. @throws UsageError where the number of values does not fit. */
function asTensor(network: Network, images: Float32Array, count: number): Tensor {
  const size = sizeOf(network.input);
  if (images.length !== count * size) {
    throw new UsageError(
      `${network.name}: ${images.length} values for ${count} images; each has ${network.input.join('×')} = ${size}`,
    );
  }
  return { shape: [count, ...network.input], data: Float64Array.from(images) };
}

/** The pictures of one step after the transforms, and their labels. The last batch may be smaller. */
function readBatch(network: Network, source: BatchSource, step: number): { input: Tensor; labels: number[] } {
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
        `${network.name}: the transform gives ${image.shape.join('×')} pictures, but the network takes ` +
          network.input.join('×'),
      );
    }
    data.set(image.values, i * size);
  }
  const labels = Array.from(samples, (sample) => dataset.labels[sample]!);
  return { input: { shape: [samples.length, ...network.input], data }, labels };
}

/** Lets timers and signals run. */
function eventLoop(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 0));
}
