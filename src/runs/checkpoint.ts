/**
 * Checkpoints (Node only): everything a training needs to resume, in one safetensors file. First the weights under
 * their own names, so that any reader of weights can read them; then the training's own tensors; in the metadata the
 * state of the loop. Equal states give equal bytes: a checkpoint holds no time, path or process.
 *
 * The checksum covers every byte except its own digits. It is at a fixed place at the front of the header, so that it
 * is checked before anything is parsed. CRC-32 detects accidental damage, at 4 GB/s on one core.
 *
 * A checkpoint replaces the previous one, which is kept as `NAME.previous.safetensors`. One of the two is always whole,
 * even if the newer one was damaged before it was replaced.
 */
import { copyFile, link, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import * as z from 'zod';
import { check } from '../check.ts';
import { DamagedRunError, DataError } from '../errors.ts';
import {
  cannotWrite,
  checkReplaceable,
  isMissing,
  readParts,
  temporaryBeside,
  writeWhole,
} from '../files/files.ts';
import { parseJson } from '../json.ts';
import type { ModelInfo } from '../model/info.ts';
import { formatInfo, infoIn, infoKey } from '../model/info-text.ts';
import type { Weight, Weights } from '../model/layer.ts';
import {
  headerBytes,
  readHeader,
  readSafetensors,
  type SafetensorsHeader,
  safetensorsPieces,
} from '../model/safetensors.ts';
import type { LoopState } from '../train/loop-state.ts';

export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

export interface Checkpoint {
  readonly weights: Weights;
  /** Tensors of the optimizer, averages, …; the caller chooses names that no weight has. */
  readonly training: Weights;
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
  finished: z.boolean(),
});
const stateSchema = z.object({
  loop: loopSchema,
  extra: z.record(z.string(), z.json()).optional(),
  /** Names of the tensors that are not weights. */
  training: z.array(z.string()),
});

const format = 'vggnet checkpoint 1';
const digits = 8;
/** Every checkpoint has this after the 8 bytes of the header's length; the checksum's digits follow. */
const front = Buffer.from(`{"__metadata__":{"format":"${format}","checksum":"crc32:`);
const checksumAt = 8 + front.length;

/** Whether a file's bytes start like a checkpoint. */
export const isCheckpoint = (bytes: Uint8Array): boolean =>
  Buffer.compare(front, bytes.subarray(8, checksumAt)) === 0;

/**
 * Writes `path` and keeps the previous file as `….previous.safetensors`. The tensors must not change until it is done.
 * @throws VggError if it cannot be written; the previous checkpoint is then unchanged.
 */
export async function writeCheckpoint(path: string, checkpoint: Checkpoint): Promise<void> {
  const pieces = checkpointPieces(checkpoint);
  const old = temporaryBeside(path);
  let kept: boolean;
  try {
    checkReplaceable(path);
    kept = await keep(path, old);
    await writeWhole(path, pieces);
    // Only now: until here, the previous one may have been the only good one.
    if (kept) await rename(old, previousOf(path));
  } catch (error) {
    await rm(old, { force: true }).catch(() => undefined);
    throw error instanceof Error && 'code' in error ? cannotWrite(path, error) : error;
  }
}

/** Reads a checkpoint. @throws DataError that names the file and the problem. */
export async function readCheckpoint(path: string): Promise<Checkpoint> {
  return readParts(path, async (size, read) => {
    try {
      if (size > mostBytes)
        throw new DataError(`its size of ${size} bytes is above the limit of ${mostBytes}`);
      // Read no more of a file that does not start like a checkpoint.
      const start = await read(checksumAt);
      if (isCheckpoint(start)) await readBeginning(size, read);
      return parseCheckpoint(isCheckpoint(start) ? await read(size) : start);
    } catch (error) {
      throw error instanceof DataError ? new DataError(`${path}: ${error.message}`, { cause: error }) : error;
    }
  });
}

/**
 * Reads only the header of a weight file, so that a file that is too large or holds no weights costs nothing.
 * @throws DataError that names the problem.
 */
export async function readBeginning(
  size: number,
  read: (length: number) => Promise<Uint8Array>,
): Promise<{ readonly header: SafetensorsHeader; readonly start: Uint8Array }> {
  const start = await read(headerBytes(await read(8), size));
  try {
    return { header: readHeader(start, size), start };
  } catch (error) {
    if (!(error instanceof DataError && isCheckpoint(start))) throw error;
    throw new DataError(`damaged or cut short: ${error.message}`, { cause: error });
  }
}

/** The most memory a training can use, plus the header. */
const mostBytes = 2 ** 32 + 2 ** 24;

/**
 * The newest undamaged checkpoint of `folder`; undefined if none was written yet. `onNotice` receives a line for each
 * damaged one.
 * @throws DataError if all are damaged.
 */
