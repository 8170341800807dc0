/**
 * Batch normalization (Ioffe & Szegedy, ICML 2015) with PyTorch's details, for each channel of a map or each value of
 * a vector: out = (in − mean) / √(variance + ε) · weight + bias. In training, mean and variance are those of the batch
 * (over all N·H·W values of a channel, with the variance divided by their number n), and update the running ones:
 * running = (1 − momentum) · running + momentum · batch, with the variance divided by n − 1. Evaluation uses the
 * running ones.
 */
import { ShapeError, UsageError } from '../../errors.ts';
import type { BatchNormSpec, LayerKind, LayerPass, LayerPasses, Network, Shape, Tensor } from '../layer.ts';
import { featureMap, formatShape, inputOf, knownArguments, named, numberBelow, truth } from './arguments.ts';

export interface BatchNormOptions {
  /** Weight of a batch's mean and variance in the running ones, 0 to 1; 0.1 by default. */
  readonly momentum?: number;
  /** Added to the variance, above 0; 1e-5 by default. */
  readonly epsilon?: number;
  /** Whether a learned weight and bias follow; true by default. */
  readonly affine?: boolean;
  readonly name?: string;
}

/** Normalizes each channel of a feature map [C, H, W]. @throws UsageError if an argument is out of range. */
export const batchNorm2d = (options: BatchNormOptions = {}): BatchNormSpec => batchNorm(2, options);

/** Normalizes each value of a vector [F]. @throws UsageError if an argument is out of range. */
export const batchNorm1d = (options: BatchNormOptions = {}): BatchNormSpec => batchNorm(1, options);

const wordOf = ({ dimensions }: Pick<BatchNormSpec, 'dimensions'>): string => `batchNorm${dimensions}d`;

function batchNorm(dimensions: 1 | 2, options: BatchNormOptions): BatchNormSpec {
  const word = wordOf({ dimensions });
  knownArguments(word, options, ['momentum', 'epsilon', 'affine', 'name']);
  const { momentum = 0.1, epsilon = 1e-5, affine = true, name } = options;
  if (!(typeof momentum === 'number' && momentum >= 0 && momentum <= 1)) {
    throw new UsageError(`${word}: momentum ${momentum} is not a number from 0 to 1`);
  }
  // With 0, a channel whose values are all equal would be divided by 0.
  if (epsilon === 0) throw new UsageError(`${word}: epsilon 0 is not above 0`);
  return {
    kind: 'batchNorm',
    ...named(word, name),
    dimensions,
    momentum,
    epsilon: numberBelow(word, 'epsilon', epsilon, 0, Number.POSITIVE_INFINITY),
    affine: truth(word, 'affine', affine),
  };
}

/**
 * Rejects training with a batch that gives a normalization only one value per channel, which has no variance. PyTorch
 * rejects it, too. Frozen layers (indices) use their running moments. @throws UsageError
 */
export function checkMoments(network: Network, batch: number, frozen: readonly number[] = []): void {
  for (const [layer, { spec, name, input }] of network.layers.entries()) {
    if (spec.kind !== 'batchNorm' || frozen.includes(layer) || batch * placesOf(input) > 1) continue;
    throw new UsageError(
      `${network.name}: ${wordOf(spec)} ${name} needs at least two values per channel in training, but a batch of ` +
        `${batch} has one; choose a batch size that leaves no batch with a single image`,
    );
  }
}

/** Number of values of a channel in one image. */
const placesOf = ([, height = 1, width = 1]: Shape): number => height * width;

/** The channels, the number of values per channel, and a loop over all values: `visit(channel, index in data)`. */
function layoutOf({ shape }: Tensor) {
  const [batch = 0, ...input] = shape;
  const channels = input[0]!;
  const places = placesOf(input);
  return {
    channels,
    count: batch * places,
    forEach(visit: (channel: number, at: number) => void): void {
      for (let plane = 0; plane < batch * channels; plane++) {
        for (let i = 0; i < places; i++) visit(plane % channels, plane * places + i);
      }
    },
  };
}

