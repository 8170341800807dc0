/**
 * A 3×3 convolution of stride 1 by Winograd's transforms (`kernels/winograd-schemes.ts`): tiles of 4×4 or 2×2 outputs, in
 * blocks that stay in the second-level cache with the weights or are large enough to read the weights for; 36 or 16
 * matrix products between two transforms. The output transform includes ReLU and a pool of 2 or 4. Both gradients use
 * the same scheme.
 */
import { type Tiles, tilesOf } from '../../../../kernels/winograd-schemes.ts';
import { type Code, reluThreshold } from '../../plan/code.ts';
import { unevenStride } from '../../plan/map-shape.ts';
import type { Chunk, MapBuffer, Matrix } from '../../plan/maps.ts';
import type { Place } from '../../plan/memory.ts';
import type { Convolution } from '../../plan/operations.ts';
import { type Block, cutBlocks } from '../blocks.ts';
import type { ConvolutionAlgorithm, ConvolutionMaps } from './convolution.ts';
import { forwardTiles, poolsInTransform } from './geometry.ts';

/** Share of the second-level cache for a block's transformed inputs and outputs and the weights. */
const cacheShare = 0.87;

/** Fewest tiles of a block for which weights are kept in that cache. */
const fewestTiles = 16;

/** Tiles of a block if weights do not stay in the cache: enough to be worth reading them. */
const tilesForWeights = 32;

/**
 * The most tiles of a block, in whole rows: as many as stay in the second-level cache with the weights between the
 * transforms, or a fixed number if those are too few. With `parts` > 1, a block never crosses an image; otherwise blocks
 * continue in the next image if an image does not fit whole.
 */
