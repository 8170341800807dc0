/**
 * Direct convolution of an image, whose few channels are stored without padding, without copying patches. Another
 * algorithm computes the gradient of its input, if that is needed at all.
 */

import { type Code, reluThreshold } from '../../plan/code.ts';
import type { Chunk } from '../../plan/maps.ts';
import type { Place } from '../../plan/memory.ts';
import { type Block, cutRows, type Piece } from '../blocks.ts';
import type { ConvolutionAlgorithm, ConvolutionMaps, First } from './convolution.ts';

export class Direct implements ConvolutionAlgorithm {
  readonly #maps: ConvolutionMaps;
  readonly #taps: number;
  /** Gradients of a slot's weights and biases, [taps + 1][filters]; further rows are zeros. */
  readonly #sums: Place | undefined;

  constructor(maps: ConvolutionMaps) {
    const { operation, context } = maps;
    const { spec, input, full, matrix } = operation;
    this.#maps = maps;
    this.#taps = spec.kernel[0] * spec.kernel[1] * input.stored;
    this.#sums =
      context.training && !context.inference
        ? context.accumulator(matrix.rowStride * full.stored)
        : undefined;
  }

  forwardBlocks(images: number, parts: number): Block[] {
    const { full } = this.#maps.operation;
    return cutRows(images, full.height, full.width, Math.ceil(full.height / parts));
  }

  weightBlocks(images: number, parts: number): Block[] {
    return this.forwardBlocks(images, parts);
  }

  inputBlocks(): Block[] {
    return [];
  }

  /** Arguments for the patches of some rows of the output. */
  #patches(chunk: Chunk, { image, row, rows }: Piece): Record<string, number> {
    const { operation, context } = this.#maps;
    const { spec, input, full } = operation;
    const { x } = context;
    const [paddingY, paddingX] = spec.padding;
    return {
      map: x.at(chunk, image, row * spec.stride[0] - paddingY, -paddingX),
      mapRow: x.rowStride,
      stepRow: spec.stride[0] * x.rowStride,
      stepPixel: spec.stride[1] * x.pixelStride,
      rows,
      columns: full.width,
      kernelRows: spec.kernel[0],
      run: spec.kernel[1] * input.stored,
      filters: full.stored,
    };
  }

  forward(code: Code, chunk: Chunk, { pieces }: Block): void {
    const { operation, derived, fullMap } = this.#maps;
    const { place, rowStride } = derived.forward;
    for (const piece of pieces) {
      code.call('directForward', {
        ...this.#patches(chunk, piece),
        out: fullMap!.at(chunk, piece.image, piece.row),
        outRow: fullMap!.rowStride,
        outPixel: fullMap!.pixelStride,
        weights: place.at,
        weightRow: rowStride,
        bias: place.at + this.#taps * rowStride,
        threshold: reluThreshold(operation.relu),
      });
    }
  }

  weightGradient(code: Code, chunk: Chunk, blocks: readonly Block[], _slot: number, first: First): void {
    const { operation, fullGradient } = this.#maps;
    const { spec, full } = operation;
    const filters = full.stored;
    const { rowStride, pixelStride } = fullGradient!;
    const pieces = blocks.flatMap((block) => block.pieces);
    pieces.forEach((piece, index) => {
      const accumulate = Number(!first.ofSlot || index > 0);
      const gradient = fullGradient!.at(chunk, piece.image, piece.row);
      code.call('directWeightGradient', {
        ...this.#patches(chunk, piece),
        out: this.#sums!.at,
        outRow: filters,
        gradient,
        gradientRow: rowStride,
        gradientPixel: pixelStride,
        accumulate,
      });
      if (!spec.bias) return;
      code.call('sumPixels', {
        out: this.#sums!.at + this.#taps * filters,
        map: gradient,
        mapRow: rowStride,
        mapPixel: pixelStride,
        rows: piece.rows,
        columns: full.width,
        channels: filters,
        accumulate,
      });
    });
  }

  finish(code: Code, slot: number): void {
    const { spec, full, matrix } = this.#maps.operation;
    const filters = full.stored;
    const written = this.#taps + Number(spec.bias);
    code.call('fill', {
      out: this.#sums!.at + written * filters,
      outRow: filters,
      rows: matrix.rowStride - written,
      length: filters,
      value: 0,
    });
    code.call('transpose', {
      out: slot + matrix.offset,
      outRow: matrix.rowStride,
      matrix: this.#sums!.at,
      matrixRow: filters,
      rows: matrix.rowStride,
      columns: filters,
    });
  }

  inputGradient(): never {
    throw new TypeError('the gradient of an image is not computed');
  }
}
