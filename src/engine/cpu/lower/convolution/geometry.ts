/** Tiles of a convolution, and the halos of zeros that its maps need around them. */
import { type Tiles, tilesOf } from '../../../../kernels/winograd-schemes.ts';
import { type Halo, noHalo } from '../../plan/maps.ts';
import { type Convolution, isPoolOfTiles } from '../../plan/operations.ts';

/** Whether the output transform can pool: windows of 2 or 4 that tile the map and fit a tile. */
export const poolsInTransform = ({ forward, scheme, pool }: Convolution): boolean => {
  if (forward !== 'winograd' || !isPoolOfTiles(pool)) return false;
  const [size] = pool.kernel;
  return size === 2 || (size === 4 && scheme!.tile === 4);
};

/** Tiles of the forward pass, without those that a fused pool would drop. */
export function forwardTiles(operation: Convolution): Tiles {
  const { full, output, pool, scheme } = operation;
  const size = poolsInTransform(operation) ? pool!.kernel[0] : undefined;
  return tilesOf(scheme!, size ? { height: output.height * size, width: output.width * size } : full);
}

/** The zeros that a convolution needs around its input. */
export function convolutionInputHalo(operation: Convolution): Halo {
  const { spec, input, full, forward, scheme } = operation;
  const [paddingY, paddingX] = spec.padding;
  const lastRow = (full.height - 1) * spec.stride[0] + spec.kernel[0];
  const lastColumn = (full.width - 1) * spec.stride[1] + spec.kernel[1];
  let [bottom, right] = [lastRow, lastColumn];
  if (forward === 'winograd') {
    const { rows, columns } = forwardTiles(operation);
    bottom = Math.max(bottom, rows * scheme!.tile + 2);
    right = Math.max(right, columns * scheme!.tile + 2);
  }
  return {
    top: paddingY,
    left: paddingX,
    bottom: Math.max(0, bottom - paddingY - input.height),
    right: Math.max(0, right - paddingX - input.width),
  };
}

/** The zeros that a convolution needs around the gradient of its full output. */
export function convolutionGradientHalo(operation: Convolution, needsInputGradient: boolean): Halo {
  if (operation.backward !== 'winograd') return noHalo;
  const { spec, input, full } = operation;
  const scheme = operation.scheme!;
  const tiles = forwardTiles(operation);
  const inputTiles = tilesOf(scheme, input);
  const before = (padding: number): number => (needsInputGradient ? 2 - padding : 0);
  const after = (size: number, forward: number, backward: number, padding: number): number =>
    Math.max(
      0,
      forward * scheme.tile - size,
      needsInputGradient ? backward * scheme.tile + 2 - before(padding) - size : 0,
    );
  return {
    top: before(spec.padding[0]),
    left: before(spec.padding[1]),
    bottom: after(full.height, tiles.rows, inputTiles.rows, spec.padding[0]),
    right: after(full.width, tiles.columns, inputTiles.columns, spec.padding[1]),
  };
}
