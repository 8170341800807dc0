/**
 * Checkpoints: everything a training needs to resume, in one safetensors file. First the weights under
 * their own names, so that any reader of weights can read them; then the training's own tensors; in the metadata a
 * checksum and the state of the loop. Equal states give equal bytes: a checkpoint holds no time, path or process.
 *
 * A checkpoint replaces the previous one, which is kept as `NAME.previous.safetensors`. One of the two is always whole,
 * even if the newer one was damaged before it was replaced. `checkpoint-files.ts` takes paths.
 */
import * as z from 'zod';
import { DamagedRunError, DataError } from '../errors.ts';
import type { Folder } from '../files/folder.ts';
import type { OpenParts, PartReader } from '../files/parts.ts';
import { isMissing } from '../files/problems.ts';
import type { ModelInfo } from '../model/info.ts';
import { formatInfo, infoIn, infoKey } from '../model/info-text.ts';
import type { Shape, Weights } from '../model/layer.ts';
import { headerOf } from '../model/safetensors.ts';
import {
  appendTensors,
  checkChecksum,
  checkpointMetadata,
  checkState,
  isCheckpoint,
  type OpenFile,
  openTensors,
  parsedState,
  type ReadOptions,
  readBeginning,
  tensorsIn,
} from '../model/tensor-files.ts';
import { joined, readAll, sourceOf, type WeightSource } from '../model/weight-streams.ts';
import { checkArgument } from '../options.ts';
import { type Change, changesProblem } from '../train/changes.ts';
import type { LoopState } from '../train/loop-state.ts';

export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

/** `Tensors` is `Weights` in memory, or a `WeightSource` that is read by parts. */
export interface Checkpoint<Tensors = Weights> {
  readonly weights: Tensors;
  /** Tensors of the optimizer, averages, …; the caller chooses names that no weight has. */
  readonly training: Tensors;
  readonly loop: LoopState;
  /** What is needed to use the weights. */
  readonly info?: ModelInfo;
  /** Other data of the caller, as JSON. */
  readonly extra?: Readonly<Record<string, Json>>;
}

const count = z.int().min(0);
const loopSchema = z.object({
  epoch: z.int().min(1),
  step: count,
  totalSteps: count,
  optimizerSteps: count,
  running: z.object({ lossSum: z.number(), correct: count, images: count }),
  best: z.object({ epoch: count, value: z.number() }).nullable(),
  counters: z.record(z.string(), z.number()),
  /** Absent in checkpoints of older versions, and without changes. */
  changes: z
    .custom<readonly Change[]>((value) => changesProblem(value) === undefined, 'is not a list of changes')
    .optional(),
  finished: z.boolean(),
});
const stateSchema = z.object({
  loop: loopSchema,
  extra: z.record(z.string(), z.json()).optional(),
  /** Names of the tensors that are not weights. */
  training: z.array(z.string()),
});

/**
 * Writes the file `name` and keeps the previous one as `….previous.safetensors`. The tensors must not change until it is
 * done.
 * @throws VggError if it cannot be written; the previous checkpoint is then unchanged.
 */
export async function writeCheckpointIn(
  folder: Folder,
  name: string,
  checkpoint: Checkpoint<Weights | WeightSource>,
): Promise<void> {
  const what = 'a checkpoint; make one with toCheckpoint';
  checkArgument('writeCheckpoint', 'checkpoint', checkpoint, ['weights', 'training', 'loop'], what);
  const { header, source } = encoded(checkpoint);
  await folder.replace(name, previousOf(name), (file) => appendTensors(file, header, source));
}

/** A checkpoint whose tensors stay in its open file. */
export type OpenCheckpoint = Checkpoint<WeightSource> & OpenFile;

/** Opens a checkpoint; reads it once to check it. @throws DataError that names the file and the problem. */
export function openCheckpointIn(
  opening: Promise<OpenParts>,
  { signal }: ReadOptions = {},
): Promise<OpenCheckpoint> {
  return openTensors(opening, (file) => checkpointIn(file, signal));
}

/** Reads a checkpoint to memory. @throws DataError that names the file and the problem. */
export async function readCheckpointIn(
  opening: Promise<OpenParts>,
  options: ReadOptions = {},
): Promise<Checkpoint> {
  await using file = await openCheckpointIn(opening, options);
  // Awaited here, because the file is closed at the end.
  return await inMemory(file, options);
}

async function inMemory(
  { weights, training, loop, info, extra }: OpenCheckpoint,
  { signal }: ReadOptions,
): Promise<Checkpoint> {
  return {
    weights: await readAll(weights, signal),
    training: await readAll(training, signal),
    loop,
    ...(info && { info }),
    ...(extra && { extra }),
  };
}