export async function lastGoodCheckpoint(
  folder: string,
  name: string,
  onNotice: (line: string) => void,
): Promise<(Checkpoint & { readonly path: string }) | undefined> {
  const path = join(folder, `${name}.safetensors`);
  const problems: string[] = [];
  for (const candidate of [path, previousOf(path)]) {
    try {
      const checkpoint = await readCheckpoint(candidate);
      for (const problem of problems) onNotice(`${problem}; resuming from ${candidate}`);
      return { ...checkpoint, path: candidate };
    } catch (error) {
      if (isMissing(error)) continue;
      if (!(error instanceof DataError)) throw error;
      problems.push(error.message);
    }
  }
  if (problems.length > 0)
    throw new DamagedRunError(`every checkpoint in ${folder} is damaged: ${problems.join('; ')}`);
  return undefined;
}

/** The bytes of a checkpoint, in pieces. */
export function checkpointPieces({ weights, training, loop, info, extra }: Checkpoint): Uint8Array[] {
  const state = checkState({ loop, extra, training: [...training.keys()] });
  for (const name of training.keys()) {
    if (weights.has(name)) throw new Error(`${name} is a weight; the training's tensor needs another name`);
  }
  const metadata = {
    format,
    checksum: `crc32:${'0'.repeat(digits)}`,
    ...(info && { [infoKey]: formatInfo(info) }),
    state: JSON.stringify(sortKeys(state)),
  };
  const pieces = safetensorsPieces(new Map([...weights, ...training]), metadata);
  pieces[0]!.set(Buffer.from(checksumOf(pieces)), checksumAt);
  return pieces;
}

/** @throws DataError that names the problem. */
export function parseCheckpoint(bytes: Uint8Array): Checkpoint {
  if (!isCheckpoint(bytes))
    throw new DataError('not a checkpoint: its first bytes are different, or it is cut short');
  const end = checksumAt + digits;
  const found = Buffer.from(bytes.subarray(checksumAt, end)).toString('latin1');
  const expected = checksumOf([bytes.subarray(0, checksumAt), zeros, bytes.subarray(end)]);
  if (found !== expected) {
    throw new DataError(
      `damaged or cut short: its checksum is ${expected}, but it stores ${JSON.stringify(found)}`,
    );
  }
  const { tensors, metadata } = readSafetensors(bytes);
  const info = infoIn(metadata);
  const { loop, extra, training } = stateIn(metadata);
  const own = new Set(training);
  const weights = new Map([...tensors].filter(([name]) => !own.has(name)));
  const others = training.map((name): [string, Weight] => {
    const tensor = tensors.get(name);
    if (tensor === undefined) throw new DataError(`its tensor ${JSON.stringify(name)} is missing`);
    return [name, tensor];
  });
  return { weights, training: new Map(others), loop, ...(info && { info }), ...(extra && { extra }) };
}

const zeros = Buffer.from('0'.repeat(digits));

/** The checksum of a file whose checksum digits are zeros. */
function checksumOf(pieces: readonly Uint8Array[]): string {
  let sum = 0;
  for (const piece of pieces) sum = crc32(piece, sum);
  return sum.toString(16).padStart(digits, '0');
}

const previousOf = (path: string): string => path.replace(/(?:\.safetensors)?$/, '.previous.safetensors');

/** Links the file `path` to `to`, or copies it on a file system without links. False if `path` does not exist. */
async function keep(path: string, to: string): Promise<boolean> {
  try {
    await link(path, to).catch(() => copyFile(path, to));
    return true;
  } catch (error) {
    if (isMissing(error)) return false;
    throw error;
  }
}

/** Checks an untrusted state. @throws DataError that names key, value and rule. */
function checkState(input: unknown): z.infer<typeof stateSchema> & { readonly loop: LoopState } {
  const checked = check(stateSchema, input);
  if (!checked.problems) return checked.value;
  throw new DataError(`its training state is invalid: ${checked.problems.join('; ')}`);
}

function stateIn({ state = '' }: Readonly<Record<string, string>>): ReturnType<typeof checkState> {
  const { value, problem } = parseJson(state);
  if (problem !== undefined) throw new DataError(`its state ${problem}`);
  return checkState(value);
}

/** Names of a checkpoint's tensors that are not weights. @throws DataError if its state is invalid. */
export const trainingNames = (metadata: Readonly<Record<string, string>>): readonly string[] =>
  stateIn(metadata).training;

/** Sorts the keys of objects by code units, so that equal values give equal JSON. */
function sortKeys(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sortKeys);
  if (typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return Object.fromEntries(entries.map(([key, item]) => [key, sortKeys(item)]));
}
