/**
 * What a layer is. A network is a chain of layers and is data: a layer's spec is a plain object that can be printed,
 * compared and sent to a worker, and what it does stands once in the table of kinds (`layers/index.ts`):
 * its shapes, its parameters, and the plain reference of its forward and backward pass in float64, side by side.
 * Fast backends lower the same specs to kernels and are tested against this reference.
 *
 * Shapes leave the batch out: a feature map is [C, H, W], a vector [F].
 */

/** [C, H, W] of a feature map or [F] of a vector. */
export type Shape = readonly number[];

/** What a tensor starts from: random values, uniform in ±`uniform`, or one value everywhere. PyTorch's defaults. */
export type Initial = { readonly uniform: number } | { readonly constant: number };

/** One tensor that a layer keeps, learnt (a parameter) or not (a buffer), in PyTorch's shape and order. */
export interface ParameterSpec {
  /** For instance `weight` or `bias`; the network prefixes the layer's name. */
  readonly name: string;
  readonly shape: Shape;
  readonly initial: Initial;
}

/** A tensor of float64 values; the first axis is the batch. Maps are [N, C, H, W], vectors [N, F]. */
export interface Tensor {
  readonly shape: Shape;
  readonly data: Float64Array;
}

/** Gradients that a reference backward pass yields. */
export interface LayerGradients {
  readonly input: Tensor;
  /** In the order of `parameters`. */
  readonly parameters: readonly Float64Array[];
}

/** What dropout draws by: the same numbers give the same mask on every device. */
export interface DropoutDraws {
  readonly seed: number;
  readonly epoch: number;
  /** The layer's place in the network, from 0. */
  readonly layer: number;
}

/** What a reference pass needs beside input and parameters. */
export interface LayerPass {
  /** In training dropout drops, and batch normalization goes by the batch's own moments. */
  readonly training: boolean;
  /** The layer's buffers, in the order of `buffers`; a pass leaves them as they are. */
  readonly buffers: readonly Float64Array[];
  readonly draws: DropoutDraws;
  /** For each image of the batch its position in the data set. */
  readonly samples: ArrayLike<number>;
}

/** Where a layer stands, for messages. */
export interface LayerPlace {
  /** 1 for the first layer. */
  readonly position: number;
  readonly name?: string;
  /** Whether a max-pool comes before it. */
  readonly pooledBefore: boolean;
}

/** The behavior of one kind of layer. `Spec` is its plain data. */
export interface LayerKind<Spec extends { readonly kind: string }> {
  readonly kind: Spec['kind'];
  /** `place` is for the message alone. @throws ShapeError where the layer does not fit its input. */
  outputShape(spec: Spec, input: Shape, place?: LayerPlace): Shape;
  parameters(spec: Spec, input: Shape): readonly ParameterSpec[];
  /** What it keeps beside its parameters: part of the weights, but not learnt by gradients. */
  buffers?(spec: Spec, input: Shape): readonly ParameterSpec[];
  /** Multiply-adds for one image. */
  multiplyAdds(spec: Spec, input: Shape): number;
  /** The reference: output for `input` [N, …]. Layers that do not need it ignore the pass. */
  forward(spec: Spec, input: Tensor, parameters: readonly Float64Array[], pass: LayerPass): Tensor;
  /**
   * The reference: gradients from the gradient of the output, recomputing what it needs from the input. Always of a
   * pass in training.
   */
  backward(
    spec: Spec,
    input: Tensor,
    parameters: readonly Float64Array[],
    outputGradient: Tensor,
    pass: LayerPass,
  ): LayerGradients;
  /** The reference: the buffers after a step of training on `input`. */
  updatedBuffers?(spec: Spec, input: Tensor, buffers: readonly Float64Array[]): readonly Float64Array[];
}

/** The layers there are, as data. `name` prefixes parameter names in weight files (`conv1` → `conv1.weight`). */
export type LayerSpec =
  | Conv2dSpec
  | ReluSpec
  | MaxPool2dSpec
  | FlattenSpec
  | LinearSpec
  | BatchNormSpec
  | DropoutSpec;

export interface Conv2dSpec {
  readonly kind: 'conv2d';
  readonly name?: string;
  /** Output channels. */
  readonly out: number;
  readonly kernel: readonly [height: number, width: number];
  readonly stride: readonly [vertical: number, horizontal: number];
  readonly padding: readonly [vertical: number, horizontal: number];
  readonly bias: boolean;
}

export interface ReluSpec {
  readonly kind: 'relu';
  readonly name?: string;
}

export interface MaxPool2dSpec {
  readonly kind: 'maxPool2d';
  readonly name?: string;
  readonly kernel: readonly [height: number, width: number];
  readonly stride: readonly [vertical: number, horizontal: number];
  /** At most half the kernel, as in PyTorch; padded places never win. */
  readonly padding: readonly [vertical: number, horizontal: number];
}

export interface FlattenSpec {
  readonly kind: 'flatten';
  readonly name?: string;
}

export interface LinearSpec {
  readonly kind: 'linear';
  readonly name?: string;
  /** Output features. */
  readonly out: number;
  readonly bias: boolean;
}

export interface BatchNormSpec {
  readonly kind: 'batchNorm';
  readonly name?: string;
  /** 2 for feature maps, 1 for vectors. */
  readonly dimensions: 1 | 2;
  /** Share of a batch's moments in the running ones. */
  readonly momentum: number;
  /** Added to the variance. */
  readonly epsilon: number;
  /** Whether a learnt weight and bias follow. */
  readonly affine: boolean;
}

export interface DropoutSpec {
  readonly kind: 'dropout';
  readonly name?: string;
  /** Of each value to be dropped: 0 ≤ probability < 1. */
  readonly probability: number;
}

/** A tensor's values with its PyTorch shape. */
export interface Weight {
  readonly shape: Shape;
  readonly data: Float32Array;
}

/** All parameters and buffers of a network by full name (`conv1.weight`), in the order of the layers. */
export type Weights = ReadonlyMap<string, Weight>;

/** One layer of a network whose shapes are known. */
export interface NetworkLayer {
  readonly spec: LayerSpec;
  /** The spec's name, or the layer's position as torch.nn.Sequential names it (`0`, `1`, …). */
  readonly name: string;
  readonly input: Shape;
  readonly output: Shape;
  /** With full names (`conv1.weight`). */
  readonly parameters: readonly ParameterSpec[];
  /** Likewise: running moments of a batch normalization. */
  readonly buffers: readonly ParameterSpec[];
  readonly multiplyAdds: number;
}

/** A network with inferred shapes, as plain data. Trained with softmax cross-entropy on its last layer's output. */
export interface Network {
  /** For instance `simplified`; used in messages and summaries. */
  readonly name: string;
  /** Of a model that has a name: its options. */
  readonly options?: Readonly<Record<string, number | readonly number[]>>;
  readonly input: Shape;
  readonly output: Shape;
  readonly layers: readonly NetworkLayer[];
  /** Number of learnt values; buffers do not count. */
  readonly parameterCount: number;
}
