/**
 * A fully connected layer, with PyTorch's weight order: out[n][o] = bias[o] + Σ_i weight[o][i] · in[n][i].
 */
import { ShapeError } from '../../errors.ts';
import type { LayerKind, LayerPasses, LinearSpec } from '../layer.ts';
import { formatShape, inputOf, knownArguments, named, truth, wholeNumber } from './arguments.ts';

export interface LinearOptions {
  /** Output features. */
  readonly out: number;
  /** Whether to add a learned value to each output; true by default. */
  readonly bias?: boolean;
  readonly name?: string;
}

/**
 * A linear layer from [F] to [out]: `linear(10)` or `linear({ out: 10, bias: false })`.
 * @throws UsageError if `out` is not a whole number ≥ 1.
 */
export function linear(outOrOptions: number | LinearOptions): LinearSpec {
  const options =
    typeof outOrOptions === 'object' && outOrOptions !== null ? outOrOptions : { out: outOrOptions };
  knownArguments('linear', options, ['out', 'bias', 'name']);
  return {
    kind: 'linear',
    ...named('linear', options.name),
    out: wholeNumber('linear', 'out', options.out, 1),
    bias: truth('linear', 'bias', options.bias ?? true),
  };
}

export const linearKind: LayerKind<LinearSpec> = {
  kind: 'linear',
  role: 'features',

  outputShape(spec, input, place) {
    if (input.length !== 1) {
      throw new ShapeError(
        `linear: the ${inputOf(place)} is a ${formatShape(input)} feature map, not a vector; put flatten() before it`,
      );
    }
    return [spec.out];
  },

  parameters(spec, [features = 0]) {
    const initial = { uniform: 1 / Math.sqrt(features) };
    const weight = { name: 'weight', shape: [spec.out, features], initial };
    return spec.bias ? [weight, { name: 'bias', shape: [spec.out], initial }] : [weight];
  },

  multiplyAdds: (spec, [features = 0]) => spec.out * features,
};

export const linearPasses: LayerPasses<LinearSpec> = {
  forward(spec, input, [weight, bias]) {
    const [batch = 0, features = 0] = input.shape;
    const out = new Float64Array(batch * spec.out);
    for (let n = 0; n < batch; n++) {
      for (let o = 0; o < spec.out; o++) {
        let sum = bias?.[o] ?? 0;
        for (let i = 0; i < features; i++) sum += weight![o * features + i]! * input.data[n * features + i]!;
        out[n * spec.out + o] = sum;
      }
    }
    return { shape: [batch, spec.out], data: out };
  },

  backward(spec, input, [weight], outputGradient) {
    const [batch = 0, features = 0] = input.shape;
    const inputGradient = new Float64Array(input.data.length);
    const weightGradient = new Float64Array(weight!.length);
    const biasGradient = new Float64Array(spec.out);
    for (let n = 0; n < batch; n++) {
      for (let o = 0; o < spec.out; o++) {
        const gradient = outputGradient.data[n * spec.out + o]!;
        biasGradient[o]! += gradient;
        for (let i = 0; i < features; i++) {
          weightGradient[o * features + i]! += gradient * input.data[n * features + i]!;
          inputGradient[n * features + i]! += gradient * weight![o * features + i]!;
        }
      }
    }
    return {
      input: { shape: input.shape, data: inputGradient },
      parameters: spec.bias ? [weightGradient, biasGradient] : [weightGradient],
    };
  },
};
