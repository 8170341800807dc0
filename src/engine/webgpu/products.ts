/** Convolutions and linear layers as an operation: which tiles and slices their products have. */
import type { ConvolutionNode, LinearNode } from '../graph.ts';
import { type MapShape, mapOf } from '../map-shape.ts';
import {
  type ConvolutionShape,
  forwardKernel,
  inputGradientKernel,
  joinForward,
  joinInputGradient,
  outputPlaces,
  productRows,
  rowValues,
  weightGradientKernel,
} from './convolution.ts';
import { type Bindable, cells, type Dispatch, folded, type Piece } from './dispatch.ts';
import { type Backward, isFused, type Passes, type Place, type Shared } from './operations.ts';
import type { Part } from './parameters.ts';
import { chooseTile, type TileChoice } from './tiles.ts';
import type { Kernel } from './wgsl.ts';

/** The most floats of partial sums, and of a gradient's slices. */
const mostFloats = 2 ** 24;

export function shapeOf(
  node: ConvolutionNode | LinearNode,
  input: MapShape,
  output: MapShape,
): ConvolutionShape {
  const { spec, relu } = node;
  const full = node.kind === 'convolution' ? mapOf(node.full) : output;
  // A linear layer sees its map as one place with many channels; so its input gradient has as few products as it needs.
  const map =
    spec.kind === 'conv2d'
      ? { height: input.height, width: input.width, channels: input.stored }
      : { height: 1, width: 1, channels: input.height * input.width * input.stored };
  return {
    ...{ ...map, bias: spec.bias, relu },
    ...{ outHeight: full.height, outWidth: full.width, outChannels: full.stored },
    pooled: node.kind === 'convolution' && isFused(node.pool),
    ...(spec.kind === 'conv2d'
      ? { kernel: spec.kernel, stride: spec.stride, padding: spec.padding }
      : { kernel: [1, 1], stride: [1, 1], padding: [0, 0] }),
  };
}

export function products(
  { memory, parameters, partial, slots }: Shared,
  node: ConvolutionNode | LinearNode,
  shape: ConvolutionShape,
  place: Place,
): Passes {
  const matrix = parameters.matrices.get(node.layers[0]!.parameters[0]!.name)!;
  const { parts } = matrix;
  const { pooled } = shape;
  const vectors = outputPlaces(shape) * (shape.outChannels / 4);
  const winners = pooled && place.keeps ? place.maps(vectors, `winners of ${node.layers[0]!.name}`) : [];
  const winnersOf = ({ index }: Piece): Bindable[] => winners.slice(index, index + 1);
  const most = Math.min(mostFloats, memory.mostBytes / 4);
  const rowsOfImage = productRows(shape);
  const values = rowValues(shape);
  const weightsOf = (part: Part): GPUBuffer => part.arrays.get('weights')!;

  /** A product of m rows, n columns and sums of k values; with slices, it gives partial sums, which `join` adds. */
  const product = (
    piece: Piece,
    [m, n, k]: readonly [number, number, number],
    cut: number,
    kernel: (choice: TileChoice) => Kernel,
    buffers: (isWhole: boolean) => readonly Bindable[],
    join: (slices: number) => Dispatch,
  ): Dispatch[] => {
    const choice = chooseTile(memory.tiles, m, n, k, cut);
    const { tile, slices } = choice;
    const groups = folded(Math.ceil(m / tile.bm) * Math.ceil(n / tile.bn), slices);
    if (slices > 1) partial.require(4 * slices * m * n);
    const own = { kernel: kernel(choice), buffers: buffers(slices === 1), piece };
    const dispatch = { ...own, groups, operations: 2 * m * n * k };
    return slices === 1 ? [dispatch] : [dispatch, join(slices)];
  };

  const forwardPart = (piece: Piece, part: Part): Dispatch[] => {
    const [from, to] = [place.input[piece.index]!, place.output[piece.index]!];
    const weights = weightsOf(part);
    return product(
      piece,
      [piece.count * rowsOfImage, part.rows, values],
      // A pooled product has no slices: its windows are pooled in registers.
      pooled ? 0 : most,
      (choice) => forwardKernel(shape, part, choice, place.keeps),
      (isWhole) => [from, weights, ...(isWhole ? [to, ...winnersOf(piece)] : [partial])],
      (slices) => {
        const kernel = joinForward(shape, part, slices);
        return cells(kernel, [partial, weights, to], piece, (rowsOfImage * part.rows) / 4);
      },
    );
  };

  const inputPart = (piece: Piece, part: Part, i: number, pass: Backward): Dispatch[] => {
    const places = shape.height * shape.width;
    const write = { adds: i > 0, masked: pass.masked };
    const to = pass.inputGradient![piece.index]!;
    const mask = pass.masked ? [place.input[piece.index]!] : [];
    const read = [pass.gradient[piece.index]!, weightsOf(part)];
    return product(
      piece,
      [piece.count * places, shape.channels, shape.kernel[0] * shape.kernel[1] * part.rows],
      most,
      (choice) => inputGradientKernel(shape, part, choice, write),
      (isWhole) => [...read, isWhole ? to : partial, ...winnersOf(piece), ...(isWhole ? mask : [])],
      (slices) => {
        const kernel = joinInputGradient(shape, part, slices, write);
        return cells(kernel, [partial, to, ...mask], piece, (places * shape.channels) / 4);
      },
    );
  };

  const weightPart = (pieces: readonly Piece[], part: Part, pass: Backward): readonly Dispatch[] => {
    const room = Math.max(part.floats, most) / pieces.length;
    let slices = 0;
    const made = pieces.map((piece): Dispatch => {
      const rows = piece.count * rowsOfImage;
      const choice = chooseTile(memory.tiles, part.rows, values + 4, rows, room);
      const { bm, bn } = choice.tile;
      const kernel = weightGradientKernel(shape, part, choice, slices);
      slices += choice.slices;
      const groups = Math.ceil(part.rows / bm) * Math.ceil((values + 4) / bn);
      return {
        ...{ kernel, piece, groups: folded(groups, choice.slices), operations: 2 * part.floats * rows },
        buffers: [pass.gradient[piece.index]!, place.input[piece.index]!, slots, ...winnersOf(piece)],
      };
    });
    slots.require(4 * slices * part.floats);
    return [...made, ...pass.finish(part, matrix, slices)];
  };

  return {
    matrix,
    endsInRelu: node.relu && !pooled,
    forward: (pieces) => parts.flatMap((part) => pieces.flatMap((piece) => forwardPart(piece, part))),
    backward: (pieces, pass) => [
      ...(pass.inputGradient
        ? parts.flatMap((part, i) => pieces.flatMap((piece) => inputPart(piece, part, i, pass)))
        : []),
      ...(pass.learns ? parts.flatMap((part) => weightPart(pieces, part, pass)) : []),
    ],
  };
}
