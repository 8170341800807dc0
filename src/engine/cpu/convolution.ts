/**
 * A convolution with the ReLU and the max-pool behind it, lowered to kernel calls, forward and backward side by side.
 *
 * `winograd`: tiles of 4×4 outputs in blocks that fit the second-level cache, 36 matrix products between two
 * transforms; ReLU and a pool of 2 or 4 happen in the output transform. Its two gradients are the same scheme.
 * `im2col`: patches as rows of a matrix, with a column of ones for the bias, and one matrix product.
 * `sparse`: behind a pool, only the winners are visited.
 *
 * A gradient arrives with this operation's own ReLU already applied when there is no pool (whoever writes a gradient
 * applies the ReLU of the activation it belongs to, while that is at hand); behind a pool it is applied here.
 */
import { entryWords } from '../../kernels/sparse.ts';
import { planes, tileSize } from '../../kernels/winograd.ts';
import {
  type Chunk,
  type Code,
  type Frame,
  floorOf,
  MapBuffer,
  type Matrix,
  noFrame,
  type Region,
} from './code.ts';
import type { Lowered, LoweringContext } from './lowering.ts';
import { type Convolution, isPoolOfTiles, unevenStride } from './operations.ts';
import { poolBackward, poolWindows } from './pool.ts';

/** Floats that a block's transformed inputs and outputs may take: about half of a second-level cache. */
const blockFloats = 150_000;
/** Floats of an im2col block. */
const columnFloats = 32_768;

/** Tiles (winograd) or patches (im2col) that are worked on together: rows of images. */
interface Piece {
  readonly image: number;
  readonly row: number;
  readonly rows: number;
  /** Tiles or patches of the block before this piece. */
  readonly before: number;
}

interface Block {
  readonly pieces: readonly Piece[];
  readonly size: number;
}

/** Cuts `images` maps of rows × columns into blocks of at most `largest` (but at least a row). */
function cutBlocks(images: number, rows: number, columns: number, largest: number): Block[] {
  const blocks: { pieces: Piece[]; size: number }[] = [];
  for (let image = 0; image < images; image++) {
    for (let row = 0; row < rows; ) {
      let block = blocks.at(-1);
      let room = block ? Math.floor((largest - block.size) / columns) : 0;
      if (!block || room < 1) {
        block = { pieces: [], size: 0 };
        blocks.push(block);
        room = Math.max(1, Math.floor(largest / columns));
      }
      const taken = Math.min(room, rows - row);
      block.pieces.push({ image, row, rows: taken, before: block.size });
      block.size += taken * columns;
      row += taken;
    }
  }
  return blocks;
}

const tilesOf = (size: number): number => Math.ceil(size / tileSize);

/** Whether the output transform can pool: windows of 2 or 4 that tile the map. */
const poolsInTransform = (operation: Convolution): boolean =>
  operation.forward === 'winograd' &&
  isPoolOfTiles(operation.pool) &&
  (operation.pool.kernel[0] === 2 || operation.pool.kernel[0] === 4);

