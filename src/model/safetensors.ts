/**
 * Weight files in the safetensors format (huggingface.co/docs/safetensors): the header's length (8 bytes, little
 * endian), a JSON header with dtype, shape and offsets of each tensor, then the values, without gaps.
 * Files are untrusted: every value in a header is checked before use.
 */
import { DataError, UsageError } from '../errors.ts';
import { parseJson } from '../json.ts';
import { checkArgument, isObject } from '../options.ts';
import { halfValues } from './half.ts';
import type { Network, ParameterSpec, Shape, Weight, Weights } from './layer.ts';
import { parametersOf, sizeOf, tensorsOf } from './network.ts';
import { checkSizes, shapesOf } from './weight-streams.ts';

export interface SafetensorsFile {
  /** In file order. Other types are converted to float32. */
  readonly tensors: Weights;
  /** The strings under `__metadata__`. */
  readonly metadata: Readonly<Record<string, string>>;
}

/** Enough for the tensor and class names of any network allowed here; the format allows 100 MB. */
const maxHeaderLength = 8 * 2 ** 20;
/** The most keys in a header: four for each tensor. */
const maxKeys = 200_000;
/** The most axes of a tensor. */
const maxAxes = 8;
/** Nesting depth of a header: the header, a tensor, a list. */
const maxDepth = 3;

export type Dtype = 'F64' | 'F32' | 'F16' | 'BF16' | 'I64' | 'I32';
export const bytesPerValue: Readonly<Record<Dtype, number>> = {
  F64: 8,
  F32: 4,
  F16: 2,
  BF16: 2,
  I64: 8,
  I32: 4,
};
const isDtype = (name: unknown): name is Dtype =>
  typeof name === 'string' && Object.hasOwn(bytesPerValue, name);

/**
 * Encodes a file: float32, in the order of `weights`. Equal weights and metadata give equal bytes.
 * @throws UsageError for anything `readSafetensors` would reject: a shape that does not match the data, a reserved name.
 */
