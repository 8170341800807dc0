/** Weight files on disk (Node only). Files are written completely or not at all, with metadata about their weights. */
import { DataError, UsageError, VggError } from '../errors.ts';
import { openParts, writeParts } from '../files/files.ts';
import { checkPath } from '../paths.ts';
import { reason } from '../reason.ts';
import type { ModelInfo } from './info.ts';
import { formatInfo, infoKey } from './info-text.ts';
import type { Weights } from './layer.ts';
import {
  type Contents,
  type FileFormat,
  type OpenWeightsOptions,
  openAllWeightsIn,
  openWeightsIn,
  readInfoIn,
  readShapesIn,
  type WantedNetwork,
  type WeightFile,
} from './open-weights.ts';
import { headerOf } from './safetensors.ts';
import { appendTensors, type OpenFile } from './tensor-files.ts';
import { sourceOf, type WeightSource } from './weight-streams.ts';

export type { FileFormat, OpenWeightsOptions, WantedNetwork, WeightFile };

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

/**
 * Opens a safetensors file, a checkpoint, or a file of PyTorch's `torch.save`; its content decides which. Values are
 * read only if names and shapes fit the network. Checksums are checked before values are used, but those of zip archives
 * as a tensor is read: a wrong one shows with its last values. Close the file after use, or declare it with `await using`.
 * @throws DataError if the file cannot be read or does not fit; so does reading its values.
 */
export function openWeights(
  path: string,
  wanted: WantedNetwork,
  options: OpenWeightsOptions = {},
): Promise<WeightFile> {
  return openWeightsIn(() => openParts(checkPath('openWeights: the file', path)), wanted, options);
}

/** A weight file for all of its values. @throws DataError as `openWeights` */
export const openAllWeights = (
  path: string,
  options: Pick<OpenWeightsOptions, 'key' | 'signal'> = {},
): Promise<WeightSource & OpenFile> => openAllWeightsIn(openParts(path), options);

/**
 * Reads a file's format, its tensors' shapes and its metadata, not its values.
 * @throws DataError if the file cannot be read.
 */
export const readShapes = (
  path: string,
  options: Pick<OpenWeightsOptions, 'key'> = {},
): Promise<Pick<Contents, 'format' | 'shapes' | 'info'>> => readShapesIn(openParts(path), options);

/** Reads the metadata of a weight file or checkpoint, not its values; files of PyTorch have none. @throws DataError */
export const readInfo = (path: string): Promise<ModelInfo | undefined> => readInfoIn(openParts(path));