export function winogradBlock(
  { input, full, scheme }: Convolution,
  cacheFloats: number,
  { rows, columns }: Tiles,
  parts = 1,
): number {
  const { planes } = scheme!;
  const rowFloats = columns * planes * (input.stored + full.stored);
  const fitting = Math.floor((cacheShare * cacheFloats - planes * input.stored * full.stored) / rowFloats);
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

export function winogradAlgorithm(maps: ConvolutionMaps): ConvolutionAlgorithm {
  const { operation, context, derived, fullMap, fullGradient, winners } = maps;
  const { spec, input, full, pool, matrix } = operation;
  const scheme = operation.scheme!;
  const { tile, planes } = scheme;
  const { training, x, y, dx } = context;
  const { parameters } = context.layout;
  const { cacheFloats } = context.layout.operations;
  const [paddingY, paddingX] = spec.padding;
  const threshold = reluThreshold(operation.relu);
  const fused = poolsInTransform(operation);
  const tiles = forwardTiles(operation);
  const inputTiles = tilesOf(scheme, input);
  const blockOf = (of: Tiles, parts: number): number => winogradBlock(operation, cacheFloats, of, parts);
  const largestBlock = Math.max(...[tiles, inputTiles].flatMap((of) => [of.columns, blockOf(of, 1)]));

  const backward = training && operation.backward === 'winograd';
  /** Working memory [planes][tiles][channels] of two products, which take turns. */
  const tilePlanes = (...channels: number[]): Matrix[] => {
    // Whole rows are read in order, so they do not conflict in the cache; a gap between rows would only waste it.
    const planeStride = (rowStride: number): number => largestBlock * rowStride + 16;
    const floats = planes * planeStride(Math.max(...channels));
    const place: Place = context.working(floats, 'forward', ...(backward ? (['backward'] as const) : []));
    return channels.map((rowStride) => ({ place, rowStride, planeStride: planeStride(rowStride) }));
  };
  const [inputPlanes, gradientPlanes] = tilePlanes(input.stored, full.stored) as [Matrix, Matrix];
  const [outputPlanes, inputGradientPlanes] = tilePlanes(full.stored, input.stored) as [Matrix, Matrix];
  const weightStride = unevenStride(input.stored);
  const weightPlaneStride = full.stored * weightStride + 16;
  /** Sums of A dY Aᵀ ⊙ Bᵀ d B, [planes][filters][channels], until a chunk is finished. */
  const weightPlanes = backward ? context.working(planes * weightPlaneStride, 'backward') : undefined;

  const prefetched = context.working(1, 'forward', 'backward');

  /** Transforms a block of a map; if it has left the cache, it is first fetched in the order of memory. */
  const toPlanes = (
    code: Code,
    purpose: 'Input' | 'Gradient',
    planesOf: Matrix,
    map: MapBuffer,
    chunk: Chunk,
    block: Block,
    columns: number,
    offsetY: number,
    offsetX: number,
  ): void => {
    // Values of a patch that reach beyond its tile.
    const overlap = purpose === 'Input' ? scheme.patch - tile : 0;
    for (const { image, row, rows, before } of block.pieces) {
      const first = map.at(chunk, image, row * tile - offsetY, -offsetX);
      if (map.floats > cacheFloats) {
        code.call('prefetchRows', {
          out: prefetched.at,
          map: first,
          mapRow: map.rowStride,
          rows: rows * tile + overlap,
          length: (columns * tile + overlap) * map.pixelStride,
        });
      }
      code.call(`winograd${tile}${purpose}`, {
        out: planesOf.place.at + before * planesOf.rowStride,
        planeStride: planesOf.planeStride,
        tileStride: planesOf.rowStride,
        map: first,
        rowStride: map.rowStride,
        pixelStride: map.pixelStride,
        tileRows: rows,
        tileColumns: columns,
        channels: map.shape.stored,
      });
    }
  };

  return {
    forwardBlocks: (images, parts) => cutBlocks(images, tiles.rows, tiles.columns, blockOf(tiles, parts)),
    forward(code, chunk, block) {
      const [from, to] = [inputPlanes, outputPlanes];
      toPlanes(code, 'Input', from, x, chunk, block, tiles.columns, paddingY, paddingX);
      multiply(code, planes, from, derived.forward, to, block.size, full.stored, input.stored);
      for (const { image, row, rows, before } of block.pieces) {
        const size = fused ? pool!.kernel[0] : 1;
        const target = fused ? y : fullMap!;
        const firstRow = (row * tile) / size;
        const kernel =
          tile === 4 && size === 4 ? 'winograd4OutputPool4' : (`winograd${tile}OutputPool2` as const);
        code.call(fused ? kernel : `winograd${tile}Output`, {
          planes: to.place.at + before * to.rowStride,
          planeStride: to.planeStride,
          tileStride: to.rowStride,
          map: target.at(chunk, image, firstRow),
          rowStride: target.rowStride,
          pixelStride: target.pixelStride,
          tileRows: rows,
          tileColumns: tiles.columns,
          channels: full.stored,
          height: target.shape.height - firstRow,
          width: target.shape.width,
          ...(fused && {
            winners: winners!.at(chunk, image, firstRow),
            winnerRow: winners!.rowStride,
            winnerPixel: winners!.pixelStride,
          }),
          bias: parameters.at + matrix.bias,
          threshold,
        });
      }
    },
    weightBlocks(images, parts) {
      return this.forwardBlocks(images, parts);
    },
    weightGradient(code, chunk, blocks, slot, first) {
      blocks.forEach((block, index) => {
        toPlanes(code, 'Input', inputPlanes, x, chunk, block, tiles.columns, paddingY, paddingX);
        toPlanes(code, 'Gradient', outputPlanes, fullGradient!, chunk, block, tiles.columns, 0, 0);
        code.call('gemmTN', {
          out: weightPlanes!.at,
          outStride: weightStride,
          outPlane: weightPlaneStride,
          left: outputPlanes.place.at,
          leftStride: outputPlanes.rowStride,
          leftPlane: outputPlanes.planeStride,
          right: inputPlanes.place.at,
          rightStride: inputPlanes.rowStride,
          rightPlane: inputPlanes.planeStride,
          planes,
          rows: full.stored,
          columns: input.stored,
          depth: block.size,
          accumulate: Number(!first.ofChunk || index > 0),
        });
        block.pieces.forEach(({ image, row, rows }, piece) => {
          if (!spec.bias) return;
          const gradient = fullGradient!;
          code.call('sumPixels', {
            out: slot + matrix.bias,
            map: gradient.at(chunk, image, row * tile),
            mapRow: gradient.rowStride,
            mapPixel: gradient.pixelStride,
            rows: Math.min(rows * tile, full.height - row * tile),
            columns: full.width,
            channels: full.stored,
            accumulate: Number(!first.ofSlot || index > 0 || piece > 0),
          });
        });
      });
    },
    finishChunk(code, slot, first) {
      code.call(`winograd${tile}WeightGradient`, {
        out: weightPlanes!.at,
        planeStride: weightPlaneStride,
        rowStride: weightStride,
        weights: slot + matrix.offset,
        filterStride: matrix.rowStride,
        filters: full.stored,
        channels: input.stored,
        accumulate: Number(!first),
      });
    },
    inputBlocks: (images, parts) =>
      cutBlocks(images, inputTiles.rows, inputTiles.columns, blockOf(inputTiles, parts)),
    inputGradient(code, chunk, block) {
      const [from, to] = [gradientPlanes, inputGradientPlanes];
      const { columns } = inputTiles;
      toPlanes(code, 'Input', from, fullGradient!, chunk, block, columns, 2 - paddingY, 2 - paddingX);
      multiply(code, planes, from, derived.backward!, to, block.size, input.stored, full.stored);
      for (const { image, row, rows, before } of block.pieces) {
        code.call(`winograd${tile}OutputMasked`, {
          planes: to.place.at + before * to.rowStride,
          planeStride: to.planeStride,
          tileStride: to.rowStride,
          map: dx!.at(chunk, image, row * tile),
          rowStride: dx!.rowStride,
          pixelStride: dx!.pixelStride,
          tileRows: rows,
          tileColumns: columns,
          channels: input.stored,
          height: input.height - row * tile,
          width: input.width,
          activation: x.at(chunk, image, row * tile),
          activationRow: x.rowStride,
          activationPixel: x.pixelStride,
          threshold: reluThreshold(context.masksInput),
        });
      }
    },
  };
}

/** The products [tiles][depth] · [depth][columns]. */
function multiply(
  code: Code,
  planes: number,
  left: Matrix,
  right: Matrix,
  out: Matrix,
  rows: number,
  columns: number,
  depth: number,
): void {
  code.call('gemmNN', {
    out: out.place.at,
    outStride: out.rowStride,
    outPlane: out.planeStride,
    left: left.place.at,
    leftStride: left.rowStride,
    leftPlane: left.planeStride,
    right: right.place.at,
    rightStride: right.rowStride,
    rightPlane: right.planeStride,
    planes,
    rows,
    columns,
    depth,
    accumulate: 0,
  });
}
