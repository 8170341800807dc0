/** Weight files on disk (Node only). A file appears whole or not at all. */
import { DataError, reason, UsageError } from '../errors.ts';
import { readWhole, writeWhole } from '../files/files.ts';
import { checkPath } from '../paths.ts';
import { isCheckpoint, parseCheckpoint } from '../runs/checkpoint.ts';
import type { Network, Weights } from './layer.ts';
import { checkWeights, readSafetensors, safetensorsPieces } from './safetensors.ts';

/** Writes a safetensors file. @throws UsageError where `path` cannot be written. */
export async function saveWeights(
  path: string,
  weights: Weights,
  metadata: Readonly<Record<string, string>> = {},
): Promise<void> {
  checkPath('saveWeights: the file', path);
  try {
    await writeWhole(path, safetensorsPieces(weights, metadata));
  } catch (error) {
    const cause = (error as Error).cause ?? error;
    throw new UsageError(`weights cannot be saved to ${path}: ${reason(cause)}`, { cause });
  }
}

/**
 * The weights of `network` from a safetensors file; those of a checkpoint without the rest of the training.
 * @throws DataError where it cannot be read or does not fit.
 */
export async function loadWeights(path: string, network: Network): Promise<Weights> {
  const bytes = await readWhole(checkPath('loadWeights: the file', path), Infinity);
  try {
    const tensors = isCheckpoint(bytes) ? parseCheckpoint(bytes).weights : readSafetensors(bytes).tensors;
    return checkWeights(network, tensors);
  } catch (error) {
    throw error instanceof DataError ? new DataError(`${path}: ${error.message}`, { cause: error }) : error;
  }
}
