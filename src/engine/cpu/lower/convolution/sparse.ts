/**
 * The gradients of a convolution followed by a max-pool, by visiting only the pool's winners (`kernels/sparse.ts`).
 * Weight and input gradients of an image use the same lists, so both are computed together.
 */
import { entryWords } from '../../../../kernels/sparse.ts';
import { reluThreshold } from '../../plan/code.ts';
import type { Chunk } from '../../plan/maps.ts';
import { cutImages, cutRows, type Piece } from '../blocks.ts';
import type { ConvolutionGradients, ConvolutionMaps } from './convolution.ts';
import { inputScatter } from './scatter.ts';

/**
 * Windows of a band of rows that is visited for all filters before the next band: few enough to keep the input and its
 * gradient in the cache, and enough for lists of a useful length.
 */
const bandWindows = 24;

/** The arguments of `sparseCollect` that describe a band of the pooled map, its winners and its gradient. */
function bandArguments(
  { operation, context, winners }: ConvolutionMaps,
  chunk: Chunk,
  { image, row, rows }: Piece,
): Record<string, number> {
  const { spec, output, relu, pool } = operation;
  const { x, y, dy } = context;
  return {
    pooled: y.at(chunk, image, row),
    pooledRow: y.rowStride,
    winners: winners!.at(chunk, image, row),
    winnerRow: winners!.rowStride,
    winnerPixel: winners!.pixelStride,
    gradient: dy!.at(chunk, image, row),
    gradientRow: dy!.rowStride,
    pixel: dy!.pixelStride,
    pooledHeight: rows,
    pooledWidth: output.width,
    pool: pool!.kernel[0],
    stepRow: spec.stride[0] * x.rowStride,
    stepPixel: spec.stride[1] * x.pixelStride,
    threshold: reluThreshold(relu),
  };
}

export function sparseGradients(maps: ConvolutionMaps): ConvolutionGradients {
  const { operation, context } = maps;
  const { spec, input, full, matrix, output } = operation;
  const { x, dx } = context;
  const { parameters } = context.layout;
  const [paddingY, paddingX] = spec.padding;
  const pool = operation.pool!.kernel[0];
  const bandRows = Math.min(output.height, Math.ceil(bandWindows / output.width));
  const bands = cutRows(1, output.height, output.width, bandRows).flatMap(({ pieces }) => pieces);
  const windows = bandRows * output.width;
  // Every window writes an entry, even if it is then discarded.
  const listStride = (windows + 1) * entryWords;
  const lists = context.working(full.stored * listStride, 'backward');
  const counts = context.working(full.stored, 'backward');
  const table = context.working(pool ** 2, 'backward');
  const live = context.working((windows + 1) * full.stored, 'backward');
  /** Receives the bias gradient if there is no bias. */
  const unused = spec.bias ? undefined : context.working(full.stored, 'backward');
  const scatter = dx ? inputScatter(operation, context, true) : undefined;

  return {
    weightBlocks: (images) => cutImages(images, output.height),
    weightGradient(code, chunk, blocks, slot, first) {
      blocks.forEach(({ pieces }, index) => {
        const { image } = pieces[0]!;
        const walkBands = (mapGradient?: (row: number) => number): void => {
          for (const band of bands) {
            const accumulate = Number(!first.ofSlot || index > 0 || band.row > 0);
            const mapRow = band.row * pool * spec.stride[0] - paddingY;
            const shared = {
              lists: lists.at,
              listStride,
              counts: counts.at,
              filters: full.stored,
              accumulate,
            };
            code.call('sparseCollect', {
              ...shared,
              ...bandArguments(maps, chunk, { ...band, image }),
              table: table.at,
              live: live.at,
              bias: unused ? unused.at : slot + matrix.bias,
              biasStep: unused ? 1 : matrix.biasStep,
            });
            const walk = {
              ...shared,
              out: slot + matrix.offset,
              filterStride: matrix.rowStride,
              map: x.at(chunk, image, mapRow, -paddingX),
              mapRow: x.rowStride,
              kernelRows: spec.kernel[0],
              run: spec.kernel[1] * input.stored,
            };
            if (!mapGradient) code.call('sparseWeightGradient', walk);
            else {
              code.call('sparseGradients', {
                ...walk,
                weights: parameters.at + matrix.offset,
                mapGradient: mapGradient(mapRow),
              });
            }
          }
        };
        if (!scatter) walkBands();
        else {
          scatter.run(code, chunk, image, (map) => walkBands((row) => map.at(chunk, image, row, -paddingX)));
        }
      });
    },
    inputBlocks: () => [],
    inputGradient() {},
  };
}
