/**
 * A convolution as one matrix product: the patches of the input as rows of a matrix, with a column of ones for the
 * bias. Supports any kernel, stride and padding. If the backward pass of a chunk directly follows its forward pass, the
 * patches are kept for it.
 */

import { panelColumns } from '../../../../kernels/gemm.ts';
import type { Chunk, MapBuffer } from '../../plan/maps.ts';
import type { Convolution } from '../../plan/operations.ts';
import { type Block, cutImages, cutRows, type Piece } from '../blocks.ts';
import type { ConvolutionAlgorithm, ConvolutionMaps } from './convolution.ts';
import { inputScatter } from './scatter.ts';

/** Floats of a block of patches. */
const columnFloats = 32_768;

/** Rows of output pixels whose patches make a block. */
export const columnRows = ({ full, matrix }: Convolution): number =>
  Math.min(full.height, Math.max(1, Math.floor(columnFloats / (full.width * matrix.rowStride))));

export function im2colAlgorithm(maps: ConvolutionMaps): ConvolutionAlgorithm {
  const { operation, context, derived, fullMap, fullGradient } = maps;
  const { spec, input, full, relu, matrix } = operation;
  const { images, training, x, dx } = context;
  const { parameters } = context.layout;
  const [paddingY, paddingX] = spec.padding;
  const columnStride = matrix.rowStride;
  const run = spec.kernel[1] * input.stored;
  const largestRows = columnRows(operation);
  const blockPatches = full.width * largestRows;
  const backward = training && operation.backward === 'im2col';
  const keeps = backward && context.adjacent && largestRows === full.height;
  const patchFloats = blockPatches * columnStride;
  // Copies of whole vectors may write past the end.
  const columns = keeps
    ? context.kept(images * patchFloats + 16)
    : context.working(patchFloats + 16, 'forward', 'backward');
  const one = spec.bias ? 1 : 0;
  const tail = columnStride - spec.kernel[0] * run;
  const columnsOf = (image: number): number => columns.at + (keeps ? image * patchFloats : 0);
  const gradientColumns = backward && dx ? context.working(patchFloats, 'backward') : undefined;
  const scatter = backward && dx ? inputScatter(operation, context) : undefined;

  const patches = (
    map: MapBuffer,
    chunk: Chunk,
    image: number,
    { row, rows }: Piece,
    place: number,
  ): Record<string, number> => ({
    columns: place,
    columnStride,
    map: map.at(chunk, image, row * spec.stride[0] - paddingY, -paddingX),
    mapRow: map.rowStride,
    stepRow: spec.stride[0] * map.rowStride,
    stepPixel: spec.stride[1] * map.pixelStride,
    outRows: rows,
    outColumns: full.width,
    kernelRows: spec.kernel[0],
    run,
  });
  const blocksOf = (count: number, parts: number): Block[] =>
    cutRows(count, full.height, full.width, Math.min(largestRows, Math.ceil(full.height / parts)));

  return {
    forwardBlocks: blocksOf,
    forward(code, chunk, block) {
      const piece = block.pieces[0]!;
      const target = fullMap!;
      code.call('im2col', { ...patches(x, chunk, piece.image, piece, columnsOf(piece.image)), one, tail });
      // If the map has a halo, its rows are the planes of the product.
      const planes = target.contiguous ? 1 : piece.rows;
      code.call(relu ? 'gemmNNRelu' : 'gemmNN', {
        out: target.at(chunk, piece.image, piece.row),
        outStride: target.pixelStride,
        outPlane: target.rowStride,
        left: columnsOf(piece.image),
        leftStride: columnStride,
        leftPlane: full.width * columnStride,
        right: derived.forward.place.at,
        rightStride: derived.forward.rowStride,
        rightPlane: 0,
        rightPanel: panelColumns,
        planes,
        rows: block.size / planes,
        columns: full.stored,
        depth: columnStride,
        accumulate: 0,
      });
    },
    weightBlocks: blocksOf,
    weightGradient(code, chunk, blocks, slot, first) {
      blocks.forEach((block, index) => {
        const piece = block.pieces[0]!;
        if (!keeps)
          code.call('im2col', {
            ...patches(x, chunk, piece.image, piece, columnsOf(piece.image)),
            one,
            tail,
          });
        const gradient = fullGradient!;
        const products = gradient.contiguous ? 1 : piece.rows;
        for (let i = 0; i < products; i++) {
          code.call('gemmTN', {
            out: slot + matrix.offset,
            outStride: matrix.rowStride,
            outPlane: 0,
            left: gradient.at(chunk, piece.image, piece.row + i),
            leftStride: gradient.pixelStride,
            leftPlane: 0,
            right: columnsOf(piece.image) + i * full.width * columnStride,
            rightStride: columnStride,
            rightPlane: 0,
            planes: 1,
            rows: full.stored,
            columns: columnStride,
            depth: block.size / products,
            accumulate: Number(!first.ofSlot || index > 0 || i > 0),
          });
        }
      });
    },
    // Patches overlap, so one worker scatters a whole image.
    inputBlocks: (count) => cutImages(count, full.height),
    inputGradient(code, chunk, { pieces }) {
      const { image } = pieces[0]!;
      scatter!.run(code, chunk, image, (map) => {
        for (const block of blocksOf(1, 1)) {
          const piece = block.pieces[0]!;
          const gradient = fullGradient!;
          const planes = gradient.contiguous ? 1 : piece.rows;
          code.call('gemmNN', {
            out: gradientColumns!.at,
            outStride: columnStride,
            outPlane: full.width * columnStride,
            left: gradient.at(chunk, image, piece.row),
            leftStride: gradient.pixelStride,
            leftPlane: gradient.rowStride,
            right: parameters.at + matrix.offset,
            rightStride: matrix.rowStride,
            rightPlane: 0,
            rightPanel: panelColumns,
            planes,
            rows: block.size / planes,
            columns: columnStride,
            depth: full.stored,
            accumulate: 0,
          });
          code.call('col2im', patches(map, chunk, image, piece, gradientColumns!.at));
        }
      });
    },
  };
}
