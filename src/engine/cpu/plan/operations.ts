/**
 * A network's operations on the CPU. Each gets its algorithm and the address and layout of its parameters. These depend
 * only on network and cache, so that all plans of a session share them.
 *
 * Every activation is a map [height][width][channels], channels last; a vector is a 1×1 map. Channels are padded with
 * zeros to a multiple of the granule, except in the image that a first convolution reads.
 */

import { directUnroll } from '../../../kernels/direct.ts';
import { granule } from '../../../kernels/language.ts';
import { bytePositions } from '../../../kernels/pooling.ts';
import type { Scheme } from '../../../kernels/winograd-schemes.ts';
import type { Conv2dSpec, MaxPool2dSpec, Network, NetworkLayer } from '../../../model/layer.ts';
import {
  type AdaptivePoolNode,
  type AveragePoolNode,
  type BatchNormNode,
  type ConvolutionNode,
  type DropoutNode,
  type GraphNode,
  graphOf,
  type LinearNode,
  type LocalResponseNormNode,
  type PoolNode,
  type ReluNode,
} from '../../graph.ts';
import { flattenedPlaces, type MapShape, mapOf, roundUp } from '../../map-shape.ts';
import { type MatrixLayout, rowsLayout, type StoredTensor, vectorsLayout } from '../../matrix.ts';
import { cheapestScheme } from '../lower/convolution/cost.ts';
import { usualCacheBytes } from './cache-bytes.ts';

/** An operation of the network with its maps in memory. */
type Mapped<Node extends GraphNode> = Omit<Node, 'layers' | 'input' | 'output'> & {
  /** Names of the layers that it computes, in order. */
  readonly layers: readonly string[];
  readonly input: MapShape;
  readonly output: MapShape;
};

export interface Convolution extends Omit<Mapped<ConvolutionNode>, 'full'> {
  readonly full: MapShape;
  readonly forward: 'winograd' | 'direct' | 'im2col' | 'pointwise';
  /** `sparse` visits only the winners of the pool. */
  readonly backward: Convolution['forward'] | 'sparse';
  /** The scheme of `winograd`; absent if neither pass uses it. */
  readonly scheme: Scheme | undefined;
  readonly matrix: MatrixLayout;
}

export interface Linear extends Mapped<LinearNode> {
  /** Split over the threads by output instead of by image. */
  readonly split: boolean;
  readonly matrix: MatrixLayout;
}

export type Pool = Mapped<PoolNode>;

export type AveragePool = Mapped<AveragePoolNode>;

export type AdaptivePool = Mapped<AdaptivePoolNode>;

export type LocalResponseNorm = Mapped<LocalResponseNormNode>;

export type Relu = Mapped<ReluNode>;

export interface BatchNorm extends Mapped<BatchNormNode> {
  /** The input's shape for normalization: after flatten one pixel, with a channel for each stored value. */
  readonly view: MapShape;
  /** The index of each channel in vectors of `view.stored`. */
  readonly places: Int32Array;
  /** Full names of its buffers. */
  readonly running: readonly [mean: string, variance: string];
  /** Weights as rows of one value, then biases; absent if not affine. */
  readonly matrix: MatrixLayout | undefined;
}

export type Dropout = Mapped<DropoutNode>;

/** A linear layer that is a convolution, in a dense variant (`variants.ts`): applied at every position of a map. */
export interface DenseLinear extends Omit<Mapped<ConvolutionNode>, 'kind' | 'full' | 'pool'> {
  readonly kind: 'denseLinear';
  /** As the linear layer. */
  readonly split: boolean;
  readonly matrix: MatrixLayout;
}

export type Operation =
  | Convolution
  | Linear
  | Pool
  | AveragePool
  | AdaptivePool
  | LocalResponseNorm
  | Relu
  | BatchNorm
  | Dropout
  | DenseLinear;

export interface Operations {
  readonly network: Network;
  readonly predictsOnly: boolean;
  readonly input: MapShape;
  readonly list: readonly Operation[];
  /** Floats of all parameters. */
  readonly parameterLength: number;
  /** Floats of the first of them, whose gradients are summed in slots. */
  readonly slotLength: number;
  /** Floats of the batch normalizations' parameters, which follow; the rest belongs to split layers. */
  readonly normalizationLength: number;
  /** Floats of a core's second-level cache, which blocks of work must fit. */
  readonly cacheFloats: number;
  /** Columns of a panel of weights (`kernels/gemm.ts`). */
  readonly panelColumns: number;
}

/** Used where no kernels run: memory does not depend on it. */
const usualPanelColumns = 16;

/** A linear layer with at least this many weights is split by output, because a gradient slot would cost too much. */
const splitFrom = 131_072;

