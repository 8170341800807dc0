/**
 * The operations of a network as dispatches. Each has its maps and gives the dispatches of its passes for the pieces of a
 * batch; gradients are written already masked by the ReLU before, where the caller says so.
 */
import type { MaxPool2dSpec, Network } from '../../model/layer.ts';
import type { BatchNormNode, ConvolutionNode, GraphNode, LinearNode } from '../graph.ts';
import { type MapShape, mapOf } from '../map-shape.ts';
import {
  gradientSums,
  groupsAcross,
  joinMoments,
  joinSums,
  moments,
  normalize,
  normalizeGradient,
  normVectors,
  partialVectors,
  runningNorm,
  stretchesOf,
  updateRunning,
} from './batch-norm.ts';
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
import { all, type Bindable, cells, type Dispatch, folded, type Piece } from './dispatch.ts';
import type { Maps, Memory, Scratch } from './memory.ts';
import { channelsOf, type Matrix, type Parameters, type Part } from './parameters.ts';
import {
  copyGradient,
  dropoutKernel,
  localResponse,
  localResponseGradient,
  reluKernel,
} from './pointwise.ts';
import { chooseTile, type TileChoice } from './tiles.ts';
import type { Kernel } from './wgsl.ts';

/** What all operations of a session share. */
export interface Shared {
  readonly memory: Memory;
  readonly parameters: Parameters;
  /** `Run`, and the position in the data set of each image of the pass. */
  readonly run: GPUBuffer;
  readonly samples: Scratch;
  /** Slices of a gradient, partial sums of products, and those of normalizations. */
  readonly slots: Scratch;
  readonly partial: Scratch;
  readonly stretches: Scratch;
}

export interface Backward {
  readonly gradient: Maps;
  /** Absent where nothing before it learns. */
  readonly inputGradient: Maps | undefined;
  /** Whether its input is a ReLU's output whose gradient is masked here. */
  readonly masked: boolean;
  /** Whether its parameters learn. */
  readonly learns: boolean;
  /** What to do with a part's gradient, which is in `slots` in so many slices. */
  finish(part: Part, matrix: Matrix, slices: number): readonly Dispatch[];
}

export interface Operation {
  /** Of the layers that it computes. */
  readonly names: readonly string[];
  /** Index of the last layer that it computes. */
  readonly last: number;
  readonly matrix: Matrix | undefined;
  readonly input: Maps;
  readonly output: Maps;
  readonly inputShape: MapShape;
  readonly outputShape: MapShape;
  /** Whether it ends with a ReLU that the gradient of its output must still pass. */
  readonly endsInRelu: boolean;
  forward(pieces: readonly Piece[]): Dispatch[];
  backward(pieces: readonly Piece[], pass: Backward): Dispatch[];
  /** After a step's loss: what else it changes. */
  after?(): Dispatch[];
}

/** Maps that an operation reads and writes, and how. */
export interface Place {
  readonly input: Maps;
  readonly output: Maps;
  /** Whether gradients are computed; then it keeps what they need. */
  readonly keeps: boolean;
  /** Whether dropout draws, and normalizations use the batch. */
  readonly trains: boolean;
  /** A buffer for each piece of so many floats for each image. */
  maps(floats: number, label: string): Maps;
}

/** Whether a pool is part of the convolution before it. */
export const isFused = (pool: MaxPool2dSpec | undefined): boolean =>
  pool !== undefined &&
  [...pool.kernel, ...pool.stride].every((side) => side === 2) &&
  pool.padding.every((p) => p === 0);

/** A node whose pool is an operation of its own, if it is not fused. */
export interface Step {
  readonly node: GraphNode;
  readonly input: MapShape;
  readonly output: MapShape;
}

/** The operations of nodes, in order. */
export function stepsOf(nodes: readonly GraphNode[]): readonly Step[] {
  return nodes.flatMap((node): Step[] => {
    const [input, output] = [mapOf(node.input), mapOf(node.output)];
    if (node.kind !== 'convolution' || !node.pool || isFused(node.pool)) return [{ node, input, output }];
    const full = mapOf(node.full);
    const last = node.last - 1;
    const layers = node.layers.slice(0, -1);
    return [
      { node: { ...node, pool: undefined, output: node.full, last, layers }, input, output: full },
      {
        node: {
          kind: 'pool',
          spec: node.pool,
          last: node.last,
          layers: node.layers.slice(-1),
          input: node.full,
          output: node.output,
        },
        input: full,
        output,
      },
    ];
  });
}