/** Mean and variance of each channel over the batch; the variance is divided by the number of values. */
function momentsOf(input: Tensor): { readonly mean: Float64Array; readonly variance: Float64Array } {
  const { channels, count, forEach } = layoutOf(input);
  const mean = new Float64Array(channels);
  const variance = new Float64Array(channels);
  forEach((c, at) => {
    mean[c]! += input.data[at]! / count;
  });
  forEach((c, at) => {
    variance[c]! += (input.data[at]! - mean[c]!) ** 2 / count;
  });
  return { mean, variance };
}

/** The mean and 1 / √(variance + ε) that a pass uses. */
function normalizer(spec: BatchNormSpec, input: Tensor, { training, buffers }: LayerPass) {
  const [runningMean, runningVariance] = buffers;
  const { mean, variance } = training ? momentsOf(input) : { mean: runningMean!, variance: runningVariance! };
  return { mean, inverse: variance.map((value) => 1 / Math.sqrt(value + spec.epsilon)) };
}

export const batchNormKind: LayerKind<BatchNormSpec> = {
  kind: 'batchNorm',
  role: 'pointwise',

  outputShape(spec, input, place) {
    if (spec.dimensions === 1 && input.length !== 1) {
      throw new ShapeError(
        `batchNorm1d: the ${inputOf(place)} is a ${formatShape(input)} feature map, not a vector; ` +
          'use batchNorm2d or put flatten() before it',
      );
    }
    if (spec.dimensions === 2 && input.length !== 3) {
      throw new ShapeError(
        `batchNorm2d: the ${inputOf(place)} is a vector of ${formatShape(input)} values, not a feature map; ` +
          'use batchNorm1d or put it before flatten()',
      );
    }
    if (spec.dimensions === 2) featureMap('batchNorm2d', input, place);
    return input;
  },

  parameters: (spec, [channels = 0]) =>
    spec.affine
      ? [
          { name: 'weight', shape: [channels], initial: { constant: 1 } },
          { name: 'bias', shape: [channels], initial: { constant: 0 } },
        ]
      : [],

  buffers: (_spec, [channels = 0]) => [
    { name: 'running_mean', shape: [channels], initial: { constant: 0 } },
    { name: 'running_var', shape: [channels], initial: { constant: 1 } },
  ],

  // One per value, because weight and deviation combine into one factor.
  multiplyAdds: () => 0,
};

export const batchNormPasses: LayerPasses<BatchNormSpec> = {
  forward(spec, input, [weight, bias], pass) {
    const { mean, inverse } = normalizer(spec, input, pass);
    const data = new Float64Array(input.data.length);
    layoutOf(input).forEach((c, at) => {
      const normal = (input.data[at]! - mean[c]!) * inverse[c]!;
      data[at] = normal * (weight?.[c] ?? 1) + (bias?.[c] ?? 0);
    });
    return { shape: input.shape, data };
  },

  backward(spec, input, [weight], outputGradient, pass) {
    const { channels, count, forEach } = layoutOf(input);
    const { mean, inverse } = normalizer(spec, input, pass);
    const gradient = outputGradient.data;
    const normal = (c: number, at: number): number => (input.data[at]! - mean[c]!) * inverse[c]!;
    const weightGradient = new Float64Array(channels);
    const biasGradient = new Float64Array(channels);
    forEach((c, at) => {
      weightGradient[c]! += gradient[at]! * normal(c, at);
      biasGradient[c]! += gradient[at]!;
    });
    // Removes the components that would only change the batch's mean or deviation, which normalization cancels; running
    // ones do not depend on the input.
    const data = new Float64Array(gradient.length);
    forEach((c, at) => {
      const canceled = pass.training ? (biasGradient[c]! + normal(c, at) * weightGradient[c]!) / count : 0;
      data[at] = (gradient[at]! - canceled) * inverse[c]! * (weight?.[c] ?? 1);
    });
    return {
      input: { shape: input.shape, data },
      parameters: spec.affine ? [weightGradient, biasGradient] : [],
    };
  },

  updatedBuffers(spec, input, [runningMean, runningVariance]) {
    const { count } = layoutOf(input);
    const { mean, variance } = momentsOf(input);
    const follow = (running: Float64Array, values: Float64Array, factor: number): Float64Array =>
      running.map((value, c) => (1 - spec.momentum) * value + spec.momentum * factor * values[c]!);
    return [follow(runningMean!, mean, 1), follow(runningVariance!, variance, count / (count - 1))];
  },
};
