/**
 * A 3×3 convolution of stride 1 by Winograd's transforms (`kernels/winograd-schemes.ts`): tiles of 4×4 or 2×2 outputs, in
 * blocks; 36 or 16 matrix products between two transforms. The output transform includes ReLU and a pool of 2 or 4. Both
 * gradients use the same scheme.
 */
import { type Tiles, tilesOf } from '../../../../kernels/winograd-schemes.ts';
import { unevenStride } from '../../../map-shape.ts';
import { type Code, reluThreshold } from '../../plan/code.ts';
import type { Chunk, MapBuffer, Matrix } from '../../plan/maps.ts';
import type { Place } from '../../plan/memory.ts';
import { cut } from '../../plan/timeline.ts';
import { type Block, cutBlocks, type Piece } from '../blocks.ts';
import type { ParallelTasks } from '../lowering.ts';
import type { ConvolutionAlgorithm, ConvolutionMaps, First } from './convolution.ts';
import type { PanelMatrix } from './derived.ts';
import { forwardTiles, poolsInTransform } from './geometry.ts';
import { weightsStay, winogradBlock } from './winograd-blocks.ts';

/** The most tiles whose planes are divided between tasks. */
const tilesTogether = 128;

/** Planes of such a task. */
const planesOfTask = 2;

/** The patches that a transform reads: of a map, from its first tile's row and column on. */
interface Patches {
  readonly map: MapBuffer;
  readonly columns: number;
  readonly top: number;
  readonly left: number;
}

/** Matrices [planes][tiles][channels] before and after a product. */
interface Product {
  readonly from: Matrix;
  readonly to: Matrix;
}

export class Winograd implements ConvolutionAlgorithm {
  readonly #maps: ConvolutionMaps;
  readonly #tiles: Tiles;
  readonly #inputTiles: Tiles;
  readonly #forward: Product;
  /** In the same memory. */
  readonly #backward: Product;
  /** Memory of all workers; absent if a worker computes a block on its own. */
  readonly #together: Product | undefined;
  /** Sums of A dY Aᵀ ⊙ Bᵀ d B, [planes][filters][channels], until a chunk is finished. */
  readonly #weightPlanes: Matrix | undefined;
  readonly #prefetched: Place;

