/** What pools share: their arguments, their output shape and their windows. Sizes round down, as in PyTorch. */
import { UsageError } from '../../errors.ts';
import type { LayerPlace, PoolSpec, Shape } from '../layer.ts';
import type { Pair, Sides } from './arguments.ts';
import { featureMap, formatPair, knownArguments, named, sides, windowPlaces } from './arguments.ts';

export interface PoolOptions {
  readonly kernel: Sides;
  /** Equal to the kernel by default, so that windows do not overlap. */
  readonly stride?: Sides;
  /** At most half the kernel; 0 by default. */
  readonly padding?: Sides;
  readonly name?: string;
}

/** Checks the arguments of a pool's constructor, which are the spec's fields. @throws UsageError */
export function poolArguments(
  layer: PoolSpec['kind'],
  kernelOrOptions: number | PoolOptions,
): { readonly name?: string; readonly kernel: Pair; readonly stride: Pair; readonly padding: Pair } {
  const options =
    typeof kernelOrOptions === 'object' && kernelOrOptions !== null
      ? kernelOrOptions
      : { kernel: kernelOrOptions };
  knownArguments(layer, options, ['kernel', 'stride', 'padding', 'name']);
  const kernel = sides(layer, 'kernel', options.kernel, 1);
  const padding = sides(layer, 'padding', options.padding ?? 0, 0);
  if (padding.some((side, axis) => side > kernel[axis]! / 2)) {
    throw new UsageError(
      `${layer}: padding ${formatPair(padding)} is more than half the kernel ${formatPair(kernel)}; ` +
        'use less padding or a larger kernel',
    );
  }
  return {
    ...named(layer, options.name),
    kernel,
    stride: sides(layer, 'stride', options.stride ?? kernel, 1),
    padding,
  };
}

export const kernelSize = ({ kernel: [height, width] }: PoolSpec): number => height * width;

/** @throws ShapeError if the windows do not fit. */
export function poolShape(spec: PoolSpec, input: Shape, place?: LayerPlace): Shape {
  const [channels, height, width] = featureMap(spec.kind, input, place);
  return [channels, ...windowPlaces(spec.kind, spec, [height, width], place)];
}

/**
 * Calls `visit` for each position inside the map [N, C, H, W] of each window, row by row: with the window's index in the
 * output and the position's index in the input.
 */
export function visitWindows(
  spec: PoolSpec,
  [batch = 0, channels = 0, height = 0, width = 0]: Shape,
  visit: (window: number, position: number) => void,
): void {
  const { kernel, stride, padding } = spec;
  const [, outHeight = 0, outWidth = 0] = poolShape(spec, [channels, height, width]);
  let window = 0;
  for (let plane = 0; plane < batch * channels; plane++) {
    for (let y = 0; y < outHeight; y++) {
      const top = y * stride[0] - padding[0];
      for (let x = 0; x < outWidth; x++) {
        const left = x * stride[1] - padding[1];
        for (let inY = Math.max(top, 0); inY < Math.min(top + kernel[0], height); inY++) {
          for (let inX = Math.max(left, 0); inX < Math.min(left + kernel[1], width); inX++) {
            visit(window, (plane * height + inY) * width + inX);
          }
        }
        window++;
      }
    }
  }
}
