/** Weight files on disk (Node only). Files are written completely or not at all, with metadata about their weights. */
import { DataError, reason, UsageError, VggError } from '../errors.ts';
import { writeParts } from '../files/files.ts';
import { checkPath } from '../paths.ts';
import type { ModelInfo } from './info.ts';
import { formatInfo, infoIn, infoKey } from './info-text.ts';
import type { Network, Shape, Weights } from './layer.ts';
import { checkNetwork } from './network.ts';
import { checkWeightShapes, headerOf } from './safetensors.ts';
import {
  appendTensors,
  checkChecksum,
  type OpenFile,
  openTensors,
  type ReadOptions,
  readBeginning,
  tensorsIn,
  trainingNames,
} from './tensor-files.ts';
import { sourceOf, type WeightSource } from './weight-streams.ts';

export interface SaveOptions {
  /** Stores half precision (F16), in half the space; false by default. */
  readonly half?: boolean;
}

/**
 * Writes a safetensors file. A source is read by parts.
 * @throws UsageError if `path` cannot be written, or half precision cannot hold a value.
 */
export async function writeWeights(
  path: string,
  weights: Weights | WeightSource,
  info?: ModelInfo,
  { half = false }: SaveOptions = {},
): Promise<void> {
  checkPath('writeWeights: the file', path);
  const source = sourceOf(weights);
  const header = headerOf(source.shapes, info ? { [infoKey]: formatInfo(info) } : {}, half ? 'F16' : 'F32');
  try {
    await writeParts(path, (file) => appendTensors(file, header, source, half));
  } catch (error) {
    if (!(error instanceof VggError) || error instanceof DataError || error instanceof UsageError)
      throw error;
    const cause = error.cause ?? error;
    throw new UsageError(`cannot save weights to ${path}: ${reason(cause)}`, { cause });
  }
}

/** The network of a file's weights, or a function that creates it from the file's metadata. */
export type WantedNetwork = Network | ((info: ModelInfo | undefined) => Network);

/** The weights in an open file, in the order of their network. */
export interface WeightFile extends WeightSource, OpenFile {
  /** Absent if the file has no metadata of ours. */
  readonly info?: ModelInfo;
}

/**
 * Opens a safetensors file or checkpoint. Values are read only if names and shapes fit the network; those of a
 * checkpoint are then read once to check them. Close the file after use, or declare it with `await using`.
 * @throws DataError if the file cannot be read or does not fit; so does reading its values.
 */
export function openWeights(
  path: string,
  wanted: WantedNetwork,
  { signal }: ReadOptions = {},
): Promise<WeightFile> {
  return openTensors(checkPath('openWeights: the file', path), async (file) => {
    const header = await readBeginning(file);
    const training = new Set(header.isCheckpoint ? trainingNames(header.metadata) : []);
    const info = infoIn(header.metadata);
    const network = typeof wanted === 'function' ? wanted(info) : wanted;
    checkNetwork('openWeights', network);
    const entries = header.entries.filter(({ name }) => !training.has(name));
    const found = new Map(entries.map(({ name, shape }) => [name, shape]));
    const shapes = fittingShapes(network, found, info);
    if (header.isCheckpoint) await checkChecksum(file, signal);
    return { ...tensorsIn(file, header, shapes), ...(info && { info }) };
  });
}

/** `checkWeightShapes`; if the file is for images of another size, the error says so. */
function fittingShapes(
  network: Network,
  found: ReadonlyMap<string, Shape>,
  info: ModelInfo | undefined,
): ReadonlyMap<string, Shape> {
  try {
    return checkWeightShapes(network, found);
  } catch (error) {
    if (!(error instanceof DataError) || !info?.input || info.input.join() === network.input.join())
      throw error;
    const cause = `the file is for images of ${info.input.join('×')}`;
    throw new DataError(`${error.message}; ${cause}`, { cause: error });
  }
}

/** Reads the metadata of a weight file or checkpoint, not its values. @throws DataError */
export async function readInfo(path: string): Promise<ModelInfo | undefined> {
  await using file = await openTensors(path, async (parts) => ({
    info: infoIn((await readBeginning(parts)).metadata),
  }));
  return file.info;
}