  constructor(maps: ConvolutionMaps) {
    const { operation, context } = maps;
    const { input, full, backward } = operation;
    const { layout, training, byTasks, images } = context;
    const { planes } = operation.scheme!;
    this.#maps = maps;
    this.#tiles = forwardTiles(operation);
    this.#inputTiles = tilesOf(operation.scheme!, input);
    const hasBackward = training && backward === 'winograd';
    const passes = hasBackward ? (['forward', 'backward'] as const) : (['forward'] as const);
    const [inputStride, outputStride] = [tileStride(input.stored), tileStride(full.stored)];
    const matrices = (tiles: number, allocate: (floats: number) => Place): [Product, Product] => {
      const planeStride = (rowStride: number): number => tiles * rowStride + 16;
      const floats = planes * planeStride(Math.max(inputStride, outputStride));
      const [first, second] = [allocate(floats), allocate(floats)];
      const matrix = (place: Place, rowStride: number): Matrix => {
        return { place, rowStride, planeStride: planeStride(rowStride) };
      };
      return [
        { from: matrix(first, inputStride), to: matrix(second, outputStride) },
        { from: matrix(first, outputStride), to: matrix(second, inputStride) },
      ];
    };
    if (byTasks && !weightsStay(operation, layout.operations.cacheFloats)) {
      const { rows, columns } = this.#tiles;
      const tiles = Math.min(images * rows * columns, Math.max(columns, tilesTogether));
      [this.#together] = matrices(tiles, context.together);
    }
    // By tasks, these are for blocks of the backward pass.
    const largest = Math.max(
      ...[this.#tiles, this.#inputTiles].flatMap((of) => [of.columns, this.#largestBlock(of, 1)]),
    );
    const usesBlocks = hasBackward || !this.#together;
    [this.#forward, this.#backward] = matrices(usesBlocks ? largest : 0, (floats) =>
      context.working(floats, ...passes),
    );
    if (hasBackward && !context.inference) {
      const rowStride = unevenStride(input.stored);
      const planeStride = full.stored * rowStride + 16;
      const place = context.working(planes * planeStride, 'backward');
      this.#weightPlanes = { place, rowStride, planeStride };
    }
    this.#prefetched = context.working(1, 'forward', 'backward');
  }

  #largestBlock(tiles: Tiles, parts: number): number {
    const { operation, context } = this.#maps;
    return winogradBlock(operation, context.layout.operations.cacheFloats, tiles, parts);
  }

  #blocks(images: number, tiles: Tiles, parts: number): Block[] {
    return cutBlocks(images, tiles.rows, tiles.columns, this.#largestBlock(tiles, parts));
  }

  forwardBlocks(images: number, parts: number): Block[] {
    return this.#blocks(images, this.#tiles, parts);
  }

  weightBlocks(images: number, parts: number): Block[] {
    return this.#blocks(images, this.#tiles, parts);
  }

  inputBlocks(images: number, parts: number): Block[] {
    return this.#blocks(images, this.#inputTiles, parts);
  }

  forward(code: Code, chunk: Chunk, { pieces, size }: Block): void {
    this.#toPlanes(code, 'Input', this.#forward.from, chunk, pieces, this.#inputPatches);
    this.#multiplyForward(code, this.#forward, size, 0, this.#planes);
    this.#toOutput(code, this.#forward.to, chunk, pieces);
  }

  /**
   * The forward pass of a few images whose weights do not stay in the cache: tasks for rows of tiles transform, tasks for
   * planes multiply, so that each plane's weights are read by one task.
   */
  forwardTasks(chunk: Chunk): ParallelTasks | undefined {
    if (!this.#together) return undefined;
    const { rows, columns } = this.#tiles;
    const { from, to } = this.#together;
    return cutBlocks(chunk.count, rows, columns, tilesTogether).flatMap(({ pieces, size }) => {
      const singles = pieces.flatMap((piece) => rowsOf(piece, columns));
      return [
        singles.map((piece) => (code: Code) => {
          this.#toPlanes(code, 'Input', from, chunk, [piece], this.#inputPatches);
        }),
        cut(0, this.#planes, planesOfTask).map(({ first, count }) => (code: Code) => {
          this.#multiplyForward(code, { from, to }, size, first, count);
        }),
        singles.map((piece) => (code: Code) => this.#toOutput(code, to, chunk, [piece])),
      ];
    });
  }

  get #planes(): number {
    return this.#maps.operation.scheme!.planes;
  }

  get #inputPatches(): Patches {
    const { operation, context } = this.#maps;
    const [top, left] = operation.spec.padding;
    return { map: context.x, columns: this.#tiles.columns, top, left };
  }

  #multiplyForward(code: Code, { from, to }: Product, rows: number, first: number, planes: number): void {
    const { operation, derived } = this.#maps;
    const { input, full } = operation;
    multiply(code, from, derived.forward, to, {
      ...{ first, planes, rows },
      ...{ columns: full.stored, depth: input.stored },
    });
  }

