/**
 * 2-D max-pooling as in PyTorch: sizes round down, so rows and columns that do not fill a window are ignored; padding is
 * never the maximum; among equal values, the first in the window (row by row) gets the whole gradient; NaN beats every
 * number, and the last NaN of a window wins.
 */
import type { LayerKind, LayerPasses, MaxPool2dSpec, Shape, Tensor } from '../layer.ts';
import { type PoolOptions, poolArguments, poolShape, visitWindows } from './pool.ts';

export type MaxPool2dOptions = PoolOptions;

/**
 * Takes the largest value of each window: `maxPool2d(2)`, or `maxPool2d({ kernel: 3, stride: 2, padding: 1 })`.
 * @throws UsageError if an argument is out of range.
 */
export const maxPool2d = (kernelOrOptions: number | MaxPool2dOptions): MaxPool2dSpec => ({
  kind: 'maxPool2d',
  ...poolArguments('maxPool2d', kernelOrOptions),
});

/** The output shape and, for each output value, the index of its maximum in `input.data`. */
function winners(
  spec: MaxPool2dSpec,
  { shape: [batch = 0, ...input], data }: Tensor,
): { shape: Shape; winner: Float64Array } {
  const shape = [batch, ...poolShape(spec, input)];
  const winner = new Float64Array(shape.reduce((size, side) => size * side, 1)).fill(-1);
  visitWindows(spec, [batch, ...input], (window, position) => {
    const best = winner[window]!;
    if (best < 0 || data[position]! > data[best]! || Number.isNaN(data[position]!)) winner[window] = position;
  });
  return { shape, winner };
}

export const maxPool2dKind: LayerKind<MaxPool2dSpec> = {
  kind: 'maxPool2d',
  role: 'pool',
  outputShape: poolShape,
  parameters: () => [],
  multiplyAdds: () => 0,
};

export const maxPool2dPasses: LayerPasses<MaxPool2dSpec> = {
  forward(spec, input) {
    const { shape, winner } = winners(spec, input);
    return { shape, data: winner.map((position) => input.data[position]!) };
  },

  backward(spec, input, _parameters, outputGradient) {
    const { winner } = winners(spec, input);
    const data = new Float64Array(input.data.length);
    winner.forEach((position, i) => {
      data[position]! += outputGradient.data[i]!;
    });
    return { input: { shape: input.shape, data }, parameters: [] };
  },
};
