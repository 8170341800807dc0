/**
 * A folder of files, such as a run's: on disk (`disk.ts`), or in a browser's private files (`browser/opfs.ts`). Code that
 * reads and writes runs uses this interface, so that both have the same files. And JSON files in such a folder.
 */
import type * as z from 'zod';
import { check } from '../check.ts';
import { DataError, VggError } from '../errors.ts';
import { parseJson } from '../json.ts';
import type { OpenParts, PartReader, PartWriter } from './parts.ts';
import { cannotRead, isMissing } from './problems.ts';

/** A file that grows only by complete writes. */
export interface AppendFile {
  /**
   * Appends all of `content`.
   * @throws VggError if it cannot be written; the file then keeps its previous length.
   */
  readonly append: (content: string | Uint8Array) => Promise<void>;
  /** Syncs appended data to the disk. */
  readonly sync: () => Promise<void>;
  readonly close: () => Promise<void>;
}

/** Its methods take names of files in the folder. Errors name the file; `isMissing` recognizes that there is none. */
export interface Folder {
  /** As messages name it. */
  readonly path: string;
  /** A file's path, as messages name it. */
  readonly pathOf: (name: string) => string;
  readonly names: () => Promise<readonly string[]>;
  /** Opens a file for reading. @throws DataError */
  readonly open: (name: string) => Promise<OpenParts>;
  /**
   * Writes a file completely or not at all.
   * @throws VggError, or what `body` throws; the old file is then unchanged.
   */
  readonly write: (name: string, body: (file: PartWriter) => Promise<void>) => Promise<void>;
  /** The same, and once the new file is complete, what was there is kept as `previous`. */
  readonly replace: (
    name: string,
    previous: string,
    body: (file: PartWriter) => Promise<void>,
  ) => Promise<void>;
  /** Opens a file for appending and creates it if missing. @throws VggError */
  readonly append: (name: string) => Promise<AppendFile>;
  /** Does nothing if there is no such file. */
  readonly remove: (name: string) => Promise<void>;
}

/** Reads a file. @throws DataError if it is longer than `most` bytes. */
export async function readParts(file: PartReader, most: number): Promise<Uint8Array<ArrayBuffer>> {
  if (file.size > most)
    throw new DataError(`${file.path} has ${file.size} bytes, above the limit of ${most}`);
  try {
    const bytes = new Uint8Array(file.size);
    return bytes.subarray(0, await file.read(bytes, 0));
  } catch (error) {
    throw cannotRead(file.path, error);
  }
}

/** Reads a file of a folder. @throws DataError if it cannot be read or is longer than `most` bytes. */
export async function readWholeIn(
  folder: Folder,
  name: string,
  most: number,
): Promise<Uint8Array<ArrayBuffer>> {
  const file = await folder.open(name);
  try {
    return await readParts(file, most);
  } finally {
    await file.close();
  }
}

export const writeWholeIn = (folder: Folder, name: string, content: string | Uint8Array): Promise<void> =>
  folder.write(name, ({ append }) =>
    append(typeof content === 'string' ? new TextEncoder().encode(content) : content),
  );

/** The most bytes of a JSON file, for reading and writing. */
export const mostJson: number = 1 << 20;

/** What a JSON file of a run holds, in UTF-8. @throws DataError that names the file. */
export function jsonIn(path: string, bytes: Uint8Array): unknown {
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (error) {
    throw new DataError(`${path} is damaged: it is not UTF-8`, { cause: error });
  }
  const { value, problem } = parseJson(text);
  if (problem !== undefined) throw new DataError(`${path} is damaged: it ${problem}`);
  return value;
}

/** @throws DataError that names the file, the key, its value, the rule and the way out. */
export function checkedJson<T>(path: string, value: unknown, schema: z.ZodType<T>): T {
  const checked = check(schema, value);
  if (!checked.problems) return checked.value;
  throw new DataError(`${path} is damaged: ${checked.problems.join('; ')}; correct it, or restore a backup`);
}

/** Indented JSON with a final newline. @throws VggError if `jsonIn` would reject it. */
export function jsonBytes(path: string, value: unknown): Uint8Array {
  const bytes = new TextEncoder().encode(`${JSON.stringify(value, null, 2)}\n`);
  if (bytes.length <= mostJson) return bytes;
  throw new VggError(
    `${path} cannot be written: its ${bytes.length} bytes are above the limit of ${mostJson}`,
  );
}

export const readJsonIn = async (folder: Folder, name: string): Promise<unknown> =>
  jsonIn(folder.pathOf(name), await readWholeIn(folder, name, mostJson));

/** Undefined if the file is missing. @throws DataError if it is damaged. */
export async function readOptionalIn<T>(
  folder: Folder,
  name: string,
  schema: z.ZodType<T>,
): Promise<T | undefined> {
  return optional(readJsonIn(folder, name).then((value) => checkedJson(folder.pathOf(name), value, schema)));
}

export const writeJsonIn = (folder: Folder, name: string, value: unknown): Promise<void> =>
  writeWholeIn(folder, name, jsonBytes(folder.pathOf(name), value));

/** Undefined if the file is missing. */
export async function optional<T>(reading: Promise<T>): Promise<T | undefined> {
  try {
    return await reading;
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
}
