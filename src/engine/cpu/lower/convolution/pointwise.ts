/**
 * A 1×1 convolution of stride 1 without padding: a matrix product of the map, whose rows are its pixels, and the weights.
 * Nothing is copied. Gradients are products of the same matrices.
 */
import { wholeRows } from '../../../../kernels/gemm.ts';
import { type Code, reluThreshold } from '../../plan/code.ts';
import type { Chunk, MapBuffer } from '../../plan/maps.ts';
import type { Convolution } from '../../plan/operations.ts';
import { type Block, cutRows, type Piece } from '../blocks.ts';
import { maskRows } from '../lowering.ts';
import type { ConvolutionAlgorithm, ConvolutionMaps, First } from './convolution.ts';

/** Floats of a block's input: with its output and a panel of weights, it stays in the second-level cache. */
const blockFloats = 32_768;

/** Rows of pixels of a block. */
export const pointwiseRows = ({ full, input }: Convolution): number =>
  Math.min(full.height, Math.max(1, Math.floor(blockFloats / (full.width * input.stored))));

/** Rows of pixels of a block, as planes of a product if a map has a halo. */
interface Pixels {
  readonly at: number;
  readonly stride: number;
  readonly plane: number;
}

export class Pointwise implements ConvolutionAlgorithm {
  readonly #maps: ConvolutionMaps;

  constructor(maps: ConvolutionMaps) {
    this.#maps = maps;
  }

  forwardBlocks(images: number, parts: number): Block[] {
    const { operation } = this.#maps;
    const { height, width } = operation.full;
    return cutRows(images, height, width, Math.min(pointwiseRows(operation), Math.ceil(height / parts)));
  }

  weightBlocks(images: number, parts: number): Block[] {
    return this.forwardBlocks(images, parts);
  }

  inputBlocks(images: number, parts: number): Block[] {
    return this.forwardBlocks(images, parts);
  }

  #pixels(map: MapBuffer, chunk: Chunk, { image, row }: Piece): Pixels {
    return { at: map.at(chunk, image, row), stride: map.pixelStride, plane: map.rowStride };
  }

  /** How a block's pixels are cut into planes: one, or its rows if a map has a halo. */
  #planes({ rows }: Piece, ...maps: readonly MapBuffer[]): { planes: number; pixels: number } {
    const { width } = this.#maps.operation.full;
    return maps.every(({ contiguous }) => contiguous)
      ? { planes: 1, pixels: rows * width }
      : { planes: rows, pixels: width };
  }

  forward(code: Code, chunk: Chunk, { pieces }: Block): void {
    const { operation, derived, context, fullMap } = this.#maps;
    const { spec, full, input, relu, matrix } = operation;
    const piece = pieces[0]!;
    const from = this.#pixels(context.x, chunk, piece);
    const to = this.#pixels(fullMap!, chunk, piece);
    const { planes, pixels } = this.#planes(piece, context.x, fullMap!);
    code.call(relu && !spec.bias ? 'gemmNNRelu' : 'gemmNN', {
      out: to.at,
      outStride: to.stride,
      outPlane: to.plane,
      left: from.at,
      leftStride: from.stride,
      leftPlane: from.plane,
      right: derived.forward.place.at,
      rightStride: derived.forward.rowStride,
      rightPlane: 0,
      rightPanel: derived.forward.panelStride,
      panelColumns: derived.forward.panelColumns,
      planes,
      rows: pixels,
      columns: full.stored,
      depth: input.stored,
      accumulate: 0,
    });
    if (!spec.bias) return;
    for (let plane = 0; plane < planes; plane++) {
      code.call('addBias', {
        out: to.at + plane * to.plane,
        outRow: to.stride,
        rows: pixels,
        columns: full.stored,
        bias: context.layout.parameters.at + matrix.bias,
        threshold: reluThreshold(relu),
      });
    }
  }

  weightGradient(code: Code, chunk: Chunk, blocks: readonly Block[], slot: number, first: First): void {
    const { operation, context, fullGradient } = this.#maps;
    const { spec, full, input, matrix } = operation;
    blocks.forEach(({ pieces }, index) => {
      const piece = pieces[0]!;
      const gradient = this.#pixels(fullGradient!, chunk, piece);
      const values = this.#pixels(context.x, chunk, piece);
      const { planes, pixels } = this.#planes(piece, context.x, fullGradient!);
      for (let plane = 0; plane < planes; plane++) {
        code.call('gemmTN', {
          out: slot + matrix.offset,
          outStride: matrix.rowStride,
          outPlane: 0,
          left: gradient.at + plane * gradient.plane,
          leftStride: gradient.stride,
          leftPlane: 0,
          right: values.at + plane * values.plane,
          rightStride: values.stride,
          rightPlane: 0,
          planes: 1,
          rows: full.stored,
          columns: input.stored,
          depth: pixels,
          accumulate: Number(!first.ofSlot || index > 0 || plane > 0),
        });
      }
      if (!spec.bias) return;
      code.call('sumPixels', {
        out: slot + matrix.bias,
        map: gradient.at,
        mapRow: gradient.plane,
        mapPixel: gradient.stride,
        rows: piece.rows,
        columns: full.width,
        channels: full.stored,
        accumulate: Number(!first.ofSlot || index > 0),
      });
    });
  }

  inputGradient(code: Code, chunk: Chunk, { pieces }: Block): void {
    const { operation, context, fullGradient } = this.#maps;
    const { full, input, matrix } = operation;
    const { x, dx, masksInput, layout } = context;
    const piece = pieces[0]!;
    const from = this.#pixels(fullGradient!, chunk, piece);
    const to = this.#pixels(dx!, chunk, piece);
    const { planes, pixels } = this.#planes(piece, fullGradient!, dx!);
    code.call('gemmNN', {
      out: to.at,
      outStride: to.stride,
      outPlane: to.plane,
      left: from.at,
      leftStride: from.stride,
      leftPlane: from.plane,
      right: layout.parameters.at + matrix.offset,
      rightStride: matrix.rowStride,
      rightPlane: 0,
      ...wholeRows(input.stored),
      planes,
      rows: pixels,
      columns: input.stored,
      depth: full.stored,
      accumulate: 0,
    });
    if (masksInput) maskRows(code, dx!, x, chunk, piece);
  }
}
