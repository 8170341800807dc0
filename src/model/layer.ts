/**
 * Layer types. A network is a chain of layers, stored as data: a layer's spec is a plain object that can be printed,
 * compared and sent to a worker. The table of kinds (`layers/index.ts`) defines each layer once: shapes, parameters,
 * and a plain float64 reference of its forward and backward pass. Fast backends lower the same specs to kernels and
 * are tested against this reference.
 *
 * Shapes exclude the batch: a feature map is [C, H, W], a vector [F].
 */

/** [C, H, W] of a feature map or [F] of a vector. */
export type Shape = readonly number[];

/**
 * Initial values of a tensor: random and uniform in ±`uniform`, random and normal around 0 with the standard deviation
 * `normal`, or constant. Layers have PyTorch's defaults.
 */
export type Initial =
  | { readonly uniform: number }
  | { readonly normal: number }
  | { readonly constant: number };

/** A tensor of a layer, learned (a parameter) or not (a buffer), in PyTorch's shape and order. */
export interface ParameterSpec {
  /** For example `weight` or `bias`; the network adds the layer's name as a prefix. */
  readonly name: string;
  readonly shape: Shape;
  readonly initial: Initial;
}

/** A tensor of float64 values; the first axis is the batch. Maps are [N, C, H, W], vectors [N, F]. */
export interface Tensor {
  readonly shape: Shape;
  readonly data: Float64Array;
}

/** The gradients that a reference backward pass returns. */
export interface LayerGradients {
  readonly input: Tensor;
  /** In the order of `parameters`. */
  readonly parameters: readonly Float64Array[];
}

/** The key of dropout's random numbers: the same key gives the same mask on every device. */
export interface DropoutDraws {
  readonly seed: number;
  readonly epoch: number;
  /** The layer's index in the network, from 0. */
  readonly layer: number;
}

/** What a reference pass needs in addition to input and parameters. */
export interface LayerPass {
  /** In training, dropout is active and batch normalization uses the batch's mean and variance. */
  readonly training: boolean;
  /** The layer's buffers, in the order of `buffers`; a pass does not change them. */
  readonly buffers: readonly Float64Array[];
  readonly draws: DropoutDraws;
  /** The position in the data set of each image in the batch. */
  readonly samples: ArrayLike<number>;
}

/** A layer's position, for messages. */
export interface LayerPlace {
  /** 1 for the first layer. */
  readonly position: number;
  readonly name?: string;
  /** Whether a pool comes before it. */
  readonly pooledBefore: boolean;
}

/**
 * What a layer does to a map: it learns features, works on each value's place alone, takes one value of each window, or
 * only views it otherwise.
 */
export type LayerRole = 'features' | 'pointwise' | 'pool' | 'view';

/** The behavior of one kind of layer. `Spec` is its plain data. */
export interface LayerKind<Spec extends { readonly kind: string }> {
  readonly kind: Spec['kind'];
  readonly role: LayerRole;
  /** `place` is used only in the message. @throws ShapeError if the layer does not fit its input. */
  outputShape(spec: Spec, input: Shape, place?: LayerPlace): Shape;
  parameters(spec: Spec, input: Shape): readonly ParameterSpec[];
  /** Tensors that are part of the weights but not learned by gradients. */
  buffers?(spec: Spec, input: Shape): readonly ParameterSpec[];
  /** Multiply-adds for one image, as the literature counts them: of convolutions and linear layers, 0 for others. */
  multiplyAdds(spec: Spec, input: Shape): number;
}

/** The plain passes of a kind, in float64: what the reference device computes. */
export interface LayerPasses<Spec extends { readonly kind: string }> {
  /** Reference forward pass: the output for `input` [N, …]. Many layers ignore `pass`. */
  forward(spec: Spec, input: Tensor, parameters: readonly Float64Array[], pass: LayerPass): Tensor;
  /**
   * Reference backward pass: gradients of input and parameters. Recomputes what it needs from the input.
   */
  backward(
    spec: Spec,
    input: Tensor,
    parameters: readonly Float64Array[],
    outputGradient: Tensor,
    pass: LayerPass,
  ): LayerGradients;
  /** Reference: the buffers after a training step on `input`. */
  updatedBuffers?(spec: Spec, input: Tensor, buffers: readonly Float64Array[]): readonly Float64Array[];
}

/** All layer specs. `name` prefixes parameter names in weight files (`conv1` → `conv1.weight`). */
export type LayerSpec =
  | Conv2dSpec
  | ReluSpec
  | MaxPool2dSpec
  | AvgPool2dSpec
  | AdaptiveAvgPool2dSpec
  | LocalResponseNormSpec
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
  /** At most half the kernel, as in PyTorch. Padding is never the maximum. */
  readonly padding: readonly [vertical: number, horizontal: number];
}

export interface AvgPool2dSpec {
  readonly kind: 'avgPool2d';
  readonly name?: string;
  readonly kernel: readonly [height: number, width: number];
  readonly stride: readonly [vertical: number, horizontal: number];
  /** At most half the kernel, as in PyTorch. Padding counts as zeros. */
  readonly padding: readonly [vertical: number, horizontal: number];
}

export interface AdaptiveAvgPool2dSpec {
  readonly kind: 'adaptiveAvgPool2d';
  readonly name?: string;
  /** Of the output. */
  readonly size: readonly [height: number, width: number];
}

export interface LocalResponseNormSpec {
  readonly kind: 'localResponseNorm';
  readonly name?: string;
  /** Channels in a window, n. */
  readonly size: number;
  /** Divided by the size. */
  readonly alpha: number;
  readonly beta: number;
  readonly k: number;
}

export type PoolSpec = MaxPool2dSpec | AvgPool2dSpec;

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
  /** Weight of a batch's mean and variance in the running ones. */
  readonly momentum: number;
  /** Added to the variance. */
  readonly epsilon: number;
  /** Whether a learned weight and bias follow. */
  readonly affine: boolean;
}

export interface DropoutSpec {
  readonly kind: 'dropout';
  readonly name?: string;
  /** Probability of dropping a value, 0 ≤ probability < 1. */
  readonly probability: number;
}

/** A tensor's values and its shape in PyTorch. */
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
  /** With full names: running mean and variance of batch normalization. */
  readonly buffers: readonly ParameterSpec[];
  readonly multiplyAdds: number;
}

/** Options of a named model, by name. */
export type ModelOptions = Readonly<Record<string, number | string | readonly number[]>>;

/** A network with inferred shapes, as plain data. Its last layer outputs logits for softmax cross-entropy. */
export interface Network {
  /** For example `simplified`; used in messages and summaries. */
  readonly name: string;
  /** The options of a named model. */
  readonly options?: ModelOptions;
  readonly input: Shape;
  readonly output: Shape;
  readonly layers: readonly NetworkLayer[];
  /** Number of learned values, without buffers. */
  readonly parameterCount: number;
}
