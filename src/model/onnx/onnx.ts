/**
 * Writes a network and its weights as an ONNX model (onnx.ai, opset 17), for ONNX Runtime and other programs. It takes
 * any number of images and computes logits in float32. The file's length is known before any value is read, and values
 * are written by parts, so that memory does not grow with the file.
 */
import { fuseTransform } from '../../data/fuse.ts';
import type { ChannelStatistics } from '../../data/statistics.ts';
import { inputTransform } from '../../data/transforms.ts';
import { UsageError } from '../../errors.ts';
import { checkArgument, checkOptions, type KnownKeys, shown } from '../../options.ts';
import { packageVersion } from '../../version.ts';
import { halfBytes } from '../half.ts';
import { checkClasses, checkNormalization, type ModelInfo, normalizationText } from '../info.ts';
import type { Network, Weights } from '../layer.ts';
import { buildNetwork, sizeOf } from '../network.ts';
import { bytesOf, checkWeightShapes } from '../safetensors.ts';
import { partValues, sourceOf, type WeightSource } from '../weight-streams.ts';
import { encodeModel, lengthOf, type OnnxGraph, type OnnxValue, type Piece, type Values } from './encode.ts';
import { addLayer, GraphBuilder } from './operators.ts';

export interface OnnxOptions {
  /**
   * Stores the matrices of convolutions and linear layers as float16, in half the space. The model still takes, computes
   * and returns float32; false by default.
   */
  readonly half?: boolean;
  /** Returns `probabilities`, the softmax of the logits, in place of `logits`; false by default. */
  readonly softmax?: boolean;
  /** Takes pixels from 0 to 255 and normalizes them, as in training; false by default. */
  readonly preprocess?: boolean;
}

export const onnxKeys: KnownKeys<OnnxOptions> = {
  half: 'optional',
  softmax: 'optional',
  preprocess: 'optional',
};

/** A network with its weights; `model.info` and a weight file's `info` have all but the weights. */
export interface OnnxModel extends ModelInfo {
  /** In memory, or read by parts, for instance from `openWeights`. */
  readonly weights: Weights | WeightSource;
}

/** A file whose length is known, and that can be written from its beginning to its end. */
export interface OnnxFile {
  readonly byteLength: number;
  readonly input: OnnxValue;
  readonly output: OnnxValue;
  write(append: (bytes: Uint8Array) => void | Promise<void>): Promise<void>;
}

/** Protobuf's limit for a message, which a file is. */
const mostBytes = 2 ** 31 - 1;

const inputName = 'images';

/**
 * Encodes a model in memory: `writeOnnx({ ...model.info, weights: await model.weights() })`. In Node, `exportOnnx` writes
 * a file without holding it in memory.
 * @throws UsageError if the weights do not fit, or as `onnxFile`.
 */
export async function writeOnnx(
  model: OnnxModel,
  options: OnnxOptions = {},
): Promise<Uint8Array<ArrayBuffer>> {
  const file = onnxFile('writeOnnx', model, options);
  const bytes = new Uint8Array(file.byteLength);
  let at = 0;
  await file.write((part) => {
    bytes.set(part, at);
    at += part.length;
  });
  return bytes;
}

/**
 * Lays out the file of a model; no value is read yet. `where` names the caller in messages.
 * @throws DataError if the weights do not fit the network; UsageError if the file would exceed 2 GiB, or `preprocess`
 * does not know the normalization.
 */
export function onnxFile(
  where: string,
  model: OnnxModel,
  options: OnnxOptions,
  version: string = packageVersion(),
): OnnxFile {
  checkOptions<OnnxOptions>(where, options, onnxKeys);
  for (const [name, value] of Object.entries(options)) {
    if (value !== undefined && typeof value !== 'boolean')
      throw new UsageError(`${where}: ${name} ${shown(value)} is not true or false`);
  }
  checkArgument(where, 'model', model, ['network', 'input', 'weights'], 'a model, or { ...info, weights }');
  const network = buildNetwork(model.network, model.input);
  if (model.classes) checkClasses(where, model.classes, network.output[0]);
  if (model.normalization !== undefined) checkNormalization(where, model.normalization, network.input);
  const source = sourceOf(model.weights);
  checkWeightShapes(network, source.shapes);
  const graph = graphOf(where, network, model, options);
  const pieces = encodeModel(graph, version, metadataOf(model, options.preprocess ?? false));
  const byteLength = lengthOf(pieces);
  if (byteLength > mostBytes) {
    throw new UsageError(
      `${where}: the model would have ${byteLength} bytes, above ONNX's limit of 2 GiB; ` +
        `${options.half ? '' : 'store its weights in half precision, or '}use a smaller network`,
    );
  }
  const { input, output } = graph;
  return { byteLength, input, output, write: (append) => writePieces(pieces, source, append) };
}