/** Tiles of the forward pass; a fused pool needs none that it would drop. */
function forwardTiles(operation: Convolution): { rows: number; columns: number } {
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

/** Matrices that are computed from the weights after each change of them. */
export interface ConvolutionWeights {
  readonly forward: Matrix;
  readonly backward: Matrix | undefined;
}

export function convolutionWeights(
  operation: Convolution,
  region: Region,
  needsInputGradient: boolean,
): ConvolutionWeights {
  const { matrix, input, full } = operation;
  const square = (rows: number, columns: number): Matrix => {
    const rowStride = unevenStride(columns);
    const planeStride = rows * rowStride + 16;
    return { place: region.allocate(planes * planeStride), rowStride, planeStride };
  };
  return {
    forward:
      operation.forward === 'winograd'
        ? square(input.stored, full.stored)
        : {
            place: region.allocate(matrix.rowStride * full.stored),
            rowStride: full.stored,
            planeStride: 0,
          },
    backward:
      operation.backward === 'winograd' && needsInputGradient ? square(full.stored, input.stored) : undefined,
  };
}

/** Computes the derived matrices of filters `from` … `to` from the parameters. */
export function deriveConvolution(
  code: Code,
  operation: Convolution,
  derived: ConvolutionWeights,
  parameters: number,
  from: number,
  to: number,
): void {
  const { matrix, input } = operation;
  const weights = parameters + matrix.offset + from * matrix.rowStride;
  if (operation.forward === 'im2col') {
    code.call('transpose', {
      out: derived.forward.place.at + from,
      outRow: derived.forward.rowStride,
      matrix: weights,
      matrixRow: matrix.rowStride,
      rows: to - from,
      columns: matrix.rowStride,
    });
  } else {
    code.call('winogradWeights', {
      out: derived.forward.place.at + from,
      planeStride: derived.forward.planeStride,
      rowStride: derived.forward.rowStride,
      weights,
      filterStride: matrix.rowStride,
      filters: to - from,
      channels: input.stored,
    });
  }
  if (derived.backward) {
    const { place, planeStride, rowStride } = derived.backward;
    code.call('winogradWeightsBackward', {
      out: place.at + from * rowStride,
      planeStride,
      rowStride,
      weights,
      filterStride: matrix.rowStride,
      filters: to - from,
      channels: input.stored,
    });
  }
}

export function lowerConvolution(
  operation: Convolution,
  derived: ConvolutionWeights,
  context: LoweringContext,
): Lowered {
  const { spec, input, full, relu, pool, matrix, output } = operation;
  const { scratch, images, training, x, y, dx, dy, inputFloor, parameters } = context;
  const [paddingY, paddingX] = spec.padding;
  const floor = floorOf(relu);
  const fused = poolsInTransform(operation);
  const winners = pool ? context.allocate(output, noFrame) : undefined;
  const fullMap = pool ? (fused ? undefined : context.allocate(full, noFrame)) : y;
  const dense = operation.backward !== 'sparse';
  const gradientFrame = convolutionGradientFrame(operation, dx !== undefined);
  /** The gradient comes from a layer that writes it without a frame. */
  const frames = !pool && !context.dyFramed && Object.values(gradientFrame).some((size) => size > 0);
  const fullGradient =
    training && dense && (pool || frames) ? new MapBuffer(scratch, full, gradientFrame, images, false) : dy;
  const tiles = forwardTiles(operation);
  const inputTiles = { rows: tilesOf(input.height), columns: tilesOf(input.width) };
  const blockTiles = Math.max(4, Math.floor(blockFloats / (planes * (input.stored + full.stored)) / 4) * 4);

  /** Working memory [36][tiles][channels], one of two. */
  const tilePlanes = (purpose: string, largest: number, channels: number): Matrix => {
    const rowStride = unevenStride(channels);
    const planeStride = largest * rowStride + 16;
    return { place: scratch.reserve(purpose, planes * planeStride), rowStride, planeStride };
  };
  const largestBlock = Math.max(blockTiles, tiles.columns, inputTiles.columns);
  const winograd = operation.forward === 'winograd' || operation.backward === 'winograd';
  const inputPlanes = winograd ? tilePlanes('planes 1', largestBlock, input.stored) : undefined;
  const outputPlanes = winograd ? tilePlanes('planes 2', largestBlock, full.stored) : undefined;
  const gradientPlanes = winograd ? tilePlanes('planes 1', largestBlock, full.stored) : undefined;
  const inputGradientPlanes = winograd ? tilePlanes('planes 2', largestBlock, input.stored) : undefined;

  const toPlanes = (
    code: Code,
    kernel: 'winogradInput' | 'winogradGradient',
    planesOf: Matrix,
    map: MapBuffer,
    chunk: Chunk,
    block: Block,
    columns: number,
    offsetY: number,
    offsetX: number,
  ): void => {
    for (const { image, row, rows, before } of block.pieces) {
      code.call(kernel, {
        out: planesOf.place.at + before * planesOf.rowStride,
        planeStride: planesOf.planeStride,
        tileStride: planesOf.rowStride,
        map: map.at(chunk, image, row * tileSize - offsetY, -offsetX),
        rowStride: map.rowStride,
        pixelStride: map.pixelStride,
        tileRows: rows,
        tileColumns: columns,
        channels: map.shape.stored,
      });
    }
  };

  const winogradForward = (code: Code, chunk: Chunk, block: Block): void => {
    const from = inputPlanes!;
    const to = outputPlanes!;
    toPlanes(code, 'winogradInput', from, x, chunk, block, tiles.columns, paddingY, paddingX);
    multiply(code, from, derived.forward, to, block.size, full.stored, input.stored);
    for (const { image, row, rows, before } of block.pieces) {
      const size = fused ? pool!.kernel[0] : 1;
      const target = fused ? y : fullMap!;
      const firstRow = (row * tileSize) / size;
      code.call(fused ? (size === 2 ? 'winogradOutputPool2' : 'winogradOutputPool4') : 'winogradOutput', {
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
        floor,
      });
    }
  };

  const winogradWeightGradient = (code: Code, chunk: Chunk, slot: number, first: boolean): void => {
    cutBlocks(chunk.count, tiles.rows, tiles.columns, blockTiles).forEach((block, index) => {
      const accumulate = Number(!first || index > 0);
      toPlanes(code, 'winogradInput', inputPlanes!, x, chunk, block, tiles.columns, paddingY, paddingX);
      toPlanes(code, 'winogradGradient', outputPlanes!, fullGradient!, chunk, block, tiles.columns, 0, 0);
      code.call('gemmTN', {
        out: weightPlanes!.place.at,
        outStride: weightPlanes!.rowStride,
        outPlane: weightPlanes!.planeStride,
        left: outputPlanes!.place.at,
        leftStride: outputPlanes!.rowStride,
        leftPlane: outputPlanes!.planeStride,
        right: inputPlanes!.place.at,
        rightStride: inputPlanes!.rowStride,
        rightPlane: inputPlanes!.planeStride,
        planes,
        rows: full.stored,
        columns: input.stored,
        depth: block.size,
        accumulate,
      });
    });
    for (let image = 0; spec.bias && image < chunk.count; image++) {
      code.call('sumPixels', {
        out: slot + matrix.bias,
        map: fullGradient!.at(chunk, image),
        mapRow: fullGradient!.rowStride,
        mapPixel: fullGradient!.pixelStride,
        rows: full.height,
        columns: full.width,
        channels: full.stored,
        accumulate: Number(!first || image > 0),
      });
    }
  };

  const winogradInputGradient = (code: Code, chunk: Chunk): void => {
    for (const block of cutBlocks(chunk.count, inputTiles.rows, inputTiles.columns, blockTiles)) {
      const from = gradientPlanes!;
      const to = inputGradientPlanes!;
      const { columns } = inputTiles;
      toPlanes(code, 'winogradInput', from, fullGradient!, chunk, block, columns, 2 - paddingY, 2 - paddingX);
      multiply(code, from, derived.backward!, to, block.size, input.stored, full.stored);
      for (const { image, row, rows, before } of block.pieces) {
        code.call('winogradOutputMasked', {
          planes: to.place.at + before * to.rowStride,
          planeStride: to.planeStride,
          tileStride: to.rowStride,
          map: dx!.at(chunk, image, row * tileSize),
          rowStride: dx!.rowStride,
          pixelStride: dx!.pixelStride,
          tileRows: rows,
          tileColumns: columns,
          channels: input.stored,
          height: input.height - row * tileSize,
          width: input.width,
          activation: x.at(chunk, image, row * tileSize),
          activationRow: x.rowStride,
          activationPixel: x.pixelStride,
          floor: inputFloor,
        });
      }
    }
  };

  // im2col
  const columnStride = matrix.rowStride;
  const run = spec.kernel[1] * input.stored;
  const largestRows = Math.max(1, Math.floor(columnFloats / (full.width * columnStride)));
  const usesColumns = operation.forward === 'im2col' || operation.backward === 'im2col';
  const columnPatches = full.width * Math.min(full.height, largestRows);
  /** Where forward and backward pass follow each other, whole images' patches are kept for the latter. */
  const keepsColumns =
    training && operation.backward === 'im2col' && !context.wholeBatch && largestRows >= full.height;
  const columnImages = keepsColumns ? images : 1;
  const columns = usesColumns ? scratch.allocate(columnImages * columnPatches * columnStride) : undefined;
  const columnsOf = (image: number): number =>
    columns!.at + (keepsColumns ? image * columnPatches * columnStride : 0);
  const columnGradients =
    operation.backward === 'im2col' && dx
      ? scratch.reserve('column gradients', columnPatches * columnStride)
      : undefined;
  const columnBlocks = (count: number, largest: number): Block[] =>
    Array.from({ length: count }, (_, image) =>
      Array.from({ length: Math.ceil(full.height / largest) }, (_, i): Block => {
        const rows = Math.min(largest, full.height - i * largest);
        return { pieces: [{ image, row: i * largest, rows, before: 0 }], size: rows * full.width };
      }),
    ).flat();

  const patches = (map: MapBuffer, chunk: Chunk, { image, row, rows }: Piece, place: number) => ({
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

  const im2colForward = (code: Code, chunk: Chunk, block: Block): void => {
    const piece = block.pieces[0]!;
    const target = fullMap!;
    code.call('im2col', patches(x, chunk, piece, columnsOf(piece.image)));
    const planeRows = target.contiguous ? 1 : piece.rows;
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
      planes: planeRows,
      rows: block.size / planeRows,
      columns: full.stored,
      depth: columnStride,
      accumulate: 0,
    });
  };

  const im2colWeightGradient = (code: Code, chunk: Chunk, slot: number, first: boolean): void => {
    columnBlocks(chunk.count, largestRows).forEach((block, index) => {
      const piece = block.pieces[0]!;
      if (!keepsColumns) code.call('im2col', patches(x, chunk, piece, columnsOf(piece.image)));
      const gradient = fullGradient!;
      const calls = gradient.contiguous ? 1 : piece.rows;
      for (let i = 0; i < calls; i++) {
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
          depth: block.size / calls,
          accumulate: Number(!first || index > 0 || i > 0),
        });
      }
    });
  };

  /** Gradients that are scattered may fall into the padding: then they go to a map with room for it first. */
  const padded = paddingY > 0 || paddingX > 0;
  const scattered =
    dx && operation.backward !== 'winograd' && padded
      ? new MapBuffer(scratch, input, convolutionInputFrame(operation), 1, false)
      : undefined;
  const one: Chunk = { first: 0, count: 1 };

  /** Scatters one image's input gradient, then applies the ReLU of the input. */
  const scatterInputGradient = (
    code: Code,
    chunk: Chunk,
    image: number,
    scatter: (map: MapBuffer, chunk: Chunk, image: number) => void,
  ): void => {
    const map = scattered ?? dx!;
    const [of, index] = scattered ? [one, 0] : [chunk, image];
    const frame = scattered ? convolutionInputFrame(operation) : noFrame;
    code.call('fill', {
      out: map.at(of, index, -frame.top, -frame.left),
      outRow: map.rowStride,
      rows: frame.top + input.height + frame.bottom,
      length: (frame.left + input.width + frame.right) * input.stored,
      value: 0,
    });
    scatter(map, of, index);
    if (scattered || inputFloor === 0) {
      code.call('reluBackward', {
        out: dx!.at(chunk, image),
        outRow: dx!.rowStride,
        gradient: map.at(of, index),
        gradientRow: map.rowStride,
        activation: x.at(chunk, image),
        activationRow: x.rowStride,
        rows: input.height,
        length: input.width * input.stored,
        floor: inputFloor,
      });
    }
  };

  const im2colInputGradient = (code: Code, chunk: Chunk): void => {
    for (let image = 0; image < chunk.count; image++) {
      scatterInputGradient(code, chunk, image, (map, of, index) => {
        for (const block of columnBlocks(1, largestRows)) {
          const piece = { ...block.pieces[0]!, image: index };
          const gradient = fullGradient!;
          const planeRows = gradient.contiguous ? 1 : piece.rows;
          code.call('gemmNN', {
            out: columnGradients!.at,
            outStride: columnStride,
            outPlane: full.width * columnStride,
            left: gradient.at(chunk, image, piece.row),
            leftStride: gradient.pixelStride,
            leftPlane: gradient.rowStride,
            right: parameters.at + matrix.offset,
            rightStride: matrix.rowStride,
            rightPlane: 0,
            planes: planeRows,
            rows: block.size / planeRows,
            columns: columnStride,
            depth: full.stored,
            accumulate: 0,
          });
          code.call('col2im', patches(map, of, piece, columnGradients!.at));
        }
      });
    }
  };

  // sparse
  const listStride = output.height * output.width * entryWords + entryWords;
  const lists = training && !dense ? scratch.reserve('lists', full.stored * listStride) : undefined;
  const counts = training && !dense ? scratch.reserve('counts', full.stored) : undefined;
  const table = training && !dense ? scratch.reserve('table', 2 * pool!.kernel[0] ** 2) : undefined;
  /** Takes the place of the bias gradient where there is no bias. */
  const unused = training && !dense && !spec.bias ? scratch.reserve('unused', full.stored) : undefined;

  const sparseBackward = (code: Code, chunk: Chunk, slot: number, first: boolean): void => {
    for (let image = 0; image < chunk.count; image++) {
      const accumulate = Number(!first || image > 0);
      const target = scattered ?? dx;
      code.call('sparseCollect', {
        lists: lists!.at,
        listStride,
        counts: counts!.at,
        table: table!.at,
        bias: unused ? unused.at : slot + matrix.bias,
        biasStep: unused ? 1 : matrix.biasStep,
        accumulate,
        pooled: y.at(chunk, image),
        pooledRow: y.rowStride,
        winners: winners!.at(chunk, image),
        gradient: dy!.at(chunk, image),
        gradientRow: dy!.rowStride,
        pixel: dy!.pixelStride,
        pooledHeight: output.height,
        pooledWidth: output.width,
        filters: full.stored,
        pool: pool!.kernel[0],
        stepRow: spec.stride[0] * x.rowStride,
        stepPixel: spec.stride[1] * x.pixelStride,
        gradientStepRow: spec.stride[0] * (target?.rowStride ?? 0),
        gradientStepPixel: spec.stride[1] * (target?.pixelStride ?? 0),
        floor,
      });
      const walk = {
        lists: lists!.at,
        listStride,
        counts: counts!.at,
        filterStride: matrix.rowStride,
        filters: full.stored,
        kernelRows: spec.kernel[0],
        run,
      };
      code.call('sparseWeightGradient', {
        ...walk,
        weights: slot + matrix.offset,
        map: x.at(chunk, image, -paddingY, -paddingX),
        mapRow: x.rowStride,
        accumulate,
      });
      if (dx) {
        scatterInputGradient(code, chunk, image, (map, of, index) =>
          code.call('sparseInputGradient', {
            ...walk,
            weights: parameters.at + matrix.offset,
            map: map.at(of, index, -paddingY, -paddingX),
            mapRow: map.rowStride,
          }),
        );
      }
    }
  };

  const pooledWindows = (chunk: Chunk, image: number, map: MapBuffer) => ({
    pooled: y.at(chunk, image),
    pooledRow: y.rowStride,
    pooledPixel: y.pixelStride,
    ...poolWindows(pool!, map, output, winners!, chunk, image),
  });

  const weightPlanes =
    training && operation.backward === 'winograd'
      ? (() => {
          const rowStride = unevenStride(input.stored);
          const planeStride = full.stored * rowStride + 16;
          return { place: scratch.allocate(planes * planeStride), rowStride, planeStride };
        })()
      : undefined;

  const blocksOf = (count: number, parts: number): Block[] =>
    operation.forward === 'winograd'
      ? cutBlocks(
          count,
          tiles.rows,
          tiles.columns,
          Math.min(blockTiles, Math.ceil(tiles.rows / parts) * tiles.columns),
        )
      : columnBlocks(count, Math.min(largestRows, Math.ceil(full.height / parts)));

  const forwardBlock = (code: Code, chunk: Chunk, block: Block): void => {
    if (operation.forward === 'winograd') winogradForward(code, chunk, block);
    else im2colForward(code, chunk, block);
  };
  const poolForward = (code: Code, chunk: Chunk): void => {
    if (!pool || fused) return;
    for (let image = 0; image < chunk.count; image++) {
      code.call('maxPool', pooledWindows(chunk, image, fullMap!));
    }
  };

  return {
    setup(code) {
      if (columns && spec.bias) {
        code.host({
          host: 'setOnes',
          place: (columns.at + spec.kernel[0] * run) * 4,
          stride: columnStride,
          count: columnImages * columnPatches,
        });
      }
    },
    forward(code, chunk) {
      for (const block of blocksOf(chunk.count, 1)) forwardBlock(code, chunk, block);
      poolForward(code, chunk);
    },
    forwardStages(chunk, parts) {
      const stages = [
        blocksOf(chunk.count, parts).map((block) => (code: Code) => forwardBlock(code, chunk, block)),
      ];
      if (pool && !fused) {
        stages.push(
          Array.from({ length: chunk.count }, (_, i) => (code: Code) => {
            code.call('maxPool', pooledWindows(chunk, i, fullMap!));
          }),
        );
      }
      return stages;
    },
    backward(code, chunk, slot, first) {
      if (!dense) {
        sparseBackward(code, chunk, slot, first);
        return;
      }
      if (pool) {
        for (let image = 0; image < chunk.count; image++) {
          poolBackward(code, pool, full, {
            ...pooledWindows(chunk, image, fullGradient!),
            gradient: dy!.at(chunk, image),
            gradientRow: dy!.rowStride,
            gradientPixel: dy!.pixelStride,
            floor,
          });
        }
      }
      for (let image = 0; frames && image < chunk.count; image++) {
        code.call('relu', {
          out: fullGradient!.at(chunk, image),
          outRow: fullGradient!.rowStride,
          map: dy!.at(chunk, image),
          mapRow: dy!.rowStride,
          rows: full.height,
          length: full.width * full.stored,
          floor: Number.NEGATIVE_INFINITY,
        });
      }
      if (operation.backward === 'winograd') {
        winogradWeightGradient(code, chunk, slot, first);
        if (dx) winogradInputGradient(code, chunk);
      } else {
        im2colWeightGradient(code, chunk, slot, first);
        if (dx) im2colInputGradient(code, chunk);
      }
    },
    finish(code, slot) {
      if (!weightPlanes) return;
      code.call('winogradWeightGradient', {
        out: weightPlanes.place.at,
        planeStride: weightPlanes.planeStride,
        rowStride: weightPlanes.rowStride,
        weights: slot + matrix.offset,
        filterStride: matrix.rowStride,
        filters: full.stored,
        channels: input.stored,
      });
    },
  };
}

/** The 36 products [tiles][depth] · [depth][columns]. */
function multiply(
  code: Code,
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
