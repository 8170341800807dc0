/**
 * Weight files on disk (Node only). A file appears whole or not at all: it is written under a temporary name beside
 * its own, forced to the disk, and then renamed.
 */
import { open, readFile, rename, rm } from 'node:fs/promises';
import { DataError, UsageError } from '../errors.ts';
import type { Network, Weights } from './layer.ts';
import { checkWeights, readSafetensors, writeSafetensors } from './safetensors.ts';

/** Writes a safetensors file. @throws UsageError where `path` cannot be written. */
export async function saveWeights(
  path: string,
  weights: Weights,
  metadata: Readonly<Record<string, string>> = {},
): Promise<void> {
  const temporary = `${path}.${process.pid}.tmp`;
  try {
    const file = await open(temporary, 'w');
    try {
      await file.writeFile(writeSafetensors(weights, metadata));
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw new UsageError(`weights cannot be saved to ${path}: ${reason(error)}`, { cause: error });
  }
}

/** The weights of `network` from a safetensors file. @throws DataError where it cannot be read or does not fit. */
export async function loadWeights(path: string, network: Network): Promise<Weights> {
  let bytes: Uint8Array;
  try {
    bytes = await readFile(path);
  } catch (error) {
    throw new DataError(`weights cannot be read from ${path}: ${reason(error)}`, { cause: error });
  }
  try {
    return checkWeights(network, readSafetensors(bytes).tensors);
  } catch (error) {
    throw error instanceof DataError ? new DataError(`${path}: ${error.message}`, { cause: error }) : error;
  }
}

function reason(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException;
  if (code === 'ENOENT') return 'no such file or folder';
  if (code === 'EACCES' || code === 'EPERM' || code === 'EROFS') return 'no permission';
  if (code === 'EISDIR') return 'it is a folder';
  return message;
}
