/**
 * Shared by layer constructors and shape rules: checks of user arguments (`UsageError`), pairs of sides for kernels,
 * strides and padding, and descriptions of a layer's position in a network (`ShapeError`).
 */
import { ShapeError, UsageError } from '../../errors.ts';
import { checkWhole, isObject, shown } from '../../options.ts';
import type { LayerPlace, Shape } from '../layer.ts';

/** Height and width; one number means both. */
export type Sides = number | readonly [height: number, width: number];
export type Pair = readonly [number, number];

/** The most channels or features of a layer, and the most values along a side of an input. */
export const largestSize = 1_000_000;
/** The largest side of a kernel, stride or padding, in pixels. */
const largestWindow = 1024;
/** The most characters of a layer name. */
const longestName = 200;
/** The most layers of a network. */
export const mostLayers = 1000;

/** Checks that `value` is a whole number from `least` to `most`. @throws UsageError */
export function wholeNumber(
  layer: string,
  argument: string,
  value: unknown,
  least: number,
  most: number = largestSize,
): number {
  checkWhole(layer, argument, value, least, most);
  return value as number;
}

/** Checks that `value` is true or false. @throws UsageError */
export function truth(layer: string, argument: string, value: unknown): boolean {
  if (typeof value === 'boolean') return value;
  throw new UsageError(`${layer}: ${argument} ${shown(value)} is not true or false`);
}

/** Checks that `value` is a number ≥ `least` and < `beyond`. @throws UsageError */
export function numberBelow(
  layer: string,
  argument: string,
  value: unknown,
  least: number,
  beyond: number,
): number {
  if (typeof value === 'number' && value >= least && value < beyond) return value;
  const found = typeof value === 'string' ? `"${value}"` : String(value);
  throw new UsageError(`${layer}: ${argument} ${found} is not a number ≥ ${least} and < ${beyond}`);
}

/** Checks one number for both sides, or [height, width]. @throws UsageError */
export function sides(layer: string, argument: string, value: unknown, least: number): Pair {
  if (!Array.isArray(value)) {
    const side = wholeNumber(layer, argument, value, least, largestWindow);
    return [side, side];
  }
  if (value.length !== 2) {
    throw new UsageError(
      `${layer}: ${argument} [${value.slice(0, 4).map(String).join(', ')}] is neither a number nor [height, width]`,
    );
  }
  const [height, width] = value as readonly unknown[];
  return [
    wholeNumber(layer, argument, height, least, largestWindow),
    wholeNumber(layer, argument, width, least, largestWindow),
  ];
}

/** Rejects unknown arguments of a constructor, which JavaScript would ignore. @throws UsageError */
export function knownArguments(layer: string, given: unknown, known: readonly string[]): void {
  if (!isObject(given)) {
    throw new UsageError(`${layer}: ${shown(given)} is not an object with ${known.join(', ')}`);
  }
  for (const name of Object.keys(given)) {
    if (!known.includes(name)) {
      throw new UsageError(`${layer}: there is no argument "${name}"; available: ${known.join(', ')}`);
    }
  }
}

/** Checks an optional name and returns it as part of a spec. @throws UsageError */
export function named(layer: string, name: unknown): { readonly name?: string } {
  if (name === undefined) return {};
  if (typeof name !== 'string' || name === '' || name.length > longestName) {
    throw new UsageError(`${layer}: name ${shown(name)} is not a string of 1 to ${longestName} characters`);
  }
  return { name };
}

/** Formats a shape: `3×32×32`. */
export function formatShape(shape: Shape): string {
  return shape.join('×');
}

/** For example `input of layer 7 (conv4)`, or `input` if the layer's position is unknown. */
export function inputOf(place: LayerPlace | undefined): string {
  if (place === undefined) return 'input';
  return `input of layer ${place.position}${place.name === undefined ? '' : ` (${place.name})`}`;
}

/** Checks that `shape` is a feature map. @throws ShapeError */
export function featureMap(
  layer: string,
  shape: Shape,
  place: LayerPlace | undefined,
): readonly [channels: number, height: number, width: number] {
  const [channels, height, width] = shape;
  if (shape.length !== 3 || channels === undefined || height === undefined || width === undefined) {
    throw new ShapeError(
      `${layer}: the ${inputOf(place)} is a vector of ${formatShape(shape)} values, not a feature map; ` +
        'put it before flatten()',
    );
  }
  return [channels, height, width];
}

/**
 * The number of positions of a window in a padded map, vertically and horizontally, rounded down as in PyTorch.
 * @throws ShapeError if the window does not fit.
 */
export function windowPlaces(
  layer: string,
  window: { readonly kernel: Pair; readonly stride: Pair; readonly padding: Pair },
  map: Pair,
  place: LayerPlace | undefined,
): Pair {
  const { kernel, stride, padding } = window;
  const room = [map[0] + 2 * padding[0] - kernel[0], map[1] + 2 * padding[1] - kernel[1]] as const;
  const missing = -Math.min(...room);
  if (missing > 0) {
    const padded = padding[0] || padding[1] ? ` padded by ${formatPair(padding)}` : '';
    // A pool allows padding up to half its kernel, so more padding cannot help there.
    const more = Math.ceil(missing / 2) + Math.max(...padding);
    const padEnough = layer === 'conv2d' ? `pad by ${more}` : 'use a smaller kernel';
    const orDrop = place?.pooledBefore ? ' or drop the pool before it' : '';
    throw new ShapeError(
      `${layer}: kernel ${formatShape(kernel)} does not fit the ${formatShape(map)} ${inputOf(place)}${padded}; ` +
        `${padEnough}${orDrop}`,
    );
  }
  return [Math.floor(room[0] / stride[0]) + 1, Math.floor(room[1] / stride[1]) + 1];
}

/** Formats a pair: `2` if both sides are equal, otherwise `2×1`. */
export function formatPair(pair: Pair): string {
  return pair[0] === pair[1] ? String(pair[0]) : formatShape(pair);
}

/**
 * The outputs whose window element `tap` lies inside the map, not in the padding: from ≤ index < to, along one axis
 * with `size` inputs and `places` outputs.
 */
export function insideMap(
  tap: number,
  size: number,
  places: number,
  stride: number,
  padding: number,
): readonly [from: number, to: number] {
  const from = Math.max(0, Math.ceil((padding - tap) / stride));
  const to = Math.min(places, Math.floor((size - 1 + padding - tap) / stride) + 1);
  return [from, to];
}
