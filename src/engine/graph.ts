/**
 * From layers to operations, the same on every device. A convolution absorbs the ReLU and the max-pool after it, linear
 * layers and batch normalizations their ReLU; flatten is only a view, and a dropout that drops nothing vanishes, as does an adaptive pool that keeps the size; one with equal windows is an average pool.
 */
import type {
  AdaptiveAvgPool2dSpec,
  AvgPool2dSpec,
  BatchNormSpec,
  Conv2dSpec,
  DropoutSpec,
  LayerSpec,
  LinearSpec,
  LocalResponseNormSpec,
  MaxPool2dSpec,
  Network,
  NetworkLayer,
  Shape,
} from '../model/layer.ts';
import { isIdentity } from '../model/layers/adaptive-avg-pool2d.ts';
import { kindOf } from '../model/layers/index.ts';

interface Common {
  /** Index of the last layer that it computes. */
  readonly last: number;
  /** The layers that it computes, in order; the first one has its parameters. */
  readonly layers: readonly NetworkLayer[];
  /** Its maps; behind a flatten, the map that is flattened. */
  readonly input: Shape;
  readonly output: Shape;
}

export interface ConvolutionNode extends Common {
  readonly kind: 'convolution';
  readonly spec: Conv2dSpec;
  /** The convolution's output before the pool. */
  readonly full: Shape;
  readonly relu: boolean;
  readonly pool: MaxPool2dSpec | undefined;
}

export interface LinearNode extends Common {
  readonly kind: 'linear';
  readonly spec: LinearSpec;
  readonly relu: boolean;
}

export interface PoolNode extends Common {
  readonly kind: 'pool';
  readonly spec: MaxPool2dSpec;
}

export interface AveragePoolNode extends Common {
  readonly kind: 'averagePool';
  readonly spec: AvgPool2dSpec;
}

/** Its windows differ in size, or overlap. */
export interface AdaptivePoolNode extends Common {
  readonly kind: 'adaptivePool';
  readonly spec: AdaptiveAvgPool2dSpec;
}

export interface LocalResponseNormNode extends Common {
  readonly kind: 'localResponseNorm';
  readonly spec: LocalResponseNormSpec;
}

export interface ReluNode extends Common {
  readonly kind: 'relu';
}

export interface BatchNormNode extends Common {
  readonly kind: 'batchNorm';
  readonly spec: BatchNormSpec;
  readonly relu: boolean;
  /** Whether it is behind a flatten: each value of the map is a channel. */
  readonly flattened: boolean;
}

export interface DropoutNode extends Common {
  readonly kind: 'dropout';
  readonly spec: DropoutSpec;
  /** Index of the layer in the network, which its draws depend on. */
  readonly layer: number;
}

export type GraphNode =
  | ConvolutionNode
  | LinearNode
  | PoolNode
  | AveragePoolNode
  | AdaptivePoolNode
  | LocalResponseNormNode
  | ReluNode
  | BatchNormNode
  | DropoutNode;

/** A graph of inference, without dropouts. No node absorbs what follows the layers whose values are wanted (indices). */
export interface Inference {
  readonly wanted: ReadonlySet<number>;
}

/** A node without what is the same for all. */
type Own<T> = T extends GraphNode ? Omit<T, keyof Common> : never;

/** Reads layers one by one, and absorbs those that follow. */
class LayerReader {
  readonly layers: readonly NetworkLayer[];
  readonly inference: Inference | undefined;
  next = 0;

  constructor(layers: readonly NetworkLayer[], inference: Inference | undefined) {
    this.layers = layers;
    this.inference = inference;
  }

  /** Absorbs the next layer if it is of a kind, unless the values before it are wanted. */
  take<K extends LayerSpec['kind']>(kind: K): Extract<LayerSpec, { kind: K }> | undefined {
    const spec = this.layers[this.next]?.spec;
    if (spec?.kind !== kind || this.inference?.wanted.has(this.next - 1)) return undefined;
    this.next++;
    return spec as Extract<LayerSpec, { kind: K }>;
  }
}

/** The node of an adaptive pool; undefined if it keeps the size. */
function adaptivePool(spec: AdaptiveAvgPool2dSpec, input: Shape): Own<GraphNode> | undefined {
  if (isIdentity(spec, input)) return undefined;
  const [, height = 1, width = 1] = input;
  const kernel = [height / spec.size[0], width / spec.size[1]] as const;
  if (!kernel.every(Number.isInteger)) return { kind: 'adaptivePool', spec };
  return { kind: 'averagePool', spec: { kind: 'avgPool2d', kernel, stride: kernel, padding: [0, 0] } };
}

/** The node that starts with a layer, which has been read; undefined for a view. */
function nodeOf(layer: NetworkLayer, reader: LayerReader): Own<GraphNode> | undefined {
  const { spec, input, output } = layer;
  switch (spec.kind) {
    case 'conv2d':
      return {
        kind: 'convolution',
        spec,
        full: output,
        relu: reader.take('relu') !== undefined,
        pool: reader.take('maxPool2d'),
      };
    case 'linear':
      return { kind: 'linear', spec, relu: reader.take('relu') !== undefined };
    case 'maxPool2d':
      return { kind: 'pool', spec };
    case 'avgPool2d':
      return { kind: 'averagePool', spec };
    case 'adaptiveAvgPool2d':
      return adaptivePool(spec, input);
    case 'localResponseNorm':
      return { kind: 'localResponseNorm', spec };
    case 'relu':
      return { kind: 'relu' };
    case 'batchNorm':
      return {
        kind: 'batchNorm',
        spec,
        relu: reader.take('relu') !== undefined,
        flattened: input.length === 1,
      };
    case 'dropout':
      return spec.probability === 0 || reader.inference
        ? undefined
        : { kind: 'dropout', spec, layer: reader.next - 1 };
    case 'flatten':
      return undefined;
    default:
      return spec satisfies never;
  }
}

/** The operations of a network, in order. */
export function graphOf({ layers, input }: Network, inference?: Inference): readonly GraphNode[] {
  const reader = new LayerReader(layers, inference);
  const nodes: GraphNode[] = [];
  let map = input;
  while (reader.next < layers.length) {
    const first = reader.next++;
    const own = nodeOf(layers[first]!, reader);
    if (!own) continue;
    const computed = layers.slice(first, reader.next);
    // Operations on single values keep the map behind a flatten.
    const output = kindOf(computed[0]!.spec).role === 'pointwise' ? map : computed.at(-1)!.output;
    nodes.push({ ...own, layers: computed, last: reader.next - 1, input: map, output });
    map = output;
  }
  return nodes;
}