/** The operation of a step. */
export function operationOf(shared: Shared, step: Step, place: Place): Operation {
  const { node } = step;
  return {
    names: node.layers.map(({ name }) => name),
    last: node.last,
    matrix: undefined,
    ...{ input: place.input, output: place.output, inputShape: step.input, outputShape: step.output },
    endsInRelu: node.kind === 'relu',
    ...passesOf(shared, step, place),
  };
}

type Passes = Pick<Operation, 'forward' | 'backward'> & Partial<Operation>;

function passesOf(shared: Shared, step: Step, place: Place): Passes {
  const { node, input, output } = step;
  const { run, samples } = shared;
  const floats = floatsOf(input);
  switch (node.kind) {
    case 'convolution':
    case 'linear':
      return convolution(shared, node, step, place);
    case 'batchNorm':
      return batchNorm(shared, node, step, place);
    case 'pool': {
      const { spec } = node;
      const winners = place.keeps ? [place.maps(floatsOf(output), `winners of ${node.layers[0]!.name}`)] : [];
      return simple(place, [floatsOf(output) / 4, floats / 4], {
        forward: [maxPool(spec, input, output, place.keeps), [place.input, place.output, ...winners]],
        backward: (masked, from, to) => [
          maxPoolGradient(spec, input, output, masked),
          [from, ...winners, to],
        ],
      });
    }
    case 'averagePool':
    case 'adaptivePool': {
      const { spec } = node;
      return simple(place, [floatsOf(output) / 4, floats / 4], {
        forward: [averagePool(spec, input, output), [place.input, place.output]],
        backward: (masked, from, to) => [averagePoolGradient(spec, input, output, masked), [from, to]],
      });
    }
    case 'relu':
      return simple(place, [floats / 4, floats / 4], {
        forward: [reluKernel(input), [place.input, place.output]],
        // The gradient has passed this ReLU already.
        backward: (masked, from, to) => [copyGradient(input, masked), [from, to]],
      });
    case 'dropout': {
      const { spec, layer } = node;
      const kernel = (masked: boolean, isBackward: boolean): Kernel =>
        dropoutKernel(input, spec.probability, layer, { masked, isBackward });
      return simple(place, [floats, floats], {
        forward: [kernel(false, false), [run, samples, place.input, place.output]],
        backward: (masked, from, to) => [kernel(masked, true), [run, samples, from, to]],
      });
    }
    case 'localResponseNorm': {
      const { spec } = node;
      const bases = place.keeps ? [place.maps(floats, `bases of ${node.layers[0]!.name}`)] : [];
      return simple(place, [floats, floats], {
        forward: [localResponse(input, spec, place.keeps), [place.input, place.output, ...bases]],
        backward: (masked, from, to) => [
          localResponseGradient(input, spec, masked),
          [from, ...bases, to, ...(masked ? [] : [place.input])],
        ],
      });
    }
    default:
      return node satisfies never;
  }
}

/** Dispatches of a kernel of so many cells for each image; of maps, each piece has its own. */
function eachPiece(
  kernel: Kernel,
  buffers: readonly (Bindable | Maps)[],
  pieces: readonly Piece[],
  perImage: number,
): Dispatch[] {
  const isMaps = (own: Bindable | Maps): own is Maps => Array.isArray(own);
  return pieces.map((piece) =>
    cells(
      kernel,
      buffers.map((own) => (isMaps(own) ? own[piece.index]! : own)),
      piece,
      perImage,
    ),
  );
}

type Bound = readonly [kernel: Kernel, buffers: readonly (Bindable | Maps)[]];

/** Passes of one kernel each, of so many cells. A masked gradient's kernel has the input as its last buffer. */
function simple(
  place: Place,
  [outputs, inputs]: readonly [number, number],
  {
    forward,
    backward,
  }: { forward: Bound; backward: (masked: boolean, gradient: Maps, inputGradient: Maps) => Bound },
): Passes {
  return {
    forward: (pieces) => eachPiece(...forward, pieces, outputs),
    backward(pieces, { gradient, inputGradient, masked }) {
      if (!inputGradient) return [];
      const [kernel, buffers] = backward(masked, gradient, inputGradient);
      return eachPiece(kernel, [...buffers, ...(masked ? [place.input] : [])], pieces, inputs);
    },
  };
}

/** The most floats of partial sums. */
const mostPartial = 2 ** 24;

