/**
 * 2-D average pooling as PyTorch's nn.AvgPool2d: sizes round down, so rows and columns that do not fill a window are
 * ignored; padding counts as zeros, so every window is divided by the whole kernel's size (count_include_pad).
 */
import type { AvgPool2dSpec, LayerKind, LayerPasses } from '../layer.ts';
import { kernelSize, type PoolOptions, poolArguments, poolShape, visitWindows } from './pool.ts';

export type AvgPool2dOptions = PoolOptions;

/**
 * Takes the mean of each window: `avgPool2d(2)`, or `avgPool2d({ kernel: 3, stride: 2, padding: 1 })`.
 * @throws UsageError if an argument is out of range.
 */
export const avgPool2d = (kernelOrOptions: number | AvgPool2dOptions): AvgPool2dSpec => ({
  kind: 'avgPool2d',
  ...poolArguments('avgPool2d', kernelOrOptions),
});

export const avgPool2dKind: LayerKind<AvgPool2dSpec> = {
  kind: 'avgPool2d',
  role: 'pool',
  outputShape: poolShape,
  parameters: () => [],
  multiplyAdds: () => 0,
};

export const avgPool2dPasses: LayerPasses<AvgPool2dSpec> = {
  forward(spec, input) {
    const [batch = 0, ...map] = input.shape;
    const shape = [batch, ...poolShape(spec, map)];
    const data = new Float64Array(shape.reduce((size, side) => size * side, 1));
    const factor = 1 / kernelSize(spec);
    visitWindows(spec, input.shape, (window, position) => {
      data[window]! += factor * input.data[position]!;
    });
    return { shape, data };
  },

  backward(spec, input, _parameters, outputGradient) {
    const data = new Float64Array(input.data.length);
    const factor = 1 / kernelSize(spec);
    visitWindows(spec, input.shape, (window, position) => {
      data[position]! += factor * outputGradient.data[window]!;
    });
    return { input: { shape: input.shape, data }, parameters: [] };
  },
};
