/**
 * A convolution as one matrix product: the patches of the input as rows of a matrix, with a column of ones for the
 * bias. Supports any kernel, stride and padding. If the backward pass of a chunk directly follows its forward pass, the
 * patches are kept for it.
 */

import { wholeRows } from '../../../../kernels/gemm.ts';
import type { Code } from '../../plan/code.ts';
import type { Chunk, MapBuffer } from '../../plan/maps.ts';
import type { Place } from '../../plan/memory.ts';
import type { Convolution } from '../../plan/operations.ts';
import { type Block, cutImages, cutRows, type Piece } from '../blocks.ts';
import type { ConvolutionAlgorithm, ConvolutionMaps, First } from './convolution.ts';
import { type InputScatter, inputScatter } from './scatter.ts';

/** Floats of a block of patches. */
const columnFloats = 32_768;

/** Rows of output pixels whose patches make a block. */
export const columnRows = ({ full, matrix }: Convolution): number =>
  Math.min(full.height, Math.max(1, Math.floor(columnFloats / (full.width * matrix.rowStride))));

export class Im2col implements ConvolutionAlgorithm {
  readonly #maps: ConvolutionMaps;
  readonly #largestRows: number;
  /** Whether the patches of all images are kept for the backward pass. */
  readonly #keeps: boolean;
  readonly #columns: Place;
  readonly #gradientColumns: Place | undefined;
  readonly #scatter: InputScatter | undefined;

  constructor(maps: ConvolutionMaps) {
    const { operation, context } = maps;
    const { full, backward } = operation;
    const { images, training, inference, adjacent, dx } = context;
    const hasBackward = training && backward === 'im2col';
    this.#maps = maps;
    this.#largestRows = columnRows(operation);
    this.#keeps = hasBackward && !inference && adjacent && this.#largestRows === full.height;
    // Copies of whole vectors may write past the end.
    this.#columns = this.#keeps
      ? context.kept(images * this.#patchFloats + 16)
      : context.working(this.#patchFloats + 16, 'forward', 'backward');
    if (!hasBackward || !dx) return;
    this.#gradientColumns = context.working(this.#patchFloats, 'backward');
    this.#scatter = inputScatter(operation, context);
  }

  /** Floats of the patches of a block. */
  get #patchFloats(): number {
    const { full, matrix } = this.#maps.operation;
    return full.width * this.#largestRows * matrix.rowStride;
  }

  #columnsOf(image: number): number {
    return this.#columns.at + (this.#keeps ? image * this.#patchFloats : 0);
  }

  forwardBlocks(images: number, parts: number): Block[] {
    const { full } = this.#maps.operation;
    return cutRows(
      images,
      full.height,
      full.width,
      Math.min(this.#largestRows, Math.ceil(full.height / parts)),
    );
  }

  weightBlocks(images: number, parts: number): Block[] {
    return this.forwardBlocks(images, parts);
  }

  /** Patches overlap, so one worker scatters a whole image. */
  inputBlocks(images: number): Block[] {
    return cutImages(images, this.#maps.operation.full.height);
  }

  /** Arguments for the patches of a map at `columns`. */
  #patches(
    chunk: Chunk,
    { image, row, rows }: Piece,
    map: MapBuffer,
    columns: number,
  ): Record<string, number> {
    const { spec, input, full, matrix } = this.#maps.operation;
    const [paddingY, paddingX] = spec.padding;
    return {
      columns,
      columnStride: matrix.rowStride,
      map: map.at(chunk, image, row * spec.stride[0] - paddingY, -paddingX),
      mapRow: map.rowStride,
      stepRow: spec.stride[0] * map.rowStride,
      stepPixel: spec.stride[1] * map.pixelStride,
      outRows: rows,
      outColumns: full.width,
      kernelRows: spec.kernel[0],
      run: spec.kernel[1] * input.stored,
    };
  }

  /** Copies the patches of the input, with the column of ones. */
  #copyPatches(code: Code, chunk: Chunk, piece: Piece): void {
    const { operation, context } = this.#maps;
    const { spec, input, matrix } = operation;
    code.call('im2col', {
      ...this.#patches(chunk, piece, context.x, this.#columnsOf(piece.image)),
      one: Number(spec.bias),
      tail: matrix.rowStride - spec.kernel[0] * spec.kernel[1] * input.stored,
    });
  }

