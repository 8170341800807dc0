/** Examines a weight file (Node only): its format, its tensors, the network that they imply, and whether it is published. */
import { checksumOf } from '../files/transfer.ts';
import { impliedModel } from '../model/implied.ts';
import { normalizationText } from '../model/info.ts';
import type { Network, Shape } from '../model/layer.ts';
import { buildNetwork, sizeOf } from '../model/network.ts';
import { weightsWithChecksum } from '../model/torchvision-weights.ts';
import { type FileFormat, openAllWeights, openWeights, readShapes } from '../model/weight-files.ts';
import { partValues } from '../model/weight-streams.ts';
import { checkOptions } from '../options.ts';
import { checkPath } from '../paths.ts';

export interface ExamineOptions {
  /** Which state dict of a PyTorch checkpoint that has several. */
  readonly key?: string;
  readonly signal?: AbortSignal;
}

export interface ExaminedWeights {
  readonly format: FileFormat;
  readonly tensors: number;
  readonly values: number;
  /** The network that the file says or implies; absent if neither. */
  readonly network?: string;
  readonly input?: Shape;
  readonly classes?: number;
  /** How images are normalized, if the file says it. */
  readonly normalization?: string;
  readonly sha256: string;
  readonly published?: { readonly file: string; readonly top1: number; readonly top5: number };
  /** The first tensor with a value that is not finite. */
  readonly notFinite?: string;
}

/**
 * Examines a weight file.
 * @throws DataError if it cannot be read.
 */
export async function examineWeights(path: string, options: ExamineOptions = {}): Promise<ExaminedWeights> {
  checkPath('examineWeights: the file', path);
  checkOptions<ExamineOptions>('examineWeights', options, { key: 'optional', signal: 'optional' });
  const { key, signal } = options;
  const { format, shapes, info } = await readShapes(path, { key });
  const known = info ?? impliedModel(shapes);
  const network = known && buildNetwork(known.network, known.input);
  const sha256 = await checksumOf(path, 'sha256', signal);
  const published = weightsWithChecksum(sha256);
  const notFinite = await firstNotFinite(path, network, options);
  return {
    format,
    tensors: shapes.size,
    values: shapes.values().reduce((sum, shape) => sum + sizeOf(shape), 0),
    ...(network && { network: network.name, input: network.input, classes: network.output[0]! }),
    ...(info?.normalization !== undefined && { normalization: normalizationText(info.normalization) }),
    sha256,
    ...(published && { published: { file: published.file, ...published.accuracy } }),
    ...(notFinite !== undefined && { notFinite }),
  };
}

/** The name of the first tensor with a value that is not finite, if any; in a known network of those that it has. */
async function firstNotFinite(
  path: string,
  network: Network | undefined,
  { key, signal }: ExamineOptions,
): Promise<string | undefined> {
  const options = { key, signal };
  await using file = await (network ? openWeights(path, network, options) : openAllWeights(path, options));
  const part = new Float32Array(partValues);
  for (const [name, shape] of file.shapes) {
    const size = sizeOf(shape);
    for (let at = 0; at < size; at += partValues) {
      signal?.throwIfAborted();
      const values = part.subarray(0, Math.min(partValues, size - at));
      await file.read(name, at, values);
      if (!values.every(Number.isFinite)) return name;
    }
  }
  return undefined;
}