  /** Transforms tiles of a map; if it has left the cache, it is first fetched in the order of memory. */
  #toPlanes(
    code: Code,
    purpose: 'Input' | 'Gradient',
    to: Matrix,
    chunk: Chunk,
    pieces: readonly Piece[],
    { map, columns, top, left }: Patches,
  ): void {
    const { operation, context } = this.#maps;
    const { tile, patch } = operation.scheme!;
    // Values of a patch that reach beyond its tile.
    const overlap = purpose === 'Input' ? patch - tile : 0;
    for (const { image, row, rows, before } of pieces) {
      const first = map.at(chunk, image, row * tile - top, -left);
      if (map.floats > context.layout.operations.cacheFloats) {
        code.call('prefetchRows', {
          out: this.#prefetched.at,
          map: first,
          mapRow: map.rowStride,
          rows: rows * tile + overlap,
          length: (columns * tile + overlap) * map.pixelStride,
        });
      }
      code.call(`winograd${tile}${purpose}`, {
        out: to.place.at + before * to.rowStride,
        planeStride: to.planeStride,
        tileStride: to.rowStride,
        map: first,
        rowStride: map.rowStride,
        pixelStride: map.pixelStride,
        tileRows: rows,
        tileColumns: columns,
        channels: map.shape.stored,
      });
    }
  }

  /** Transforms products back to the map, with ReLU and pool. */
  #toOutput(code: Code, from: Matrix, chunk: Chunk, pieces: readonly Piece[]): void {
    const { operation, context, fullMap, winners } = this.#maps;
    const { pool, matrix, full, relu } = operation;
    const { tile } = operation.scheme!;
    const fused = poolsInTransform(operation);
    const size = fused ? pool!.kernel[0] : 1;
    const target = fused ? context.y : fullMap!;
    const pooled =
      tile === 4 && size === 4 ? 'winograd4OutputPool4' : (`winograd${tile}OutputPool2` as const);
    for (const { image, row, rows, before } of pieces) {
      const firstRow = (row * tile) / size;
      code.call(fused ? pooled : `winograd${tile}Output`, {
        planes: from.place.at + before * from.rowStride,
        planeStride: from.planeStride,
        tileStride: from.rowStride,
        map: target.at(chunk, image, firstRow),
        rowStride: target.rowStride,
        pixelStride: target.pixelStride,
        tileRows: rows,
        tileColumns: this.#tiles.columns,
        channels: full.stored,
        height: target.shape.height - firstRow,
        width: target.shape.width,
        ...(fused && {
          winners: winners!.at(chunk, image, firstRow),
          winnerRow: winners!.rowStride,
          winnerPixel: winners!.pixelStride,
        }),
        bias: context.layout.parameters.at + matrix.bias,
        threshold: reluThreshold(relu),
      });
    }
  }

  weightGradient(code: Code, chunk: Chunk, blocks: readonly Block[], slot: number, first: First): void {
    const { operation, fullGradient } = this.#maps;
    const { full, input } = operation;
    const [inputs, gradients] = [this.#forward.from, this.#forward.to];
    const out = this.#weightPlanes!;
    const gradientPatches = { map: fullGradient!, columns: this.#tiles.columns, top: 0, left: 0 };
    blocks.forEach(({ pieces, size }, index) => {
      this.#toPlanes(code, 'Input', inputs, chunk, pieces, this.#inputPatches);
      this.#toPlanes(code, 'Gradient', gradients, chunk, pieces, gradientPatches);
      code.call('gemmTN', {
        ...operand('out', out),
        ...operand('left', gradients),
        ...operand('right', inputs),
        planes: this.#planes,
        rows: full.stored,
        columns: input.stored,
        depth: size,
        accumulate: Number(!first.ofChunk || index > 0),
      });
      pieces.forEach((piece, i) => {
        this.#biasGradient(code, chunk, piece, slot, !first.ofSlot || index > 0 || i > 0);
      });
    });
  }

  #biasGradient(
    code: Code,
    chunk: Chunk,
    { image, row, rows }: Piece,
    slot: number,
    accumulate: boolean,
  ): void {
    const { operation, fullGradient } = this.#maps;
    const { spec, full, matrix } = operation;
    if (!spec.bias) return;
    const { tile } = operation.scheme!;
    const { rowStride, pixelStride } = fullGradient!;
    code.call('sumPixels', {
      out: slot + matrix.bias,
      map: fullGradient!.at(chunk, image, row * tile),
      mapRow: rowStride,
      mapPixel: pixelStride,
      rows: Math.min(rows * tile, full.height - row * tile),
      columns: full.width,
      channels: full.stored,
      accumulate: Number(accumulate),
    });
  }

  finishChunk(code: Code, slot: number, first: boolean): void {
    const { input, full, matrix, scheme } = this.#maps.operation;
    const { place, planeStride, rowStride } = this.#weightPlanes!;
    code.call(`winograd${scheme!.tile}WeightGradient`, {
      out: place.at,
      planeStride,
      rowStride,
      weights: slot + matrix.offset,
      filterStride: matrix.rowStride,
      filters: full.stored,
      channels: input.stored,
      accumulate: Number(!first),
    });
  }

  inputGradient(code: Code, chunk: Chunk, { pieces, size }: Block): void {
    const { operation, context, derived, fullGradient } = this.#maps;
    const { input, full, spec } = operation;
    const { x, masksInput } = context;
    const dx = context.dx!;
    const { tile } = operation.scheme!;
    const { from, to } = this.#backward;
    const { columns } = this.#inputTiles;
    const [top, left] = [2 - spec.padding[0], 2 - spec.padding[1]];
    this.#toPlanes(code, 'Input', from, chunk, pieces, { map: fullGradient!, columns, top, left });
    multiply(code, from, derived.backward!, to, {
      ...{ first: 0, planes: this.#planes, rows: size },
      ...{ columns: input.stored, depth: full.stored },
    });
    for (const { image, row, rows, before } of pieces) {
      code.call(`winograd${tile}OutputMasked`, {
        planes: to.place.at + before * to.rowStride,
        planeStride: to.planeStride,
        tileStride: to.rowStride,
        map: dx.at(chunk, image, row * tile),
        rowStride: dx.rowStride,
        pixelStride: dx.pixelStride,
        tileRows: rows,
        tileColumns: columns,
        channels: input.stored,
        height: input.height - row * tile,
        width: input.width,
        activation: x.at(chunk, image, row * tile),
        activationRow: x.rowStride,
        activationPixel: x.pixelStride,
        threshold: reluThreshold(masksInput),
      });
    }
  }
}

/** The single rows of a piece. */
const rowsOf = ({ image, row, rows, before }: Piece, columns: number): Piece[] =>
  Array.from({ length: rows }, (_, i) => ({ image, row: row + i, rows: 1, before: before + i * columns }));

/**
 * Floats from tile to tile. A product reads the rows of a register tile together: of many channels, a power of two, they
 * conflict in the first-level cache; of fewer, they do not, and a gap would only waste the second-level cache.
 */
const tileStride = (channels: number): number => (channels % 256 === 0 ? channels + 16 : channels);

/** Arguments of a product for the matrix `name`, from plane `first` on. */
const operand = <Name extends 'out' | 'left' | 'right'>(
  name: Name,
  { place, rowStride, planeStride }: Matrix,
  first = 0,
): { readonly [K in Name | `${Name}Stride` | `${Name}Plane`]: number } =>
  ({
    [name]: place.at + first * planeStride,
    [`${name}Stride`]: rowStride,
    [`${name}Plane`]: planeStride,
  }) as { readonly [K in Name | `${Name}Stride` | `${Name}Plane`]: number };

/** The products [tiles][depth] · [depth][columns] of `planes` planes from `first` on. */
function multiply(
  code: Code,
  left: Matrix,
  right: PanelMatrix,
  out: Matrix,
  { first, ...size }: Readonly<Record<'first' | 'planes' | 'rows' | 'columns' | 'depth', number>>,
): void {
  code.call('gemmNN', {
    ...operand('out', out, first),
    ...operand('left', left, first),
    ...operand('right', right, first),
    rightPanel: right.panelStride,
    panelColumns: right.panelColumns,
    ...size,
    accumulate: 0,
  });
}
