/** How many tiles a Winograd convolution processes together. */
import type { Tiles } from '../../../../kernels/winograd-schemes.ts';
import type { Convolution } from '../../plan/operations.ts';
import { forwardTiles } from './geometry.ts';

/** Share of the second-level cache for a block's transformed inputs and outputs and the weights. */
const cacheShare = 0.87;

/** Fewest tiles of a block for which weights are kept in that cache. */
const fewestTiles = 16;

/** Tiles of a block if weights do not stay in the cache: enough to be worth reading them. */
const tilesForWeights = 128;

/** Tiles whose planes fit the cache beside the weights; negative if these alone do not fit. */
function tilesBesideWeights({ input, full, scheme }: Convolution, cacheFloats: number): number {
  const { planes } = scheme!;
  const left = cacheShare * cacheFloats - planes * input.stored * full.stored;
  return Math.floor(left / (planes * (input.stored + full.stored)));
}

/** Whether the weights stay in the cache from block to block. */
export const weightsStay = (operation: Convolution, cacheFloats: number): boolean =>
  tilesBesideWeights(operation, cacheFloats) >= fewestTiles;

/**
 * The most tiles of a block, in whole rows: as many as stay in the second-level cache with the weights between the
 * transforms, or a fixed number if those are too few. With `parts` > 1, a block never crosses an image; otherwise blocks
 * continue in the next image if an image does not fit whole.
 */
export function winogradBlock(
  operation: Convolution,
  cacheFloats: number,
  { rows, columns }: Tiles,
  parts = 1,
): number {
  const fitting = Math.floor(tilesBesideWeights(operation, cacheFloats) / columns);
  const enough = fitting * columns >= fewestTiles;
  const blockRows = enough ? fitting : Math.max(1, Math.floor(tilesForWeights / columns));
  const withinImage = parts > 1 || fitting >= rows;
  return columns * (withinImage ? Math.min(blockRows, Math.ceil(rows / parts)) : blockRows);
}

/** Whether a block has more tiles than an image, so that several images share one. */
export function blockExceedsImage(operation: Convolution, cacheFloats: number): boolean {
  if (operation.forward !== 'winograd') return false;
  const tiles = forwardTiles(operation);
  return winogradBlock(operation, cacheFloats, tiles) > tiles.rows * tiles.columns;
}
