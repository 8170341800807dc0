/** Checkpoints by their paths on disk (Node only); see `checkpoint.ts`. */
import { basename, dirname } from 'node:path';
import { diskFolder } from '../files/disk.ts';
import { openParts } from '../files/files.ts';
import type { Weights } from '../model/layer.ts';
import type { ReadOptions } from '../model/tensor-files.ts';
import type { WeightSource } from '../model/weight-streams.ts';
import { checkPath } from '../paths.ts';
import {
  type Checkpoint,
  type CheckpointWeights,
  lastGoodCheckpointIn,
  lastGoodWeightsIn,
  type OpenCheckpoint,
  openCheckpointIn,
  readCheckpointIn,
  writeCheckpointIn,
} from './checkpoint.ts';

/**
 * Writes `path` and keeps the previous file as `….previous.safetensors`. The tensors must not change until it is done.
 * @throws VggError if it cannot be written; the previous checkpoint is then unchanged.
 */
export const writeCheckpoint = async (
  path: string,
  checkpoint: Checkpoint<Weights | WeightSource>,
): Promise<void> => {
  checkPath('writeCheckpoint', path);
  return writeCheckpointIn(diskFolder(dirname(path)), basename(path), checkpoint);
};

/** Opens a checkpoint; reads it once to check it. @throws DataError that names the file and the problem. */
export const openCheckpoint = (path: string, options: ReadOptions = {}): Promise<OpenCheckpoint> =>
  openCheckpointIn(openParts(path), options);

/** Reads a checkpoint to memory. @throws DataError that names the file and the problem. */
export const readCheckpoint = async (path: string, options: ReadOptions = {}): Promise<Checkpoint> =>
  readCheckpointIn(openParts(path), options);

/**
 * The newest undamaged checkpoint of `folder`; undefined if none was written yet. `onNotice` receives a line for each
 * damaged one.
 * @throws DataError if all are damaged.
 */
export const lastGoodCheckpoint = (
  folder: string,
  name: string,
  onNotice: (line: string) => void,
  options: ReadOptions = {},
): Promise<Checkpoint | undefined> => lastGoodCheckpointIn(diskFolder(folder), name, onNotice, options);

/** Reads only the weights of the checkpoint that `lastGoodCheckpoint` finds. */
export const lastGoodWeights = (
  folder: string,
  name: string,
  onNotice: (line: string) => void,
  options: ReadOptions = {},
): Promise<CheckpointWeights | undefined> => lastGoodWeightsIn(diskFolder(folder), name, onNotice, options);
