/**
 * The operations of a network as dispatches. Each has its maps and gives the dispatches of its passes for the pieces of a
 * batch; gradients are written already masked by the ReLU before, where the caller says so.
 */
import type { MaxPool2dSpec } from '../../model/layer.ts';
import type { GraphNode } from '../graph.ts';
import { type MapShape, mapOf } from '../map-shape.ts';
import { type Bindable, cells, type Dispatch, type Piece } from './dispatch.ts';
import type { Maps, Memory, Scratch } from './memory.ts';
import { batchNorm } from './normalization.ts';
import type { Matrix, Parameters, Part } from './parameters.ts';
import {
  copyGradient,
  dropoutKernel,
  localResponse,
  localResponseGradient,
  reluKernel,
} from './pointwise.ts';
import { averagePool, averagePoolGradient, maxPool, maxPoolGradient } from './pooling.ts';
import { products, shapeOf } from './products.ts';
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

export type Passes = Pick<Operation, 'forward' | 'backward'> & Partial<Operation>;

function passesOf(shared: Shared, step: Step, place: Place): Passes {
  const { node, input, output } = step;
  const { run, samples } = shared;
  const floats = floatsOf(input);
  switch (node.kind) {
    case 'convolution':
    case 'linear':
      return products(shared, node, shapeOf(node, input, output), place);
    case 'batchNorm':
      return batchNorm(shared, node, input, place);
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

/** The floats of a map of an image. */
export const floatsOf = ({ height, width, stored }: MapShape): number => height * width * stored;