  forward(code: Code, chunk: Chunk, { pieces, size }: Block): void {
    const { operation, derived, fullMap } = this.#maps;
    const { full, relu, matrix } = operation;
    const piece = pieces[0]!;
    const target = fullMap!;
    this.#copyPatches(code, chunk, piece);
    // If the map has a halo, its rows are the planes of the product.
    const planes = target.contiguous ? 1 : piece.rows;
    code.call(relu ? 'gemmNNRelu' : 'gemmNN', {
      out: target.at(chunk, piece.image, piece.row),
      outStride: target.pixelStride,
      outPlane: target.rowStride,
      left: this.#columnsOf(piece.image),
      leftStride: matrix.rowStride,
      leftPlane: full.width * matrix.rowStride,
      right: derived.forward.place.at,
      rightStride: derived.forward.rowStride,
      rightPlane: 0,
      rightPanel: derived.forward.panelStride,
      panelColumns: derived.forward.panelColumns,
      planes,
      rows: size / planes,
      columns: full.stored,
      depth: matrix.rowStride,
      accumulate: 0,
    });
  }

  weightGradient(code: Code, chunk: Chunk, blocks: readonly Block[], slot: number, first: First): void {
    const { operation, fullGradient } = this.#maps;
    const { full, matrix } = operation;
    const gradient = fullGradient!;
    blocks.forEach(({ pieces, size }, index) => {
      const piece = pieces[0]!;
      if (!this.#keeps) this.#copyPatches(code, chunk, piece);
      const products = gradient.contiguous ? 1 : piece.rows;
      for (let i = 0; i < products; i++) {
        code.call('gemmTN', {
          out: slot + matrix.offset,
          outStride: matrix.rowStride,
          outPlane: 0,
          left: gradient.at(chunk, piece.image, piece.row + i),
          leftStride: gradient.pixelStride,
          leftPlane: 0,
          right: this.#columnsOf(piece.image) + i * full.width * matrix.rowStride,
          rightStride: matrix.rowStride,
          rightPlane: 0,
          planes: 1,
          rows: full.stored,
          columns: matrix.rowStride,
          depth: size / products,
          accumulate: Number(!first.ofSlot || index > 0 || i > 0),
        });
      }
    });
  }

  inputGradient(code: Code, chunk: Chunk, { pieces }: Block): void {
    const { operation, context, fullGradient } = this.#maps;
    const { full, matrix } = operation;
    const { image } = pieces[0]!;
    const gradient = fullGradient!;
    const columns = this.#gradientColumns!.at;
    this.#scatter!.run(code, chunk, image, (map) => {
      for (const block of this.forwardBlocks(1, 1)) {
        const piece = { ...block.pieces[0]!, image };
        const planes = gradient.contiguous ? 1 : piece.rows;
        code.call('gemmNN', {
          out: columns,
          outStride: matrix.rowStride,
          outPlane: full.width * matrix.rowStride,
          left: gradient.at(chunk, image, piece.row),
          leftStride: gradient.pixelStride,
          leftPlane: gradient.rowStride,
          right: context.layout.parameters.at + matrix.offset,
          rightStride: matrix.rowStride,
          rightPlane: 0,
          ...wholeRows(matrix.rowStride),
          planes,
          rows: block.size / planes,
          columns: matrix.rowStride,
          depth: full.stored,
          accumulate: 0,
        });
        code.call('col2im', this.#patches(chunk, piece, map, columns));
      }
    });
  }
}