export function isPoolOfTiles(pool: MaxPool2dSpec | undefined): pool is MaxPool2dSpec {
  if (!pool) return false;
  const [size] = pool.kernel;
  return (
    [...pool.kernel, ...pool.stride].every((value) => value === size) &&
    pool.padding.every((value) => value === 0)
  );
}

/** Whether the direct algorithm applies: it reads images, whose channels are stored without padding. */
const canBeDirect = (spec: Conv2dSpec, { stored }: MapShape): boolean =>
  stored % granule !== 0 && (spec.kernel[1] * stored) % directUnroll === 0;

/** Whether the map is the matrix of patches as it is. */
const isPointwise = ({ kernel, stride, padding }: Conv2dSpec, { stored }: MapShape): boolean =>
  stored % granule === 0 &&
  [...kernel, ...stride].every((value) => value === 1) &&
  padding.every((value) => value === 0);

function chooseAlgorithms(
  spec: Conv2dSpec,
  pool: MaxPool2dSpec | undefined,
  input: MapShape,
  full: MapShape,
  cacheFloats: number,
): Pick<Convolution, 'forward' | 'backward' | 'scheme'> {
  const scheme = cheapestScheme(spec, input, full, cacheFloats);
  const dense = scheme
    ? 'winograd'
    : canBeDirect(spec, input)
      ? 'direct'
      : isPointwise(spec, input)
        ? 'pointwise'
        : 'im2col';
  // In a window of n values one has a gradient; Winograd saves about a factor of 3 on all of them, more with many
  // channels.
  const { stored } = input;
  const positions = isPoolOfTiles(pool) ? pool.kernel[0] ** 2 : 0;
  const sparse = stored % granule === 0 && positions >= 8 && positions <= bytePositions && stored <= 64;
  return { forward: dense, backward: sparse ? 'sparse' : dense, scheme };
}

/** A node's operation, with its matrix at offset 0. `input` is its input map. */
export function operationOf(node: GraphNode, input: MapShape, cacheFloats: number): Operation {
  const layers = node.layers.map(({ name }) => name);
  const [layer] = node.layers as readonly [NetworkLayer];
  const output = mapOf(node.output);
  switch (node.kind) {
    case 'convolution': {
      const { spec, pool } = node;
      const full = mapOf(node.full);
      const algorithms = chooseAlgorithms(spec, pool, input, full, cacheFloats);
      const bias = ['winograd', 'pointwise'].includes(algorithms.forward) ? 'vector' : 'column';
      const matrix = rowsLayout(layer, input, full.stored, spec.kernel[0] * spec.kernel[1], bias);
      return { ...node, layers, input, output, full, ...algorithms, matrix };
    }
    case 'linear': {
      const taps = input.height * input.width;
      const split = output.stored * taps * input.stored >= splitFrom;
      const matrix = rowsLayout(layer, input, output.stored, taps, 'vector');
      return { ...node, layers, input, output, split, matrix };
    }
    case 'batchNorm': {
      const [mean, variance] = layer.buffers;
      const values = input.height * input.width * input.stored;
      const view = node.flattened ? { height: 1, width: 1, channels: values, stored: values } : input;
      const places = flattenedPlaces(node.flattened ? input : { ...input, height: 1, width: 1 });
      const matrix = node.spec.affine ? vectorsLayout(layer, view.stored, places) : undefined;
      const running = [mean!.name, variance!.name] as const;
      return { ...node, layers, input, output: input, view, places, running, matrix };
    }
    case 'pool':
      return { ...node, layers, input, output };
    case 'averagePool':
      return { ...node, layers, input, output };
    case 'adaptivePool':
      return { ...node, layers, input, output };
    case 'localResponseNorm':
      return { ...node, layers, input, output: input };
    case 'relu':
    case 'dropout':
      return { ...node, layers, input, output: input };
    default:
      return node satisfies never;
  }
}

/**
 * The operations of a network with their algorithms and layouts. With `predictsOnly` the weights of convolutions are not
 * kept, since the forward pass reads only what is derived from them.
 */
export function planOperations(
  network: Network,
  cacheBytes: number = usualCacheBytes,
  predictsOnly = false,
  panelColumns: number = usualPanelColumns,
): Operations {
  const cacheFloats = cacheBytes / 4;
  const image = mapOf(network.input);
  const input = network.layers[0]?.spec.kind === 'conv2d' ? { ...image, stored: image.channels } : image;
  const list: Operation[] = [];
  for (const node of graphOf(network)) {
    list.push(operationOf(node, list.at(-1)?.output ?? input, cacheFloats));
  }
  return { network, predictsOnly, input, cacheFloats, panelColumns, ...placed(list, predictsOnly) };
}

/**
 * The operations of inference on the same parameters: none absorbs what follows the layers that are wanted (indices), and
 * none is behind the last of them. Gradients are those of inputs only.
 */
