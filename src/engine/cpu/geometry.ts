/** Tiles of a convolution, and the frames of zeros that its maps need around them. */
import { tileSize } from '../../kernels/winograd.ts';
import { type Frame, noFrame } from './code.ts';
import { type Convolution, isPoolOfTiles } from './operations.ts';

export const tilesOf = (size: number): number => Math.ceil(size / tileSize);

/** Whether the output transform can pool: windows of 2 or 4 that tile the map. */
export const poolsInTransform = (operation: Convolution): boolean =>
  operation.forward === 'winograd' &&
  isPoolOfTiles(operation.pool) &&
  (operation.pool.kernel[0] === 2 || operation.pool.kernel[0] === 4);

/** Tiles of the forward pass; a fused pool needs none that it would drop. */
export function forwardTiles(operation: Convolution): { rows: number; columns: number } {
  const { full, output, pool } = operation;
  const size = poolsInTransform(operation) ? pool!.kernel[0] : undefined;
  return {
    rows: tilesOf(size ? output.height * size : full.height),
    columns: tilesOf(size ? output.width * size : full.width),
  };
}

/** The zeros that a convolution needs around its input. */
export function convolutionInputFrame(operation: Convolution): Frame {
  const { spec, input, full } = operation;
  const [paddingY, paddingX] = spec.padding;
  const beyond = (last: number, padding: number, size: number): number => Math.max(0, last - padding - size);
  const lastRow = (full.height - 1) * spec.stride[0] + spec.kernel[0];
  const lastColumn = (full.width - 1) * spec.stride[1] + spec.kernel[1];
  const winograd = operation.forward === 'winograd';
  const tiles = forwardTiles(operation);
  return {
    top: paddingY,
    left: paddingX,
    bottom: beyond(winograd ? Math.max(lastRow, tiles.rows * tileSize + 2) : lastRow, paddingY, input.height),
    right: beyond(
      winograd ? Math.max(lastColumn, tiles.columns * tileSize + 2) : lastColumn,
      paddingX,
      input.width,
    ),
  };
}

/** The zeros that it needs around the gradient of its full output. */
export function convolutionGradientFrame(operation: Convolution, needsInputGradient: boolean): Frame {
  if (operation.backward !== 'winograd') return noFrame;
  const { spec, input, full } = operation;
  const tiles = forwardTiles(operation);
  const before = (padding: number): number => (needsInputGradient ? 2 - padding : 0);
  const after = (size: number, forward: number, inputSize: number, padding: number): number =>
    Math.max(
      0,
      forward * tileSize - size,
      needsInputGradient ? tilesOf(inputSize) * tileSize + 2 - before(padding) - size : 0,
    );
  return {
    top: before(spec.padding[0]),
    left: before(spec.padding[1]),
    bottom: after(full.height, tiles.rows, input.height, spec.padding[0]),
    right: after(full.width, tiles.columns, input.width, spec.padding[1]),
  };
}
