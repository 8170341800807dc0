/**
 * Writes a network as an ONNX model (onnx.ai, opset 17) whose weights lie in a safetensors file beside it, as ONNX's
 * external data. Protobuf's wire format by hand: a field is its number and type, then a varint, or a length and bytes.
 */
import type { LayerSpec, Network } from '../../src/model/layer.ts';
import type { SafetensorsHeader } from '../../src/model/safetensors.ts';

const operatorSet = 17;
const intermediateRepresentation = 8;
/** TensorProto.DataType.FLOAT */
const float32 = 1;

type Bytes = readonly number[];

function varint(value: number): Bytes {
  const bytes = [];
  let rest = value;
  while (rest >= 128) {
    bytes.push((rest % 128) + 128);
    rest = Math.floor(rest / 128);
  }
  return [...bytes, rest];
}
const integer = (field: number, value: number): Bytes => [...varint(field * 8), ...varint(value)];
const message = (field: number, ...parts: readonly Bytes[]): Bytes => {
  const body = parts.flat();
  return [...varint(field * 8 + 2), ...varint(body.length), ...body];
};
const text = (field: number, value: string): Bytes => message(field, [...new TextEncoder().encode(value)]);

// The numbers of the fields are those of onnx.proto.

const attribute = (name: string, value: number | readonly number[]): Bytes =>
  typeof value === 'number'
    ? message(5, text(1, name), integer(3, value), integer(20, 2))
    : message(5, text(1, name), ...value.map((item) => integer(8, item)), integer(20, 7));

function node(
  operator: string,
  inputs: readonly string[],
  output: string,
  attributes: Readonly<Record<string, number | readonly number[]>> = {},
): Bytes {
  const settings = Object.entries(attributes).map(([name, value]) => attribute(name, value));
  return message(
    1,
    ...inputs.map((input) => text(1, input)),
    text(2, output),
    text(4, operator),
    ...settings,
  );
}

const keyValue = (key: string, value: string): Bytes => message(13, text(1, key), text(2, value));

function externalTensor(
  { name, shape, begin, end }: SafetensorsHeader['entries'][number],
  dataStart: number,
  file: string,
): Bytes {
  return message(
    5,
    ...shape.map((side) => integer(1, side)),
    integer(2, float32),
    text(8, name),
    keyValue('location', file),
    keyValue('offset', String(dataStart + begin)),
    keyValue('length', String(end - begin)),
    integer(14, 1), // data_location = EXTERNAL
  );
}

/** An input (field 11) or output (12) of the graph: `N` images. */
const value = (field: number, name: string, shape: readonly number[]): Bytes => {
  const dimensions = [text(2, 'N'), ...shape.map((side) => integer(1, side))].map((size) => message(1, size));
  return message(
    field,
    text(1, name),
    message(2, message(1, integer(1, float32), message(2, ...dimensions))),
  );
};

/** A layer in inference. */
function nodeOf(spec: LayerSpec, name: string, input: string, output: string): Bytes {
  switch (spec.kind) {
    case 'conv2d':
      return node('Conv', [input, `${name}.weight`, `${name}.bias`], output, {
        kernel_shape: spec.kernel,
        strides: spec.stride,
        pads: [...spec.padding, ...spec.padding],
      });
    case 'linear':
      return node('Gemm', [input, `${name}.weight`, `${name}.bias`], output, { transB: 1 });
    case 'maxPool2d':
      return node('MaxPool', [input], output, {
        kernel_shape: spec.kernel,
        strides: spec.stride,
        pads: [...spec.padding, ...spec.padding],
      });
    case 'relu':
      return node('Relu', [input], output);
    case 'flatten':
      return node('Flatten', [input], output, { axis: 1 });
    default:
      throw new Error(`${spec.kind} is not written as ONNX`);
  }
}

/** The model `images` → `logits`; `header` is that of the safetensors file named `file`, in the model's folder. */
export function onnxModel(network: Network, header: SafetensorsHeader, file: string): Uint8Array {
  const nodes: Bytes[] = [];
  let last = 'images';
  const layers = network.layers.filter(({ spec }) => spec.kind !== 'dropout'); // passes values on in inference
  for (const [index, { spec, name }] of layers.entries()) {
    const output = index === layers.length - 1 ? 'logits' : `${name} ${spec.kind}`;
    nodes.push(nodeOf(spec, name, last, output));
    last = output;
  }
  const graph = message(
    7,
    ...nodes,
    text(2, network.name),
    ...header.entries.map((entry) => externalTensor(entry, header.dataStart, file)),
    value(11, 'images', network.input),
    value(12, 'logits', network.output),
  );
  return Uint8Array.from([
    ...integer(1, intermediateRepresentation),
    ...graph,
    ...message(8, text(1, ''), integer(2, operatorSet)),
  ]);
}
