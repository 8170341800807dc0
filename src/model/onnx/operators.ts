/**
 * Layers as ONNX operators, in inference: one entry for each kind of layer. ONNX has PyTorch's order of axes and of
 * weights, so nothing is transposed.
 */
import { UsageError } from '../../errors.ts';
import type { LayerSpec, NetworkLayer, PoolSpec, Shape } from '../layer.ts';
import type { Pair } from '../layers/arguments.ts';
import type { Attribute, OnnxNode, OnnxTensor, ValueType } from './encode.ts';

/** Collects the nodes and tensors of a graph, each under a name of its own. */
export class GraphBuilder {
  readonly nodes: OnnxNode[] = [];
  readonly tensors: OnnxTensor[] = [];
  readonly #half: boolean;
  readonly #names: Set<string>;

  /** `reserved` are names that no intermediate result may take: those of weights, inputs and outputs. */
  constructor(reserved: Iterable<string>, half: boolean) {
    this.#names = new Set(reserved);
    this.#half = half;
  }

  /** Adds a node. Returns the name of its output: `wanted`, or one like it that is not taken. */
  add(
    operator: string,
    inputs: readonly string[],
    wanted: string,
    attributes: Readonly<Record<string, Attribute>> = {},
  ): string {
    const output = this.#free(wanted);
    this.nodes.push({ name: output, operator, inputs, output, attributes });
    return output;
  }

  /**
   * Adds a tensor of the weights. Returns the name of its float32 values. With `half`, matrices are stored in half
   * precision and cast, which runtimes do once, when they load; vectors are too small to matter.
   */
  weight(name: string, shape: Shape): string {
    const type: ValueType = this.#half && shape.length > 1 ? 'float16' : 'float32';
    this.tensors.push({ name, shape, type });
    return type === 'float32' ? name : this.add('Cast', [name], `${name} float32`, { to: 1 });
  }

  /** Adds a constant of the graph. Returns its name. */
  constant(wanted: string, shape: Shape, values: Float32Array): string {
    const name = this.#free(wanted);
    this.tensors.push({ name, shape, type: 'float32', values });
    return name;
  }

  /** Renames the output of the last node. */
  nameLast(output: string): void {
    this.nodes.push({ ...this.nodes.pop()!, output });
  }

  #free(wanted: string): string {
    let name = wanted;
    for (let count = 2; this.#names.has(name); count++) name = `${wanted} (${count})`;
    this.#names.add(name);
    return name;
  }
}

/** A layer whose kind is known. */
type LayerOf<Spec extends LayerSpec> = Omit<NetworkLayer, 'spec'> & { readonly spec: Spec };

/** Adds a layer's nodes behind the tensor `input`; returns its output. */
type Operator<Spec extends LayerSpec> = (layer: LayerOf<Spec>, graph: GraphBuilder, input: string) => string;

const operators: {
  readonly [Kind in LayerSpec['kind']]: Operator<Extract<LayerSpec, { kind: Kind }>>;
} = {
  conv2d: ({ spec, name, parameters }, graph, input) =>
    graph.add('Conv', [input, ...weightsOf(parameters, graph)], name, windows(spec)),
  relu: ({ name }, graph, input) => graph.add('Relu', [input], name),
  maxPool2d: ({ spec, name }, graph, input) => graph.add('MaxPool', [input], name, windows(spec)),
  avgPool2d: ({ spec, name }, graph, input) =>
    graph.add('AveragePool', [input], name, { ...windows(spec), count_include_pad: 1 }),
  flatten: ({ name }, graph, input) => graph.add('Flatten', [input], name, { axis: 1 }),
  linear: ({ name, parameters }, graph, input) =>
    graph.add('Gemm', [input, ...weightsOf(parameters, graph)], name, { transB: 1 }),
  batchNorm,
  // It does nothing in inference.
  dropout: (_, __, input) => input,
};