/** The most memory a training can use, plus the header. */
const mostBytes = 2 ** 34 + 2 ** 24;

/** The checkpoint in a file. @throws DataError that names the problem. */
export async function checkpointIn(
  file: PartReader,
  signal?: AbortSignal,
): Promise<Checkpoint<WeightSource>> {
  if (file.size > mostBytes) {
    throw new DataError(`its size of ${file.size} bytes is above the limit of ${mostBytes}`);
  }
  // Read no more of a file that does not start like a checkpoint.
  if (!(await isCheckpoint(file))) {
    throw new DataError('not a checkpoint: its first bytes are different, or it is cut short');
  }
  const header = await readBeginning(file);
  await checkChecksum(file, signal);
  const info = infoIn(header.metadata);
  const { loop, extra, training } = checkState(stateSchema, parsedState(header.metadata));
  const weights = new Map(header.entries.map(({ name, shape }) => [name, shape]));
  const others = new Map<string, Shape>();
  for (const name of training) {
    const shape = weights.get(name);
    if (shape === undefined) throw new DataError(`its tensor ${JSON.stringify(name)} is missing`);
    others.set(name, shape);
    weights.delete(name);
  }
  return {
    weights: tensorsIn(file, header, weights),
    training: tensorsIn(file, header, others),
    loop,
    ...(info && { info }),
    ...(extra && { extra }),
  };
}

/**
 * The newest undamaged checkpoint of `folder`; undefined if none was written yet. `onNotice` receives a line for each
 * damaged one.
 * @throws DataError if all are damaged.
 */
export function lastGoodCheckpointIn(
  folder: Folder,
  name: string,
  onNotice: (line: string) => void,
  options: ReadOptions = {},
): Promise<Checkpoint | undefined> {
  return lastGood(folder, name, onNotice, options, (file) => inMemory(file, options));
}

/** Weights of a checkpoint, without the rest of the training. */
export interface CheckpointWeights {
  readonly path: string;
  readonly weights: Weights;
  readonly info?: ModelInfo;
}

/** Reads only the weights of the checkpoint that `lastGoodCheckpointIn` finds. */
export function lastGoodWeightsIn(
  folder: Folder,
  name: string,
  onNotice: (line: string) => void,
  options: ReadOptions = {},
): Promise<CheckpointWeights | undefined> {
  return lastGood(folder, name, onNotice, options, async ({ weights, info }, path) => ({
    path,
    weights: await readAll(weights, options.signal),
    ...(info && { info }),
  }));
}

async function lastGood<T>(
  folder: Folder,
  name: string,
  onNotice: (line: string) => void,
  options: ReadOptions,
  read: (file: OpenCheckpoint, path: string) => Promise<T>,
): Promise<T | undefined> {
  const newest = `${name}.safetensors`;
  const problems: string[] = [];
  for (const candidate of [newest, previousOf(newest)]) {
    const path = folder.pathOf(candidate);
    try {
      await using file = await openCheckpointIn(folder.open(candidate), options);
      const found = await read(file, path);
      for (const problem of problems) onNotice(`${problem}; resuming from ${path}`);
      return found;
    } catch (error) {
      if (isMissing(error)) continue;
      if (!(error instanceof DataError)) throw error;
      problems.push(error.message);
    }
  }
  if (problems.length > 0)
    throw new DamagedRunError(`every checkpoint in ${folder.path} is damaged: ${problems.join('; ')}`);
  return undefined;
}

/** What `appendTensors` writes of a checkpoint. @throws DataError if its state is invalid. */
export function encoded({ weights, training, loop, info, extra }: Checkpoint<Weights | WeightSource>): {
  readonly header: Uint8Array;
  readonly source: WeightSource;
} {
  const [first, second] = [sourceOf(weights), sourceOf(training)];
  const state = checkState(stateSchema, { loop, extra, training: [...second.shapes.keys()] });
  for (const name of second.shapes.keys()) {
    if (first.shapes.has(name))
      throw new Error(`${name} is a weight; the training's tensor needs another name`);
  }
  const source = joined(first, second);
  const metadata = {
    ...checkpointMetadata,
    ...(info && { [infoKey]: formatInfo(info) }),
    state: JSON.stringify(sortKeys(state)),
  };
  return { header: headerOf(source.shapes, metadata), source };
}

const previousOf = (name: string): string => name.replace(/(?:\.safetensors)?$/, '.previous.safetensors');

/** Sorts the keys of objects by code units, so that equal values give equal JSON. */
function sortKeys(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sortKeys);
  if (typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return Object.fromEntries(entries.map(([key, item]) => [key, sortKeys(item)]));
}
