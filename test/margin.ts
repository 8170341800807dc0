/**
 * How sure the decisions of a network are: the smallest distance between a ReLU's input and 0, or between the largest
 * and the next smaller value of a pooling window, over the largest value of the layer before. Above rounding, all
 * devices take the same decisions and their gradients can be compared. Computed with the reference layers, in training
 * with the draws of `gradients`, or in inference.
 *
 * Exact ties count for nothing. With random weights, two values are equal in float64 only where they come from equal
 * receptive fields (areas of padding alone, values that a ReLU clamped to 0, one value seen through two windows), and a
 * ReLU's input is 0 only where its whole patch is 0. Then either choice gives all parameters the same gradients: the
 * values are the same function of the parameters. Ties whose choice matters have tests of their own, on whole numbers.
 */
import type { MaxPool2dSpec, Network, Tensor, Weights } from '../src/model/layer.ts';
import { kindOf } from '../src/model/layers/index.ts';
import { passesOf } from '../src/model/layers/passes.ts';

export function decisionMargin(
  network: Network,
  weights: Weights,
  images: Float32Array,
  training = true,
  frozen: readonly number[] = [],
): number {
  let value: Tensor = {
    shape: [images.length / network.input.reduce((a, b) => a * b, 1), ...network.input],
    data: Float64Array.from(images),
  };
  let smallest = Number.POSITIVE_INFINITY;
  let scale = largest(value.data);
  for (const [layer, { spec, parameters, buffers }] of network.layers.entries()) {
    if (spec.kind === 'relu') {
      for (const x of value.data) if (x !== 0) smallest = Math.min(smallest, Math.abs(x) / scale);
    } else if (spec.kind === 'maxPool2d') {
      smallest = Math.min(smallest, poolMargin(spec, value) / scale);
    }
    // A normalization enlarges the rounding of what it reads as it enlarges the values.
    const amplified = spec.kind === 'batchNorm' ? amplification(spec.epsilon, value) : 0;
    const values = parameters.map(({ name }) => Float64Array.from(weights.get(name)!.data));
    value = passesOf(spec).forward(spec, value, values, {
      // A frozen normalization uses its running moments.
      training: training && !(spec.kind === 'batchNorm' && frozen.includes(layer)),
      buffers: buffers.map(({ name }) => Float64Array.from(weights.get(name)!.data)),
      draws: { seed: 0, epoch: 0, layer },
      samples: Array.from({ length: value.shape[0]! }, (_, n) => n),
    });
    if (spec.kind === 'batchNorm') scale = Math.max(largest(value.data), amplified);
    else if (parameters.length > 0) scale = largest(value.data);
  }
  return smallest;
}

/** The largest |value| / √(variance + ε) of a channel. */
function amplification(epsilon: number, { shape, data }: Tensor): number {
  const [, channels = 0, ...sides] = shape;
  const places = sides.reduce((a, b) => a * b, 1);
  const count = data.length / channels;
  const mean = new Float64Array(channels);
  const variance = new Float64Array(channels);
  const most = new Float64Array(channels);
  const visit = (body: (channel: number, x: number) => void): void => {
    for (const [i, x] of data.entries()) body(Math.floor(i / places) % channels, x);
  };
  visit((c, x) => {
    mean[c]! += x / count;
    most[c] = Math.max(most[c]!, Math.abs(x));
  });
  visit((c, x) => {
    variance[c]! += (x - mean[c]!) ** 2 / count;
  });
  return largest(most.map((value, c) => value / Math.sqrt(variance[c]! + epsilon)));
}

function largest(values: Float64Array): number {
  return values.reduce((a, b) => Math.max(a, Math.abs(b)), 0);
}

function poolMargin(spec: MaxPool2dSpec, { shape, data }: Tensor): number {
  const [batch = 0, channels = 0, height = 0, width = 0] = shape;
  const [, outHeight = 0, outWidth = 0] = kindOf(spec).outputShape(spec, shape.slice(1));
  let smallest = Number.POSITIVE_INFINITY;
  for (let plane = 0; plane < batch * channels; plane++) {
    for (let y = 0; y < outHeight; y++) {
      for (let x = 0; x < outWidth; x++) {
        let first = Number.NEGATIVE_INFINITY;
        let second = Number.NEGATIVE_INFINITY;
        for (let ky = 0; ky < spec.kernel[0]; ky++) {
          for (let kx = 0; kx < spec.kernel[1]; kx++) {
            const inY = y * spec.stride[0] - spec.padding[0] + ky;
            const inX = x * spec.stride[1] - spec.padding[1] + kx;
            if (inY < 0 || inY >= height || inX < 0 || inX >= width) continue;
            const value = data[(plane * height + inY) * width + inX]!;
            if (value > first) [first, second] = [value, first];
            else if (value < first) second = Math.max(second, value);
          }
        }
        smallest = Math.min(smallest, first - second);
      }
    }
  }
  return smallest;
}
