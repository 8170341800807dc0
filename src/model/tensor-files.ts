/**
 * Tensors in files, read and written by parts: memory does not depend on the file's size. Written
 * are safetensors files. A training's checkpoint is such a file, too. Its metadata begins with a format and a checksum, and names the tensors
 * that are not weights.
 *
 * The checksum covers every byte except its own digits. It is at a fixed place at the front of the header, so that it
 * is checked before anything is used. CRC-32 detects accidental damage, at 4 GB/s on one core.
 */
import * as z from 'zod';
import { check } from '../check.ts';
import { crc32 } from '../crc32.ts';
import { DataError, VggError } from '../errors.ts';
import type { OpenParts, PartReader, PartWriter } from '../files/parts.ts';
import { cannotRead } from '../files/problems.ts';
import { parseJson } from '../json.ts';
import { halfBytes } from './half.ts';
import type { Shape } from './layer.ts';
import { type Strided, StridedReader } from './pth/strided.ts';
import {
  bytesOf,
  bytesPerValue,
  type Dtype,
  headerBytes,
  readHeader,
  readValues,
  type SafetensorsHeader,
  sameInFile,
} from './safetensors.ts';
import { copyAll, partValues, type WeightSource } from './weight-streams.ts';

const format = 'vggnet checkpoint 1';
const digits = 8;
const noDigits = '0'.repeat(digits);
const algorithm = 'crc32:';
/** Every checkpoint has this after the 8 bytes of the header's length; the checksum's digits follow. */
const front = new TextEncoder().encode(`{"__metadata__":{"format":"${format}","checksum":"${algorithm}`);
const checksumAt = 8 + front.length;

const isFront = (bytes: Uint8Array): boolean =>
  bytes.length === front.length && front.every((byte, i) => byte === bytes[i]);

/** The first metadata of a checkpoint; `appendTensors` fills in the checksum. */
export const checkpointMetadata: Readonly<Record<string, string>> = {
  format,
  checksum: `${algorithm}${noDigits}`,
};

/** Whether a file starts like a checkpoint. */
export async function isCheckpoint(file: PartReader): Promise<boolean> {
  const start = new Uint8Array(front.length);
  return (await file.read(start, 8)) === start.length && isFront(start);
}

/** Reads everything before the values. @throws DataError that names the problem. */
export async function readBeginning(
  file: PartReader,
): Promise<SafetensorsHeader & { readonly isCheckpoint: boolean }> {
  const length = new Uint8Array(8);
  const found = await file.read(length, 0);
  const start = new Uint8Array(headerBytes(length.subarray(0, found), file.size));
  const count = await file.read(start, 0);
  const isCheckpoint = isFront(start.subarray(8, checksumAt));
  try {
    return { ...readHeader(start.subarray(0, count), file.size), isCheckpoint };
  } catch (error) {
    if (!(error instanceof DataError && isCheckpoint)) throw error;
    throw new DataError(`damaged or cut short: ${error.message}`, { cause: error });
  }
}

/** Where the values of a tensor are in a file. */
export interface PlacedTensor {
  readonly dtype: Dtype;
  /** The place of the first value, in bytes. */
  readonly begin: number;
  /** Sizes and strides, if the values are not in order. */
  readonly strided?: Strided;
  /** Is told of all bytes before they are used. @throws DataError if a checksum is wrong. */
  readonly check?: { follow(bytes: Uint8Array, position: number): Promise<void> };
}

/** Reads tensors of a safetensors file. */
export const tensorsIn = (
  file: PartReader,
  header: SafetensorsHeader,
  shapes: ReadonlyMap<string, Shape>,
): WeightSource => tensorsAt(file, placesIn(header), shapes);

/** Where the tensors of a safetensors file are. */
export const placesIn = ({ entries, dataStart }: SafetensorsHeader): ReadonlyMap<string, PlacedTensor> =>
  new Map(entries.map(({ name, dtype, begin }) => [name, { dtype, begin: dataStart + begin }]));