function graphOf(
  where: string,
  network: Network,
  { normalization }: Pick<ModelInfo, 'normalization'>,
  { half = false, softmax = false, preprocess = false }: OnnxOptions,
): OnnxGraph {
  const outputName = softmax ? 'probabilities' : 'logits';
  const weightNames = network.layers.flatMap(({ parameters, buffers }) =>
    [...parameters, ...buffers].map(({ name }) => name),
  );
  for (const name of weightNames) {
    if (name === inputName || name === outputName)
      throw new UsageError(
        `${where}: a weight is named ${name}, as ONNX's input or output; rename its layer`,
      );
  }
  const graph = new GraphBuilder([inputName, outputName, ...weightNames], half);
  let last = preprocess ? addPreprocessing(where, network, normalization, graph) : inputName;
  for (const layer of network.layers) last = addLayer(layer, graph, last);
  if (softmax) last = graph.add('Softmax', [last], 'softmax', { axis: 1 });
  if (last === inputName) graph.add('Identity', [last], 'identity');
  graph.nameLast(outputName);
  return {
    name: network.name,
    nodes: graph.nodes,
    tensors: graph.tensors,
    input: inputOf(network, normalization, preprocess),
    output: { name: outputName, shape: network.output },
  };
}

/** Scales bytes and normalizes them by one multiply and one add for each channel, with the numbers of `openModel`. */
function addPreprocessing(
  where: string,
  { input: [channels = 1, ...plane] }: Network,
  normalization: ChannelStatistics | null | undefined,
  graph: GraphBuilder,
): string {
  if (normalization === undefined) {
    throw new UsageError(
      `${where}: preprocess needs the normalization of the images, which the weights do not store; ` +
        'give { mean, std }, or null if images were not normalized',
    );
  }
  const { scale, offset } = fuseTransform(inputTransform(normalization ?? undefined), [channels, 1, 1])!;
  // One value for each channel: [channels, 1, 1], or [features] of a vector.
  const shape = [channels, ...plane.map(() => 1)];
  const factors = graph.constant('preprocess.scale', shape, Float32Array.from(scale));
  const scaled = graph.add('Mul', [inputName, factors], 'preprocess scaled');
  const offsets = graph.constant('preprocess.offset', shape, Float32Array.from(offset));
  return graph.add('Add', [scaled, offsets], 'preprocess');
}

function inputOf(
  { input }: Network,
  normalization: ChannelStatistics | null | undefined,
  preprocess: boolean,
): OnnxValue {
  const known = normalization === undefined ? 'prepared' : 'scaled to 0–1 and normalized';
  const way =
    normalization === null
      ? 'scaled to 0–1'
      : `${known}${normalization ? ` (${normalizationText(normalization)})` : ' as in training'}`;
  return {
    name: inputName,
    shape: input,
    description: preprocess ? 'pixels from 0 to 255' : `pixels ${way}`,
  };
}

/** What a program needs to prepare images and to name classes; each value is JSON. */
function metadataOf(
  { dataset, classes, normalization }: ModelInfo,
  preprocess: boolean,
): Readonly<Record<string, string>> {
  const known = { dataset, classes, normalization, preprocess };
  const given = Object.entries(known).filter(([, value]) => value !== undefined);
  return Object.fromEntries(given.map(([name, value]) => [name, JSON.stringify(value)]));
}

async function writePieces(
  pieces: readonly Piece[],
  source: WeightSource,
  append: (bytes: Uint8Array) => void | Promise<void>,
): Promise<void> {
  const part = new Float32Array(partValues);
  for (const piece of pieces) {
    if (piece instanceof Uint8Array) {
      await append(piece);
      continue;
    }
    const { tensor, type }: Values = piece;
    const size = sizeOf(source.shapes.get(tensor)!);
    for (let from = 0; from < size; from += part.length) {
      const values = part.subarray(0, Math.min(part.length, size - from));
      await source.read(tensor, from, values);
      await append(type === 'float16' ? halfBytes(tensor, values) : bytesOf(values));
    }
  }
}
