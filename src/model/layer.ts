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

/** One tensor that is learnt, in PyTorch's shape and order. */
export interface ParameterSpec {
  /** `weight` or `bias`; the network prefixes the layer's name. */
  readonly name: string;
  readonly shape: Shape;
  /** PyTorch's default initialisation: uniform in ±bound. */
  readonly bound: number;
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

/** Where a layer stands, for messages. */
export interface LayerPlace {
  /** 1 for the first layer. */
  readonly position: number;
  readonly name?: string;
  /** Whether a max-pool comes before it. */
  readonly pooledBefore: boolean;
}

/** The behaviour of one kind of layer. `Spec` is its plain data. */
export interface LayerKind<Spec extends { readonly kind: string }> {
  readonly kind: Spec['kind'];
  /** `place` is for the message alone. @throws ShapeError where the layer does not fit its input. */
  outputShape(spec: Spec, input: Shape, place?: LayerPlace): Shape;
  parameters(spec: Spec, input: Shape): readonly ParameterSpec[];
  /** Multiply-adds for one image. */
  multiplyAdds(spec: Spec, input: Shape): number;
  /** The reference: output for `input` [N, …]. */
  forward(spec: Spec, input: Tensor, parameters: readonly Float64Array[]): Tensor;
  /** The reference: gradients from the gradient of the output, recomputing what it needs from the input. */
  backward(
    spec: Spec,
    input: Tensor,
    parameters: readonly Float64Array[],
    outputGradient: Tensor,
  ): LayerGradients;
}

/** The layers there are, as data. `name` prefixes parameter names in weight files (`conv1` → `conv1.weight`). */
export type LayerSpec = Conv2dSpec | ReluSpec | MaxPool2dSpec | FlattenSpec | LinearSpec;

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

/** A parameter's values with its PyTorch shape. */
export interface Weight {
  readonly shape: Shape;
  readonly data: Float32Array;
}

/** All parameters of a network by full name (`conv1.weight`), in the order of the layers. */
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
  readonly multiplyAdds: number;
}

/** A network with inferred shapes, as plain data. Trained with softmax cross-entropy on its last layer's output. */
export interface Network {
  /** For instance `simplified`; used in messages and summaries. */
  readonly name: string;
  readonly input: Shape;
  readonly output: Shape;
  readonly layers: readonly NetworkLayer[];
  /** Number of learnt values. */
  readonly parameterCount: number;
}
