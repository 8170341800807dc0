/**
 * Encodes an ONNX model (onnx/onnx.proto). Fields are in the order of their numbers, as protobuf writes them. Large
 * tensors are not encoded but referred to, so that their values can be read by parts when the file is written.
 */
import { beforeBytes, float, integer, joinBytes, text } from '../../protobuf.ts';
import type { Shape } from '../layer.ts';

/** The format of the file, and the version of the operators (onnx.ai/onnx/operators). */
const intermediateRepresentation = 8;
export const operatorSet = 17;

/** TensorProto.DataType. */
const dataTypes = { float32: 1, float16: 10 } as const;
export type ValueType = keyof typeof dataTypes;
const bytesPerValue: Readonly<Record<ValueType, number>> = { float32: 4, float16: 2 };

/** AttributeProto.AttributeType. */
const attributeTypes = { float: 1, integer: 2, integers: 7 } as const;

/** A number is an integer, a list is one of integers. */
export type Attribute = number | readonly number[] | { readonly float: number };

export interface OnnxNode {
  readonly name: string;
  readonly operator: string;
  readonly inputs: readonly string[];
  readonly output: string;
  readonly attributes: Readonly<Record<string, Attribute>>;
}

/** A constant tensor of the graph. */
export interface OnnxTensor {
  readonly name: string;
  readonly shape: Shape;
  readonly type: ValueType;
  /** Constants of the graph itself, float32; otherwise they are the weights of this name. */
  readonly values?: Float32Array;
}

/** An input or output for any number `n` of images. */
export interface OnnxValue {
  readonly name: string;
  /** Without the batch. */
  readonly shape: Shape;
  readonly description?: string;
}

export interface OnnxGraph {
  readonly name: string;
  readonly nodes: readonly OnnxNode[];
  readonly tensors: readonly OnnxTensor[];
  readonly input: OnnxValue;
  readonly output: OnnxValue;
}

/** The values of a tensor in the file; they are not in memory. */
export interface Values {
  readonly tensor: string;
  readonly type: ValueType;
  readonly byteLength: number;
}

/** A part of a file: encoded bytes, or a tensor's values. */
export type Piece = Uint8Array | Values;

export const lengthOf = (pieces: readonly Piece[]): number =>
  pieces.reduce((sum, { byteLength }) => sum + byteLength, 0);

/** A message as a field of another one. */
function message(field: number, ...pieces: readonly Piece[]): readonly Piece[] {
  return [beforeBytes(field, lengthOf(pieces)), ...pieces];
}

/** A message without tensors. */
const small = (field: number, ...parts: readonly Uint8Array[]): Uint8Array => {
  const body = joinBytes(parts);
  return joinBytes([beforeBytes(field, body.length), body]);
};

function attribute(name: string, value: Attribute): Uint8Array {
  if (typeof value === 'number')
    return small(5, text(1, name), integer(3, value), integer(20, attributeTypes.integer));
  if ('float' in value)
    return small(5, text(1, name), float(2, value.float), integer(20, attributeTypes.float));
  const items = value.map((item) => integer(8, item));
  return small(5, text(1, name), ...items, integer(20, attributeTypes.integers));
}

function node({ name, operator, inputs, output, attributes }: OnnxNode): Uint8Array {
  const sorted = Object.entries(attributes).toSorted(([a], [b]) => (a < b ? -1 : 1));
  return small(
    1,
    ...inputs.map((input) => text(1, input)),
    text(2, output),
    text(3, name),
    text(4, operator),
    ...sorted.map((entry) => attribute(...entry)),
  );
}

function tensor({ name, shape, type, values }: OnnxTensor): readonly Piece[] {
  const size = shape.reduce((product, side) => product * side, 1);
  const content: Piece = values
    ? floatBytes(values)
    : { tensor: name, type, byteLength: size * bytesPerValue[type] };
  return message(
    5,
    ...shape.map((side) => integer(1, side)),
    integer(2, dataTypes[type]),
    text(8, name),
    beforeBytes(9, content.byteLength),
    content,
  );
}

/** Little-endian float32, for the few constants of a graph. */
function floatBytes(values: Float32Array): Uint8Array {
  const view = new DataView(new ArrayBuffer(values.byteLength));
  for (const [i, value] of values.entries()) view.setFloat32(4 * i, value, true);
  return new Uint8Array(view.buffer);
}

function value(field: number, { name, shape, description }: OnnxValue): Uint8Array {
  const sides = [text(2, 'n'), ...shape.map((side) => integer(1, side))];
  const dimensions = small(2, ...sides.map((side) => small(1, side)));
  const type = small(2, small(1, integer(1, dataTypes.float32), dimensions));
  return small(field, text(1, name), type, ...(description === undefined ? [] : [text(3, description)]));
}

/** Encodes a model; adjacent bytes are joined. `metadata` are texts that tools show and programs read. */
export function encodeModel(
  graph: OnnxGraph,
  producerVersion: string,
  metadata: Readonly<Record<string, string>>,
): readonly Piece[] {
  return joinPieces([
    integer(1, intermediateRepresentation),
    text(2, 'vggnet'),
    text(3, producerVersion),
    ...message(
      7,
      ...graph.nodes.map(node),
      text(2, graph.name),
      ...graph.tensors.flatMap(tensor),
      value(11, graph.input),
      value(12, graph.output),
    ),
    small(8, text(1, ''), integer(2, operatorSet)),
    ...Object.entries(metadata).map(([name, content]) => small(14, text(1, name), text(2, content))),
  ]);
}

function joinPieces(pieces: readonly Piece[]): readonly Piece[] {
  const joined: Piece[] = [];
  let pending: Uint8Array[] = [];
  const flush = (): void => {
    if (pending.length > 0) joined.push(joinBytes(pending));
    pending = [];
  };
  for (const piece of pieces) {
    if (piece instanceof Uint8Array) {
      pending.push(piece);
    } else {
      flush();
      joined.push(piece);
    }
  }
  flush();
  return joined;
}
