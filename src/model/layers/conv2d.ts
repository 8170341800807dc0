/**
 * 2-D convolution (cross-correlation, as in all deep-learning libraries) with zero padding and PyTorch's shapes:
 * out[n][o][y][x] = bias[o] + Σ_c Σ_ky Σ_kx weight[o][c][ky][kx] · in[n][c][y·stride + ky − pad][x·stride + kx − pad].
 * Both passes visit each product of that sum once; the innermost loop runs along a row.
 */
import type { Conv2dSpec, LayerKind, LayerPasses, Shape } from '../layer.ts';
import type { Sides } from './arguments.ts';
import {
  featureMap,
  insideMap,
  knownArguments,
  named,
  sides,
  truth,
  wholeNumber,
  windowPlaces,
} from './arguments.ts';

export interface Conv2dOptions {
  /** Output channels. */
  readonly out: number;
  readonly kernel: Sides;
  /** 1 by default. */
  readonly stride?: Sides;
  /** Zeros added on each side; 0 by default. */
  readonly padding?: Sides;
  /** Whether to add a learned value to each output channel; true by default. */
  readonly bias?: boolean;
  readonly name?: string;
}

/**
 * A convolution from [C, H, W] to [out, H', W'], where H' = ⌊(H + 2·padding − kernel) / stride⌋ + 1.
 * @throws UsageError if an argument is not a whole number in its range.
 */
export function conv2d(options: Conv2dOptions): Conv2dSpec {
  knownArguments('conv2d', options, ['out', 'kernel', 'stride', 'padding', 'bias', 'name']);
  return {
    kind: 'conv2d',
    ...named('conv2d', options.name),
    out: wholeNumber('conv2d', 'out', options.out, 1),
    kernel: sides('conv2d', 'kernel', options.kernel, 1),
    stride: sides('conv2d', 'stride', options.stride ?? 1, 1),
    padding: sides('conv2d', 'padding', options.padding ?? 0, 0),
    bias: truth('conv2d', 'bias', options.bias ?? true),
  };
}

/** Channels, heights and widths of input and output. */
function geometry(spec: Conv2dSpec, input: Shape) {
  const [channels, height, width] = featureMap('conv2d', input, undefined);
  const [outHeight, outWidth] = windowPlaces('conv2d', spec, [height, width], undefined);
  return { channels, height, width, outHeight, outWidth };
}

/**
 * Calls `visit` for each row of outputs and each weight that touches it: the products
 * weight · in[inRow + i·stride] → out[outRow + i], i < count.
 */
function visitRows(
  spec: Conv2dSpec,
  input: Shape,
  batch: number,
  visit: (weight: number, inRow: number, outRow: number, count: number, stride: number) => void,
): void {
  const { channels, height, width, outHeight, outWidth } = geometry(spec, input);
  const { out, kernel, stride, padding } = spec;
  const rows = range(kernel[0]).map((ky) => insideMap(ky, height, outHeight, stride[0], padding[0]));
  const columns = range(kernel[1]).map((kx) => insideMap(kx, width, outWidth, stride[1], padding[1]));
  for (let n = 0; n < batch; n++) {
    let weight = 0;
    for (let o = 0; o < out; o++) {
      for (let c = 0; c < channels; c++) {
        for (const [ky, [top, bottom]] of rows.entries()) {
          for (const [kx, [left, right]] of columns.entries()) {
            for (let y = top; y < bottom; y++) {
              const inY = y * stride[0] + ky - padding[0];
              const inX = left * stride[1] + kx - padding[1];
              const inRow = ((n * channels + c) * height + inY) * width + inX;
              const outRow = ((n * out + o) * outHeight + y) * outWidth + left;
              visit(weight, inRow, outRow, right - left, stride[1]);
            }
            weight++;
          }
        }
      }
    }
  }
}

const range = (length: number): number[] => Array.from({ length }, (_, i) => i);

export const conv2dKind: LayerKind<Conv2dSpec> = {
  kind: 'conv2d',
  role: 'features',

  outputShape(spec, input, place) {
    const [, height, width] = featureMap('conv2d', input, place);
    return [spec.out, ...windowPlaces('conv2d', spec, [height, width], place)];
  },

  parameters(spec, input) {
    const { channels } = geometry(spec, input);
    const initial = { uniform: 1 / Math.sqrt(channels * spec.kernel[0] * spec.kernel[1]) };
    const weight = { name: 'weight', shape: [spec.out, channels, ...spec.kernel], initial };
    return spec.bias ? [weight, { name: 'bias', shape: [spec.out], initial }] : [weight];
  },

  multiplyAdds(spec, input) {
    const { channels, outHeight, outWidth } = geometry(spec, input);
    return spec.out * outHeight * outWidth * channels * spec.kernel[0] * spec.kernel[1];
  },
};

export const conv2dPasses: LayerPasses<Conv2dSpec> = {
  forward(spec, input, [weight, bias]) {
    const [batch = 0, ...inputShape] = input.shape;
    const { outHeight, outWidth } = geometry(spec, inputShape);
    const plane = outHeight * outWidth;
    const out = new Float64Array(batch * spec.out * plane);
    if (bias !== undefined) {
      for (let i = 0; i < batch * spec.out; i++) out.fill(bias[i % spec.out]!, i * plane, (i + 1) * plane);
    }
    const { data } = input;
    visitRows(spec, inputShape, batch, (w, inRow, outRow, count, stride) => {
      const scale = weight![w]!;
      for (let i = 0; i < count; i++) out[outRow + i]! += scale * data[inRow + i * stride]!;
    });
    return { shape: [batch, spec.out, outHeight, outWidth], data: out };
  },

  backward(spec, input, [weight], outputGradient) {
    const [batch = 0, ...inputShape] = input.shape;
    const { outHeight, outWidth } = geometry(spec, inputShape);
    const plane = outHeight * outWidth;
    const inputGradient = new Float64Array(input.data.length);
    const weightGradient = new Float64Array(weight!.length);
    const { data } = input;
    const gradient = outputGradient.data;
    visitRows(spec, inputShape, batch, (w, inRow, outRow, count, stride) => {
      const scale = weight![w]!;
      let sum = 0;
      for (let i = 0; i < count; i++) {
        const g = gradient[outRow + i]!;
        sum += g * data[inRow + i * stride]!;
        inputGradient[inRow + i * stride]! += g * scale;
      }
      weightGradient[w]! += sum;
    });
    const gradients = { shape: input.shape, data: inputGradient };
    if (!spec.bias) return { input: gradients, parameters: [weightGradient] };
    const biasGradient = new Float64Array(spec.out);
    for (let i = 0; i < gradient.length; i++) {
      biasGradient[Math.floor(i / plane) % spec.out]! += gradient[i]!;
    }
    return { input: gradients, parameters: [weightGradient, biasGradient] };
  },
};