export function writeSafetensors(
  weights: Weights,
  metadata: Readonly<Record<string, string>> = {},
): Uint8Array<ArrayBuffer> {
  checkArgument('writeSafetensors', 'weights', weights, ['get', 'keys'], 'a Map of tensors by name');
  checkSizes(weights);
  const header = headerOf(shapesOf(weights), metadata);
  const values = [...weights.values()].map(({ data }) => bytesOf(data));
  const bytes = new Uint8Array(values.reduce((sum, { length }) => sum + length, header.length));
  bytes.set(header);
  let at = header.length;
  for (const part of values) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

/**
 * Encodes everything before the values: `bytesOf` each tensor follow, in this order, or its `halfBytes`.
 * @throws UsageError for anything `readHeader` would reject.
 */
export function headerOf(
  shapes: ReadonlyMap<string, Shape>,
  metadata: Readonly<Record<string, string>>,
  dtype: 'F32' | 'F16' = 'F32',
): Uint8Array<ArrayBuffer> {
  const entries: [string, unknown][] = Object.keys(metadata).length > 0 ? [['__metadata__', metadata]] : [];
  let end = 0;
  for (const [name, shape] of shapes) {
    const begin = end;
    end += sizeOf(shape) * bytesPerValue[dtype];
    entries.push([name, { dtype, shape, data_offsets: [begin, end] }]);
  }
  // Pads the JSON with spaces so that the values start at a multiple of 8 bytes, like the official writer.
  // Built as text because an object would put names such as `7` first.
  const members = entries.map(([name, entry]) => `${JSON.stringify(name)}:${JSON.stringify(entry)}`);
  const json = new TextEncoder().encode(`{${members.join(',')}}`);
  const headerLength = Math.ceil(json.length / 8) * 8;
  const header = new Uint8Array(8 + headerLength);
  new DataView(header.buffer).setBigUint64(0, BigInt(headerLength), true);
  header.fill(0x20, 8);
  header.set(json, 8);
  checkReadable(json, headerLength, end);
  return header;
}

/** @throws DataError that names the tensor, the value and the rule it breaks. */
export function readSafetensors(bytes: Uint8Array): SafetensorsFile {
  if (!(bytes instanceof Uint8Array)) throw new UsageError('readSafetensors: the bytes are not a Uint8Array');
  const { entries, metadata, dataStart } = readHeader(bytes, bytes.length);
  const tensors = entries.map(({ name, dtype, shape, begin, end }): [string, Weight] => {
    const data = new Float32Array(sizeOf(shape));
    readValues(bytes.subarray(dataStart + begin, dataStart + end), dtype, data);
    return [name, { shape, data }];
  });
  return { tensors: new Map(tensors), metadata };
}

/** Everything in a file before its values. */
export interface SafetensorsHeader {
  readonly entries: readonly Entry[];
  readonly metadata: Readonly<Record<string, string>>;
  /** Where the values begin, in bytes. */
  readonly dataStart: number;
}

/** Bytes up to the end of the header, given the start of a file of `fileLength` bytes. @throws DataError */
export function headerBytes(start: Uint8Array, fileLength: number): number {
  if (start.length < 8) fail(`it has ${start.length} bytes; the header's length alone takes 8`);
  const length = new DataView(start.buffer, start.byteOffset, 8).getBigUint64(0, true);
  if (length > maxHeaderLength) fail(`its header of ${length} bytes exceeds the limit of ${maxHeaderLength}`);
  const end = 8 + Number(length);
  if (end <= fileLength) return end;
  return fail(
    `its header should have ${length} bytes, but only ${fileLength - 8} bytes follow; it is truncated`,
  );
}

/** Reads the header of a file of `fileLength` bytes; `bytes` must contain at least the header. @throws DataError */
export function readHeader(bytes: Uint8Array, fileLength: number): SafetensorsHeader {
  const dataStart = headerBytes(bytes, fileLength);
  const header = parseHeader(bytes.subarray(8, dataStart));
  const metadata = readMetadata(header);
  const entries = Object.entries(header)
    .filter(([name]) => name !== '__metadata__')
    .map(([name, entry]) => readEntry(name, entry, fileLength - dataStart));
  assertNoGaps(entries, fileLength - dataStart);
  return { entries, metadata, dataStart };
}

/**
 * Returns the weights of `network` from a file's tensors, in the network's order. Ignores PyTorch's
 * `num_batches_tracked`.
 * @throws DataError that lists tensors that are missing, unexpected, or have a wrong shape.
 */
export function checkWeights(network: Network, tensors: Weights): Weights {
  const names = checkWeightShapes(network, shapesOf(tensors)).keys();
  return new Map(names.map((name) => [name, tensors.get(name)!]));
}

/** The same before the values are read: the shapes in the network's order. @throws DataError */
export function checkWeightShapes(
  network: Network,
  shapes: ReadonlyMap<string, Shape>,
): ReadonlyMap<string, Shape> {
  return checkShapes(network, tensorsOf(network), shapes, ignoredTensors(network));
}

/** The same for tensors of some parameters, such as the moments of those that are not frozen. @throws DataError */
export function checkSomeParameters(network: Network, tensors: Weights): void {
  const some = parametersOf(network).filter(({ name }) => tensors.has(name));
  checkShapes(network, some, shapesOf(tensors), []);
}

function checkShapes(
  network: Network,
  expected: readonly ParameterSpec[],
  shapes: ReadonlyMap<string, Shape>,
  ignored: readonly string[],
): ReadonlyMap<string, Shape> {
  const problems = shapeProblems(expected, shapes, ignored);
  if (problems.length > 0) throw misfit(network, problems);
  return new Map(expected.map(({ name, shape }) => [name, shape]));
}

/** PyTorch's counters, which no layer here needs. */
export const ignoredTensors = (network: Network): readonly string[] =>
  network.layers.flatMap(({ spec, name }) =>
    spec.kind === 'batchNorm' ? [`${name}.num_batches_tracked`] : [],
  );

/** What is missing, unexpected or of a wrong shape. */
export function shapeProblems(
  expected: readonly ParameterSpec[],
  shapes: ReadonlyMap<string, Shape>,
  ignored: readonly string[],
): readonly string[] {
  const names = new Set([...expected.map(({ name }) => name), ...ignored]);
  const problems = expected.flatMap(({ name, shape }) => {
    const found = shapes.get(name);
    if (found === undefined) return [`${name} [${shape.join(', ')}] is missing`];
    if (found.join() === shape.join()) return [];
    return [`${name} is [${found.join(', ')}], expected [${shape.join(', ')}]`];
  });
  for (const name of shapes.keys())
    if (!names.has(name)) problems.push(`${name.slice(0, 200)} is unexpected`);
  return problems;
}

/** The error for weights that do not fit. */
export function misfit(network: Network, problems: readonly string[]): DataError {
  const shown = problems.slice(0, 6).join('; ');
  const more = problems.length > 6 ? `; and ${problems.length - 6} more` : '';
  return new DataError(`weights do not fit ${network.name} on ${network.input.join('×')}: ${shown}${more}`);
}

/** Rejects a header that the reader would reject. */
function checkReadable(json: Uint8Array, headerLength: number, dataLength: number): void {
  try {
    if (headerLength > maxHeaderLength)
      fail(`its header of ${headerLength} bytes exceeds the limit of ${maxHeaderLength}`);
    const header = parseHeader(json);
    readMetadata(header);
    const names = Object.keys(header).filter((name) => name !== '__metadata__');
    assertNoGaps(
      names.map((name) => readEntry(name, header[name], dataLength)),
      dataLength,
    );
  } catch (error) {
    if (!(error instanceof DataError)) throw error;
    throw new UsageError(`cannot write weights that cannot be read back: ${error.message}`, { cause: error });
  }
}

export interface Entry {
  readonly name: string;
  readonly dtype: Dtype;
  readonly shape: Shape;
  readonly begin: number;
  readonly end: number;
}

function fail(problem: string): never {
  throw new DataError(`not a safetensors file: ${problem}`);
}

function parseHeader(bytes: Uint8Array): Record<string, unknown> {
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (error) {
    return fail(`its header is not JSON in UTF-8 (${(error as Error).message})`);
  }
  const { value, problem } = parseJson(text, { depth: maxDepth, keys: maxKeys, unique: true });
  if (problem !== undefined) fail(`its header ${problem}`);
  if (!isObject(value)) fail('its header is not a JSON object');
  return value;
}

function readMetadata(header: Record<string, unknown>): Record<string, string> {
  if (!Object.hasOwn(header, '__metadata__')) return {};
  const metadata = header.__metadata__;
  if (!isObject(metadata)) fail(`__metadata__ is ${show(metadata)}, not an object of strings`);
  for (const [key, value] of Object.entries(metadata)) {
    if (typeof value !== 'string') fail(`__metadata__.${key.slice(0, 60)} is ${show(value)}, not a string`);
  }
  return metadata as Record<string, string>;
}

function readEntry(name: string, entry: unknown, dataLength: number): Entry {
  const bad = (problem: string): never => fail(`tensor ${show(name)}: ${problem}`);
  if (!isObject(entry)) return bad(`its entry is ${show(entry)}, not an object`);
  const { dtype, shape, data_offsets: offsets } = entry;
  if (!isDtype(dtype))
    return bad(`dtype ${show(dtype)} is not one of ${Object.keys(bytesPerValue).join(', ')}`);
  if (!isNaturals(shape) || shape.length > maxAxes)
    return bad(`shape ${show(shape)} is not a list of up to ${maxAxes} whole numbers ≥ 0`);
  if (!isNaturals(offsets) || offsets.length !== 2) {
    return bad(`data_offsets ${show(offsets)} are not two whole numbers ≥ 0`);
  }
  const [begin, end] = offsets as [number, number];
  if (begin > end || end > dataLength) {
    return bad(
      `data_offsets ${show(offsets)} are not an increasing range within the ${dataLength} bytes of values`,
    );
  }
  // A product beyond 2⁵³ is inexact, but no file is that long.
  const needed = sizeOf(shape) * bytesPerValue[dtype];
  if (needed !== end - begin) {
    return bad(`shape ${show(shape)} of ${dtype} needs ${needed} bytes, data_offsets give ${end - begin}`);
  }
  return { name, dtype, shape, begin, end };
}

function assertNoGaps(entries: readonly Entry[], dataLength: number): void {
  let end = 0;
  for (const entry of entries.toSorted((a, b) => a.begin - b.begin || a.end - b.end)) {
    if (entry.begin !== end) {
      const relation = entry.begin < end ? 'overlaps the tensor before it' : 'leaves a gap';
      fail(`tensor ${show(entry.name)}: starts at byte ${entry.begin} and ${relation} (expected ${end})`);
    }
    end = entry.end;
  }
  if (end !== dataLength) fail(`its tensors end at byte ${end}, but it has ${dataLength} bytes of values`);
}

/** Converts `into.length` values of a file to float32. */
export function readValues(bytes: Uint8Array, dtype: Dtype, into: Float32Array): void {
  if (sameInFile(dtype)) {
    new Uint8Array(into.buffer, into.byteOffset, into.byteLength).set(bytes);
    return;
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  // One loop for each type: a file has many millions of values.
  switch (dtype) {
    case 'F16': {
      const halves = halfValues();
      for (let i = 0; i < into.length; i++) into[i] = halves[view.getUint16(2 * i, true)]!;
      return;
    }
    case 'BF16': {
      // The upper half of a float32.
      const words = new Uint32Array(into.buffer, into.byteOffset, into.length);
      for (let i = 0; i < into.length; i++) words[i] = view.getUint16(2 * i, true) << 16;
      return;
    }
    case 'F64':
      for (let i = 0; i < into.length; i++) into[i] = view.getFloat64(8 * i, true);
      return;
    case 'F32':
      for (let i = 0; i < into.length; i++) into[i] = view.getFloat32(4 * i, true);
      return;
    case 'I64':
      for (let i = 0; i < into.length; i++) into[i] = Number(view.getBigInt64(8 * i, true));
      return;
    case 'I32':
      for (let i = 0; i < into.length; i++) into[i] = view.getInt32(4 * i, true);
      return;
    default:
      dtype satisfies never;
  }
}

/** Whether float32 values have the same bytes in memory and in a file of this type. */
export const sameInFile = (dtype: Dtype): boolean => dtype === 'F32' && machineIsLittleEndian;

const machineIsLittleEndian = new Uint8Array(Uint16Array.of(1).buffer)[0] === 1;

/** The bytes of values in a file: their own memory on little-endian machines. */
export function bytesOf(data: Float32Array): Uint8Array {
  if (machineIsLittleEndian) return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  const view = new DataView(new ArrayBuffer(data.byteLength));
  for (const [i, value] of data.entries()) view.setFloat32(4 * i, value, true);
  return new Uint8Array(view.buffer);
}

function isNaturals(value: unknown): value is readonly number[] {
  return Array.isArray(value) && value.every((item) => Number.isSafeInteger(item) && item >= 0);
}

/** Formats a header's value for a message, truncated. */
function show(value: unknown): string {
  const text = JSON.stringify(value) ?? 'missing';
  return text.length > 60 ? `${text.slice(0, 57)}…` : text;
}
