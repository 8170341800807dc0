/**
 * 2-D max-pooling as in PyTorch: sizes round down, so rows and columns that do not fill a window are ignored; padding is
 * never the maximum; among equal values, the first in the window (row by row) gets the whole gradient; NaN beats every
 * number, and the last NaN of a window wins.
 */
import { UsageError } from '../../errors.ts';
import type { LayerKind, MaxPool2dSpec, Tensor } from '../layer.ts';
import type { Sides } from './arguments.ts';
import { featureMap, formatPair, knownArguments, named, sides, windowPlaces } from './arguments.ts';

export interface MaxPool2dOptions {
  readonly kernel: Sides;
  /** Equal to the kernel by default, so that windows do not overlap. */
  readonly stride?: Sides;
  /** At most half the kernel; 0 by default. */
  readonly padding?: Sides;
  readonly name?: string;
}

/**
 * Takes the largest value of each window: `maxPool2d(2)`, or `maxPool2d({ kernel: 3, stride: 2, padding: 1 })`.
 * @throws UsageError if an argument is out of range.
 */
export function maxPool2d(kernelOrOptions: number | MaxPool2dOptions): MaxPool2dSpec {
  const options =
    typeof kernelOrOptions === 'object' && kernelOrOptions !== null
      ? kernelOrOptions
      : { kernel: kernelOrOptions };
  knownArguments('maxPool2d', options, ['kernel', 'stride', 'padding', 'name']);
  const kernel = sides('maxPool2d', 'kernel', options.kernel, 1);
  const padding = sides('maxPool2d', 'padding', options.padding ?? 0, 0);
  if (padding.some((side, axis) => side > kernel[axis]! / 2)) {
    throw new UsageError(
      `maxPool2d: padding ${formatPair(padding)} is more than half the kernel ${formatPair(kernel)}; ` +
        'use less padding or a larger kernel',
    );
  }
  return {
    kind: 'maxPool2d',
    ...named('maxPool2d', options.name),
    kernel,
    stride: sides('maxPool2d', 'stride', options.stride ?? kernel, 1),
    padding,
  };
}

/** The output shape and, for each output value, the index of its maximum in `input.data`. */
function winners(
  spec: MaxPool2dSpec,
  { shape, data }: Tensor,
): { shape: readonly number[]; winner: Uint32Array } {
  const [batch = 0, ...inputShape] = shape;
  const [channels, height, width] = featureMap('maxPool2d', inputShape, undefined);
  const [outHeight, outWidth] = windowPlaces('maxPool2d', spec, [height, width], undefined);
  const winner = new Uint32Array(batch * channels * outHeight * outWidth);
  let next = 0;
  for (let plane = 0; plane < batch * channels; plane++) {
    for (let y = 0; y < outHeight; y++) {
      const top = y * spec.stride[0] - spec.padding[0];
      for (let x = 0; x < outWidth; x++) {
        const left = x * spec.stride[1] - spec.padding[1];
        let best = -1;
        for (let inY = Math.max(top, 0); inY < Math.min(top + spec.kernel[0], height); inY++) {
          for (let inX = Math.max(left, 0); inX < Math.min(left + spec.kernel[1], width); inX++) {
            const at = (plane * height + inY) * width + inX;
            if (best < 0 || data[at]! > data[best]! || Number.isNaN(data[at]!)) best = at;
          }
        }
        winner[next++] = best;
      }
    }
  }
  return { shape: [batch, channels, outHeight, outWidth], winner };
}

export const maxPool2dKind: LayerKind<MaxPool2dSpec> = {
  kind: 'maxPool2d',

  outputShape(spec, input, place) {
    const [channels, height, width] = featureMap('maxPool2d', input, place);
    return [channels, ...windowPlaces('maxPool2d', spec, [height, width], place)];
  },

  parameters: () => [],
  multiplyAdds: () => 0,

  forward(spec, input) {
    const { shape, winner } = winners(spec, input);
    return { shape, data: Float64Array.from(winner, (at) => input.data[at]!) };
  },

  backward(spec, input, _parameters, outputGradient) {
    const { winner } = winners(spec, input);
    const data = new Float64Array(input.data.length);
    winner.forEach((at, i) => {
      data[at]! += outputGradient.data[i]!;
    });
    return { input: { shape: input.shape, data }, parameters: [] };
  },
};