/** Adds a layer's nodes behind the tensor `input`. Returns the name of its output: `input` if it does nothing. */
export function addLayer(layer: NetworkLayer, graph: GraphBuilder, input: string): string {
  // TypeScript cannot track through a lookup that each kind matches its own spec.
  return (operators[layer.spec.kind] as Operator<LayerSpec>)(layer, graph, input);
}

const weightsOf = (tensors: NetworkLayer['parameters'], graph: GraphBuilder): readonly string[] =>
  tensors.map(({ name, shape }) => graph.weight(name, shape));

/** The attributes of convolutions and pools: the padding before and after each axis; sizes round down. */
const windows = ({
  kernel,
  stride,
  padding,
}: Pick<PoolSpec, 'kernel' | 'stride' | 'padding'>): Readonly<Record<string, readonly number[]>> => ({
  kernel_shape: kernel,
  strides: stride,
  pads: [...padding, ...padding],
});

function batchNorm(
  {
    spec,
    name,
    input: [channels = 1],
    parameters,
    buffers,
  }: LayerOf<Extract<LayerSpec, { kind: 'batchNorm' }>>,
  graph: GraphBuilder,
  input: string,
): string {
  const constant = (wanted: string, value: number): string =>
    graph.constant(`${name}.${wanted}`, [channels], new Float32Array(channels).fill(value));
  const scaleAndBias = spec.affine
    ? weightsOf(parameters, graph)
    : [constant('weight', 1), constant('bias', 0)];
  return graph.add('BatchNormalization', [input, ...scaleAndBias, ...weightsOf(buffers, graph)], name, {
    epsilon: { float: spec.epsilon },
  });
}

/**
 * An adaptive average pool to `size`. ONNX has none, so that it is a product with a constant matrix for each axis, whose
 * rows are the averages: exact for every size.
 */
export function adaptiveAveragePool(
  { name, input: [, height = 0, width = 0] }: Pick<NetworkLayer, 'name' | 'input'>,
  [rows, columns]: Pair,
  graph: GraphBuilder,
  input: string,
): string {
  if (rows === 1 && columns === 1 && (height > 1 || width > 1))
    return graph.add('GlobalAveragePool', [input], name);
  let output = input;
  if (rows !== height) {
    const averages = graph.constant(`${name}.rows`, [rows, height], averagesOf(rows, height));
    output = graph.add('MatMul', [averages, output], columns === width ? name : `${name} rows`);
  }
  if (columns !== width) {
    const averages = averagesOf(columns, width);
    const transposed = Float32Array.from(averages, (_, i) => {
      return averages[(i % columns) * width + Math.floor(i / columns)]!;
    });
    const matrix = graph.constant(`${name}.columns`, [width, columns], transposed);
    output = graph.add('MatMul', [output, matrix], name);
  }
  return output;
}

/** The matrix [size, length] that averages `length` values to `size`, with PyTorch's windows. */
function averagesOf(size: number, length: number): Float32Array {
  const matrix = new Float32Array(size * length);
  for (let i = 0; i < size; i++) {
    const start = Math.floor((i * length) / size);
    const end = Math.ceil(((i + 1) * length) / size);
    matrix.fill(1 / (end - start), i * length + start, i * length + end);
  }
  return matrix;
}

/**
 * Local response normalization. ONNX's α is divided by the size, too, but its window of an even size is shifted by one
 * channel, and ONNX Runtime has none.
 * @throws UsageError for an even size.
 */
export function localResponseNormalization(
  { name }: Pick<NetworkLayer, 'name'>,
  {
    size,
    alpha,
    beta,
    k,
  }: { readonly size: number; readonly alpha: number; readonly beta: number; readonly k: number },
  graph: GraphBuilder,
  input: string,
): string {
  if (size % 2 === 0) {
    throw new UsageError(
      `ONNX: layer ${name} normalizes over ${size} channels, and ONNX only over an odd number; ` +
        'export to safetensors, or train with an odd size',
    );
  }
  return graph.add('LRN', [input], name, {
    alpha: { float: alpha },
    beta: { float: beta },
    bias: { float: k },
    size,
  });
}
