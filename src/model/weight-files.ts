/** Weight files on disk (Node only). Files are written completely or not at all, with metadata about their weights. */
import { DataError, reason, UsageError } from '../errors.ts';
import { readParts, writeWhole } from '../files/files.ts';
import { checkPath } from '../paths.ts';
import { isCheckpoint, parseCheckpoint, readBeginning, trainingNames } from '../runs/checkpoint.ts';
import type { ModelInfo } from './info.ts';
import { formatInfo, infoIn, infoKey } from './info-text.ts';
import type { Network, Weights } from './layer.ts';
import { checkWeightShapes, checkWeights, readSafetensors, safetensorsPieces } from './safetensors.ts';

/** Writes a safetensors file. @throws UsageError if `path` cannot be written. */
export async function saveWeights(path: string, weights: Weights, info?: ModelInfo): Promise<void> {
  checkPath('saveWeights: the file', path);
  const pieces = safetensorsPieces(weights, info ? { [infoKey]: formatInfo(info) } : {});
  try {
    await writeWhole(path, pieces);
  } catch (error) {
    const cause = (error as Error).cause ?? error;
    throw new UsageError(`cannot save weights to ${path}: ${reason(cause)}`, { cause });
  }
}

export interface LoadedWeights {
  readonly weights: Weights;
  /** Absent if the file has no metadata of ours. */
  readonly info?: ModelInfo;
}

/**
 * Reads the weights of `network` from a safetensors file or checkpoint. Values are read only if names and shapes fit
 * the network.
 * @throws DataError if the file cannot be read or does not fit.
 */
export function loadWeights(path: string, network: Network): Promise<LoadedWeights>;
/** The same for the network that `networkOf` creates from the file's metadata. */
export function loadWeights(
  path: string,
  networkOf: (info: ModelInfo | undefined) => Network,
): Promise<LoadedWeights>;
export function loadWeights(
  path: string,
  wanted: Network | ((info: ModelInfo | undefined) => Network),
): Promise<LoadedWeights> {
  return inFile(checkPath('loadWeights: the file', path), async (size, read) => {
    const { header, start } = await readBeginning(size, read);
    const checkpoint = isCheckpoint(start);
    const training = new Set(checkpoint ? trainingNames(header.metadata) : []);
    const info = infoIn(header.metadata);
    const network = typeof wanted === 'function' ? wanted(info) : wanted;
    const entries = header.entries.filter(({ name }) => !training.has(name));
    checkWeightShapes(network, new Map(entries.map((entry) => [entry.name, entry])));
    const bytes = await read(size);
    const tensors = checkpoint ? parseCheckpoint(bytes).weights : readSafetensors(bytes).tensors;
    return { weights: checkWeights(network, tensors), ...(info && { info }) };
  });
}

/** Reads the metadata of a weight file or checkpoint, not its values. @throws DataError */
export const readInfo = (path: string): Promise<ModelInfo | undefined> =>
  inFile(path, async (size, read) => infoIn((await readBeginning(size, read)).header.metadata));

type Read = Parameters<Parameters<typeof readParts>[1]>[1];

async function inFile<T>(path: string, body: (size: number, read: Read) => Promise<T>): Promise<T> {
  return readParts(path, async (size, read) => {
    try {
      return await body(size, read);
    } catch (error) {
      throw error instanceof DataError ? new DataError(`${path}: ${error.message}`, { cause: error }) : error;
    }
  });
}