/** Reads tensors at any place of a file. Reads may overlap; they run one after the other. */
export function tensorsAt(
  file: PartReader,
  places: ReadonlyMap<string, PlacedTensor>,
  shapes: ReadonlyMap<string, Shape>,
): WeightSource {
  let buffer = new Uint8Array(0);
  const readRun = async (place: PlacedTensor, from: number, into: Float32Array): Promise<void> => {
    const { dtype, begin, check } = place;
    const size = bytesPerValue[dtype];
    for (let at = 0; at < into.length; at += partValues) {
      const values = into.subarray(at, at + partValues);
      const length = values.length * size;
      const isCopy = sameInFile(dtype);
      if (!isCopy && buffer.length < length) buffer = new Uint8Array(length);
      const bytes = isCopy ? bytesOf(values) : buffer.subarray(0, length);
      const position = begin + (from + at) * size;
      if ((await file.read(bytes, position)) < bytes.length)
        throw new DataError('it was cut short while it was read');
      await check?.follow(bytes, position);
      if (!isCopy) readValues(bytes, dtype, values);
    }
  };
  // A reader keeps a block of its tensor, so there is only one.
  let strided: { readonly name: string; readonly reader: StridedReader } | undefined;
  const read = (name: string, from: number, into: Float32Array): Promise<void> => {
    const place = places.get(name)!;
    if (!place.strided) return readRun(place, from, into);
    if (strided?.name !== name)
      strided = { name, reader: new StridedReader(place.strided, (...run) => readRun(place, ...run)) };
    return strided.reader.read(from, into);
  };
  let last: Promise<void> = Promise.resolve();
  return {
    shapes,
    read: (name, from, into) => {
      last = last.catch(() => undefined).then(() => naming(file.path, () => read(name, from, into)));
      return last;
    },
  };
}

/**
 * Writes a file: its header, then the values of `source` in the header's order, which says whether they are halves.
 * Fills in a checkpoint's checksum.
 */
export async function appendTensors(
  file: PartWriter,
  header: Uint8Array,
  source: WeightSource,
  half = false,
): Promise<void> {
  const hasChecksum = isFront(header.subarray(8, checksumAt));
  let sum = 0;
  const append = async (bytes: Uint8Array): Promise<void> => {
    if (hasChecksum) sum = crc32(bytes, sum);
    await file.append(bytes);
  };
  await append(header);
  await copyAll(source, {
    write: (name, values) => append(half ? halfBytes(name, values) : bytesOf(values)),
  });
  if (hasChecksum) await file.overwrite(new TextEncoder().encode(digitsOf(sum)), checksumAt);
}

const digitsOf = (sum: number): string => sum.toString(16).padStart(digits, '0');

/** Checks a checkpoint's checksum. @throws DataError if it is wrong. */
export async function checkChecksum(file: PartReader, signal?: AbortSignal): Promise<void> {
  const part = new Uint8Array(Math.min(4 * partValues, file.size));
  let found = '';
  let sum = 0;
  for (let at = 0; at < file.size; at += part.length) {
    signal?.throwIfAborted();
    const bytes = part.subarray(0, await file.read(part, at));
    if (at === 0) {
      const own = bytes.subarray(checksumAt, checksumAt + digits);
      found = String.fromCharCode(...own);
      own.fill('0'.charCodeAt(0));
    }
    // By parts, because crc32 takes the length modulo 4 GiB.
    sum = crc32(bytes, sum);
  }
  const expected = digitsOf(sum);
  if (found === expected) return;
  throw new DataError(
    `damaged or cut short: its checksum is ${expected}, but it stores ${JSON.stringify(found)}`,
  );
}

const trainingSchema = z.object({ training: z.array(z.string()) });

/** The names of a checkpoint's tensors that are not weights. @throws DataError if its state is invalid. */
export function trainingNames(metadata: Readonly<Record<string, string>>): readonly string[] {
  return checkState(trainingSchema, parsedState(metadata)).training;
}

/** The state of a checkpoint as JSON. @throws DataError */
export function parsedState({ state = '' }: Readonly<Record<string, string>>): unknown {
  const { value, problem } = parseJson(state);
  if (problem !== undefined) throw new DataError(`its state ${problem}`);
  return value;
}

/** Checks an untrusted state. @throws DataError that names key, value and rule. */
export function checkState<T>(schema: z.ZodType<T>, input: unknown): T {
  const checked = check(schema, input);
  if (!checked.problems) return checked.value;
  throw new DataError(`its training state is invalid: ${checked.problems.join('; ')}`);
}

export interface ReadOptions {
  /** Cancels reading. */
  readonly signal?: AbortSignal | undefined;
}

export interface OpenFile extends AsyncDisposable {
  readonly close: () => Promise<void>;
}

/** Opens a file for what `body` finds in it, which may read it until it is closed. Errors about the file name it. */
export async function openTensors<T>(
  opening: Promise<OpenParts>,
  body: (file: PartReader) => Promise<T>,
): Promise<T & OpenFile> {
  const file = await opening;
  try {
    const found = await naming(file.path, () => body(file));
    return { ...found, close: file.close, [Symbol.asyncDispose]: file.close };
  } catch (error) {
    await file.close();
    throw error;
  }
}

async function naming<T>(path: string, read: () => Promise<T>): Promise<T> {
  try {
    return await read();
  } catch (error) {
    if (error instanceof DataError) throw new DataError(`${path}: ${error.message}`, { cause: error });
    if (error instanceof VggError) throw error;
    const ofSystem = typeof (error as { readonly code?: unknown }).code === 'string';
    throw ofSystem ? cannotRead(path, error) : error;
  }
}