function convolution(shared: Shared, node: ConvolutionNode | LinearNode, step: Step, place: Place): Passes {
  const { memory, parameters, partial, slots } = shared;
  const { input } = step;
  const matrix = parameters.matrices.get(node.layers[0]!.parameters[0]!.name)!;
  const pooled = node.kind === 'convolution' && isFused(node.pool);
  const full = node.kind === 'convolution' ? mapOf(node.full) : step.output;
  const { spec } = node;
  const shape: ConvolutionShape = {
    ...{
      height: input.height,
      width: input.width,
      channels: input.stored,
      bias: spec.bias,
      relu: node.relu,
      pooled,
    },
    ...{ outHeight: full.height, outWidth: full.width, outChannels: full.stored },
    ...(spec.kind === 'conv2d'
      ? { kernel: spec.kernel, stride: spec.stride, padding: spec.padding }
      : { kernel: [input.height, input.width], stride: [1, 1], padding: [0, 0] }),
  };
  const winners =
    pooled && place.keeps
      ? place.maps(outputPlaces(shape) * (full.stored / 4), `winners of ${node.layers[0]!.name}`)
      : [];
  const own = pooled
    ? (piece: Piece): Bindable[] => (place.keeps ? [winners[piece.index]!] : [])
    : (): Bindable[] => [];
  const mostFloats = Math.min(mostPartial, memory.mostBytes / 4);
  const tilesOf = (m: number, n: number, { tile, slices }: TileChoice): Dispatch['groups'] =>
    folded(Math.ceil(m / tile.bm) * Math.ceil(n / tile.bn), slices);

  const forwardPart = (piece: Piece, part: Part): Dispatch[] => {
    const [m, n, k] = [piece.count * productRows(shape), part.rows, rowValues(shape)];
    const operations = 2 * m * n * k;
    const weights = part.arrays.get('weights')!;
    // A pooled product is not cut: its windows are pooled in registers.
    const whole = chooseTile(memory.tiles, m, n, k, pooled ? 0 : mostFloats);
    const kernel = forwardKernel(shape, part, whole, place.keeps);
    const groups = tilesOf(m, n, whole);
    const [from, to] = [place.input[piece.index]!, place.output[piece.index]!];
    if (whole.slices === 1) {
      const buffers = [from, weights, to, ...own(piece)];
      return [{ kernel, buffers, piece, groups, operations }];
    }
    partial.require(4 * whole.slices * m * n);
    return [
      { kernel, buffers: [from, weights, partial], piece, groups, operations },
      cells(
        joinForward(shape, part, whole.slices),
        [partial, weights, to],
        piece,
        (productRows(shape) * n) / 4,
      ),
    ];
  };

  const inputPart = (
    piece: Piece,
    part: Part,
    i: number,
    { gradient, inputGradient, masked }: Backward,
  ): Dispatch[] => {
    const places = input.height * input.width;
    const [m, n, k] = [piece.count * places, input.stored, shape.kernel[0] * shape.kernel[1] * part.rows];
    const operations = 2 * m * n * k;
    const choice = chooseTile(memory.tiles, m, n, k, mostFloats);
    const write = { adds: i > 0, masked };
    const kernel = inputGradientKernel(shape, part, choice, write);
    const groups = tilesOf(m, n, choice);
    const to = inputGradient![piece.index]!;
    const mask = masked ? [place.input[piece.index]!] : [];
    const read = [gradient[piece.index]!, part.arrays.get('weights')!];
    if (choice.slices === 1) {
      const buffers = [...read, to, ...own(piece), ...mask];
      return [{ kernel, buffers, piece, groups, operations }];
    }
    partial.require(4 * choice.slices * m * n);
    return [
      { kernel, buffers: [...read, partial, ...own(piece)], piece, groups, operations },
      cells(
        joinInputGradient(shape, part, choice.slices, write),
        [partial, to, ...mask],
        piece,
        (places * n) / 4,
      ),
    ];
  };

  const weightPart = (
    pieces: readonly Piece[],
    part: Part,
    { gradient, finish }: Backward,
  ): readonly Dispatch[] => {
    const most = Math.max(part.floats, Math.min(mostPartial, memory.mostBytes / 4));
    const choices = pieces.map(({ count }) =>
      chooseTile(
        memory.tiles,
        part.rows,
        rowValues(shape) + 4,
        count * productRows(shape),
        most / pieces.length,
      ),
    );
    const slices = choices.reduce((sum, choice) => sum + choice.slices, 0);
    slots.require(4 * slices * part.floats);
    let firstSlice = 0;
    const made = pieces.map((piece, i): Dispatch => {
      const choice = choices[i]!;
      const kernel = weightGradientKernel(shape, part, choice, firstSlice);
      firstSlice += choice.slices;
      return {
        ...{ kernel, piece, groups: tilesOf(part.rows, rowValues(shape) + 4, choice) },
        buffers: [gradient[piece.index]!, place.input[piece.index]!, slots, ...own(piece)],
        operations: 2 * part.floats * piece.count * productRows(shape),
      };
    });
    return [...made, ...finish(part, matrix, slices)];
  };

  return {
    matrix,
    endsInRelu: node.relu && !pooled,
    forward: (pieces) => matrix.parts.flatMap((part) => pieces.flatMap((piece) => forwardPart(piece, part))),
    backward: (pieces, pass) => [
      ...(pass.inputGradient
        ? matrix.parts.flatMap((part, i) => pieces.flatMap((piece) => inputPart(piece, part, i, pass)))
        : []),
      ...(pass.learns ? matrix.parts.flatMap((part) => weightPart(pieces, part, pass)) : []),
    ],
  };
}

