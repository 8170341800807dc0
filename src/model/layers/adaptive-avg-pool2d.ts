/**
 * 2-D adaptive average pooling as PyTorch's nn.AdaptiveAvgPool2d: a map of any size becomes one of a fixed size. Window i
 * of s along a side of n values reaches from ⌊i·n/s⌋ to ⌈(i+1)·n/s⌉, so windows may overlap, and a side shorter than s is
 * repeated. At the same size it is the identity.
 */
import type { AdaptiveAvgPool2dSpec, LayerKind, LayerPasses, LayerPlace, Shape } from '../layer.ts';
import { featureMap, knownArguments, named, type Sides, sides } from './arguments.ts';

export interface AdaptiveAvgPool2dOptions {
  /** Of the output: one side for a square, or [height, width]. */
  readonly size: Sides;
  readonly name?: string;
}

/**
 * Averages a map of any size to a fixed one: `adaptiveAvgPool2d(7)`, or `adaptiveAvgPool2d({ size: [7, 5] })`.
 * @throws UsageError if an argument is out of range.
 */
export function adaptiveAvgPool2d(sizeOrOptions: Sides | AdaptiveAvgPool2dOptions): AdaptiveAvgPool2dSpec {
  const options: AdaptiveAvgPool2dOptions =
    typeof sizeOrOptions === 'object' && sizeOrOptions !== null && !Array.isArray(sizeOrOptions)
      ? (sizeOrOptions as AdaptiveAvgPool2dOptions)
      : { size: sizeOrOptions as Sides };
  knownArguments('adaptiveAvgPool2d', options, ['size', 'name']);
  return {
    kind: 'adaptiveAvgPool2d',
    ...named('adaptiveAvgPool2d', options.name),
    size: sides('adaptiveAvgPool2d', 'size', options.size, 1),
  };
}

/** The first input of window `i` of `windows` along a side of `size` inputs, and the first input behind it. */
const window = (i: number, size: number, windows: number): readonly [from: number, to: number] => [
  Math.floor((i * size) / windows),
  Math.ceil(((i + 1) * size) / windows),
];

/** The windows along a side. */
const windowsOf = (size: number, windows: number): (readonly [from: number, to: number])[] =>
  Array.from({ length: windows }, (_, i) => window(i, size, windows));

function outputShape({ kind, size }: AdaptiveAvgPool2dSpec, input: Shape, place?: LayerPlace): Shape {
  const [channels] = featureMap(kind, input, place);
  return [channels, ...size];
}

/** Whether a pool of a map is the identity. */
export const isIdentity = ({ size }: AdaptiveAvgPool2dSpec, [, height, width]: Shape): boolean =>
  size[0] === height && size[1] === width;

/**
 * Calls `visit` for each position of each window of the maps [N, C, H, W]: with the window's index in the output, the
 * position's in the input, and one over the window's size.
 */
function visitWindows(
  { size }: AdaptiveAvgPool2dSpec,
  [batch = 0, channels = 0, height = 0, width = 0]: Shape,
  visit: (window: number, position: number, factor: number) => void,
): void {
  const rows = windowsOf(height, size[0]);
  const columns = windowsOf(width, size[1]);
  let window = 0;
  for (let plane = 0; plane < batch * channels; plane++) {
    for (const [top, bottom] of rows) {
      for (const [left, right] of columns) {
        const factor = 1 / ((bottom - top) * (right - left));
        for (let y = top; y < bottom; y++) {
          for (let x = left; x < right; x++) visit(window, (plane * height + y) * width + x, factor);
        }
        window++;
      }
    }
  }
}

export const adaptiveAvgPool2dKind: LayerKind<AdaptiveAvgPool2dSpec> = {
  kind: 'adaptiveAvgPool2d',
  role: 'pool',
  outputShape,
  parameters: () => [],
  multiplyAdds: () => 0,
};

export const adaptiveAvgPool2dPasses: LayerPasses<AdaptiveAvgPool2dSpec> = {
  forward(spec, input) {
    const [batch = 0, ...map] = input.shape;
    const shape = [batch, ...outputShape(spec, map)];
    const data = new Float64Array(shape.reduce((size, side) => size * side, 1));
    visitWindows(spec, input.shape, (window, position, factor) => {
      data[window]! += factor * input.data[position]!;
    });
    return { shape, data };
  },

  backward(spec, input, _parameters, outputGradient) {
    const data = new Float64Array(input.data.length);
    visitWindows(spec, input.shape, (window, position, factor) => {
      data[position]! += factor * outputGradient.data[window]!;
    });
    return { input: { shape: input.shape, data }, parameters: [] };
  },
};