export function inferenceOperations(whole: Operations, wanted: readonly number[]): Operations {
  const { network, input, cacheFloats } = whole;
  // Only parameters make a name unique, and only within a kind.
  const keyOf = ({ kind, layers }: Operation): string => `${kind} ${layers[0]}`;
  const originals = new Map(whole.list.map((operation) => [keyOf(operation), operation]));
  const last = Math.max(...wanted);
  const list: Operation[] = [];
  for (const node of graphOf(network, { wanted: new Set(wanted) })) {
    if (node.last - node.layers.length + 1 > last) break;
    const operation = operationOf(node, list.at(-1)?.output ?? input, cacheFloats);
    list.push(withParameters(operation, originals.get(keyOf(operation)), list.length === 0));
  }
  return { ...whole, list };
}

/** An operation of inference with the matrix of the original, which has the same parameters. */
export function withParameters(
  operation: Operation,
  original: Operation | undefined,
  isFirst: boolean,
): Operation {
  if (operation.kind === 'convolution' && original?.kind === 'convolution') {
    const { matrix, forward, scheme } = original;
    const backward = !isFirst && original.backward === 'winograd' ? 'winograd' : 'im2col';
    return { ...operation, matrix, forward, scheme, backward };
  }
  if (operation.kind === 'linear' && original?.kind === 'linear')
    return { ...operation, matrix: original.matrix };
  if (operation.kind === 'batchNorm' && original?.kind === 'batchNorm')
    return { ...operation, matrix: original.matrix };
  return operation;
}

/** Gives each matrix its address among the parameters. */
function placed(
  list: readonly Operation[],
  predictsOnly: boolean,
): Pick<Operations, 'list' | 'parameterLength' | 'slotLength' | 'normalizationLength'> {
  // Parameters whose gradients need slots come first, then those of normalizations, then those of split layers.
  const offsets = new Map<Operation, number>();
  let length = 0;
  const isStaged = ({ kind }: Operation): boolean => predictsOnly && kind === 'convolution';
  const keptLength = (operation: Operation, { length: all, biasStep, storedOut }: MatrixLayout): number =>
    isStaged(operation) ? (biasStep === 1 ? storedOut : 0) : all;
  const layOutAll = (chosen: (operation: Operation) => boolean): number => {
    for (const operation of list.filter(chosen)) {
      const matrix = matrixOf(operation);
      if (!matrix) continue;
      offsets.set(operation, length);
      length = roundUp(length + keptLength(operation, matrix), 16);
    }
    return length;
  };
  const slotLength = layOutAll((operation) => !onWholeBatch(operation));
  const normalizationLength = layOutAll(({ kind }) => kind === 'batchNorm') - slotLength;
  layOutAll(isSplit);
  const place = <T extends Operation>(operation: T): T => {
    const matrix = matrixOf(operation);
    if (!matrix) return operation;
    const offset = offsets.get(operation)!;
    if (isStaged(operation)) {
      const bias = matrix.biasStep === 1 ? offset : matrix.bias;
      return { ...operation, matrix: { ...matrix, staged: true, bias } };
    }
    return { ...operation, matrix: { ...matrix, offset, bias: matrix.bias + offset } };
  };
  return { list: list.map(place), parameterLength: length, slotLength, normalizationLength };
}

/** Index of the first layer that an operation computes, which has its parameters. */
export const firstLayerOf = ({ last, layers }: Operation): number => last - layers.length + 1;

/** The layout of an operation's parameters, if it has any. */
export const matrixOf = (operation: Operation): MatrixLayout | undefined =>
  'matrix' in operation ? operation.matrix : undefined;

/** Whether an operation is a linear layer, also a dense one, that processes the whole batch at once. */
export const isSplit = (operation: Operation | undefined): boolean =>
  (operation?.kind === 'linear' || operation?.kind === 'denseLinear') && operation.split;

/** Whether an operation's gradients are computed for the whole batch at once, without slots. */
export const onWholeBatch = (operation: Operation | undefined): boolean =>
  isSplit(operation) || operation?.kind === 'batchNorm';

/**
 * Whether an operation reads each image as one vector, so that its input and the input's gradient have no halo.
 */
export const readsVector = (operation: Operation | undefined): boolean =>
  operation?.kind === 'linear' ||
  operation?.kind === 'denseLinear' ||
  (operation?.kind === 'batchNorm' && operation.view !== operation.input);

/** The parameters of a network's operations, by name. */
export function storedTensors({ list }: Operations): ReadonlyMap<string, StoredTensor> {
  const tensors = new Map<string, StoredTensor>();
  list.forEach((owner, operation) => {
    const matrix = matrixOf(owner);
    if (!matrix) return;
    const { weightName, biasName, staged, biasStep } = matrix;
    tensors.set(weightName, { operation, matrix, isBias: false, staged });
    if (biasName === undefined) return;
    tensors.set(biasName, { operation, matrix, isBias: true, staged: staged && biasStep !== 1 });
  });
  return tensors;
}