function batchNorm(shared: Shared, node: BatchNormNode, step: Step, place: Place): Passes {
  const { memory, parameters, run, stretches: scratch, slots } = shared;
  const { spec } = node;
  const layer = node.layers[0]!;
  const { stored } = channelsOf(node);
  // Behind a flatten each value of the map is a channel.
  const view: MapShape = node.flattened ? { height: 1, width: 1, channels: stored, stored } : step.input;
  const running = parameters.running.get(layer.buffers[0]!.name)!;
  const matrix = spec.affine ? parameters.matrices.get(layer.parameters[0]!.name)! : undefined;
  const isFrozen = parameters.isFrozen(layerIndex(node));
  const ofBatch = place.trains && !isFrozen;
  const norm = memory.buffer(4 * normVectors * stored, `norm of ${layer.name}`);
  const weights = (): Bindable[] => (matrix ? [matrix.parts[0]!.arrays.get('weights')!] : []);
  const [places, vectors] = [view.height * view.width, stored / 4];
  const cut = (pieces: readonly Piece[]) => {
    const counts = pieces.map(({ count }) => stretchesOf(count * places));
    const total = counts.reduce((sum, count) => sum + count, 0);
    scratch.require(16 * partialVectors * vectors * total);
    let first = 0;
    return {
      total,
      pieces: pieces.map((piece, i) => {
        const own = { piece, stretches: counts[i]!, first };
        first += counts[i]!;
        return own;
      }),
    };
  };
  const collect = (
    kernel: Dispatch['kernel'],
    buffers: readonly Bindable[],
    piece: Piece,
    rows: number,
  ): Dispatch => ({
    ...{ kernel, buffers, piece, groups: [groupsAcross(view), rows, 1] },
    operations: 4 * piece.count * places * stored,
  });
  return {
    matrix,
    endsInRelu: node.relu,
    forward(pieces) {
      const { total, pieces: own } = cut(pieces);
      const made = ofBatch
        ? [
            ...own.map(({ piece, stretches, first }) =>
              collect(
                moments(view, stretches, first),
                [place.input[piece.index]!, scratch],
                piece,
                stretches,
              ),
            ),
            cells(joinMoments(view, spec, total), [scratch, norm], all, vectors),
          ]
        : [cells(runningNorm(view, spec), [running.buffer, norm], all, vectors)];
      return [
        ...made,
        ...pieces.map((piece) =>
          cells(
            normalize(view, spec, node.relu),
            [place.input[piece.index]!, norm, place.output[piece.index]!, ...weights()],
            piece,
            places * vectors,
          ),
        ),
      ];
    },
    backward(pieces, { gradient, inputGradient, masked, learns, finish }) {
      const { total, pieces: own } = cut(pieces);
      const list: Dispatch[] = [];
      if (ofBatch || learns) {
        slots.require(32 * vectors);
        for (const { piece, stretches, first } of own) {
          const buffers = [gradient[piece.index]!, place.input[piece.index]!, norm, scratch];
          list.push(collect(gradientSums(view, stretches, first), buffers, piece, stretches));
        }
        list.push(cells(joinSums(view, total), [scratch, slots], all, vectors));
      }
      if (inputGradient) {
        // One kernel reads the input for both.
        const kernel = normalizeGradient(view, spec, { ofBatch, masked });
        for (const piece of pieces) {
          const input = place.input[piece.index]!;
          const buffers = [
            ...[gradient[piece.index]!, norm, inputGradient[piece.index]!],
            ...(ofBatch ? [run, slots, input] : masked ? [input] : []),
            ...weights(),
          ];
          list.push(cells(kernel, buffers, piece, places * vectors));
        }
      }
      if (learns && matrix) list.push(...finish(matrix.parts[0]!, matrix, 1));
      return list;
    },
    after: () =>
      ofBatch ? [cells(updateRunning(view, spec), [run, norm, running.buffer], all, vectors)] : [],
  };
}

/** Index of the first layer of a node. */
const layerIndex = ({ last, layers }: GraphNode): number => last - layers.length + 1;

/** The floats of a map of an image. */
export const floatsOf = ({ height, width, stored }: MapShape): number => height * width * stored;

/** The map of a network's images. */
export const imageMap = ({ input }: Network): MapShape => mapOf(input);
