/**
 * Files that survive an end at any moment (Node only). `writeWhole` leaves the old file or the new one, never a part;
 * an `AppendFile` ends where its last complete write ended. Both hold for a killed process and for a full disk.
 * A path may name anything: only regular files are read or written, and a FIFO or a device never blocks.
 */
import { randomBytes } from 'node:crypto';
import {
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  openSync,
  readlinkSync,
  readSync,
  type Stats,
  statSync,
} from 'node:fs';
import { type FileHandle, open, readdir, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type * as z from 'zod';
import { check } from '../check.ts';
import { DataError, reason, VggError } from '../errors.ts';
import { parseJson } from '../json.ts';

const temporaryName = /\.[0-9a-f]{16}\.tmp$/;

/** A name beside `path` that nothing else has, not even what a killed process left; `removeLeftovers` knows it. */
export const temporaryBeside = (path: string): string => `${path}.${randomBytes(8).toString('hex')}.tmp`;

/** What stands where a regular file belongs; its message completes `PATH cannot be read: …`. */
class NotRegular extends Error {
  readonly code = 'NOT_REGULAR';
}

/** What something is that is no regular file. */
function kindOf(stats: Stats): string {
  if (stats.isDirectory()) return 'it is a folder';
  if (stats.isFIFO()) return 'it is a pipe (FIFO), not a regular file';
  if (stats.isSocket()) return 'it is a socket, not a regular file';
  return 'it is a device, not a regular file';
}

function requireRegular(stats: Stats): void {
  if (!stats.isFile()) throw new NotRegular(kindOf(stats));
}

/** Replaces errors of `open` that hide what is wrong: a dangling link is no missing file, and no socket opens. */
function explained(path: string, error: unknown): unknown {
  const { code } = error as NodeJS.ErrnoException;
  if (code !== 'ENOENT' && code !== 'ENXIO' && code !== 'ELOOP') return error;
  try {
    if (lstatSync(path).isSymbolicLink() && code !== 'ENXIO')
      return new NotRegular(`it is a symbolic link to ${readlinkSync(path)}, which cannot be reached`);
    if (code === 'ENXIO') return new NotRegular(kindOf(statSync(path)));
  } catch {
    // Nothing more is known of it.
  }
  return error;
}

/** Without waiting for the other end of a FIFO. */
const atOnce = (flags: number): number => flags | (constants.O_NONBLOCK ?? 0);

/**
 * Opens a regular file, and nothing else: `open` alone blocks on a FIFO, even against SIGTERM.
 * @throws the system's error, or one whose message says what stands there; for `cannotRead` and `cannotWrite`.
 */
export async function openRegular(path: string, flags: number = constants.O_RDONLY): Promise<FileHandle> {
  let file: FileHandle;
  try {
    file = await open(path, atOnce(flags));
  } catch (error) {
    throw explained(path, error);
  }
  try {
    requireRegular(await file.stat());
    return file;
  } catch (error) {
    await file.close();
    throw error;
  }
}

/** The same, at once. Returns the descriptor. */
export function openRegularSync(path: string, flags: number = constants.O_RDONLY): number {
  let file: number;
  try {
    file = openSync(path, atOnce(flags), 0o666);
  } catch (error) {
    throw explained(path, error);
  }
  try {
    requireRegular(fstatSync(file));
    return file;
  } catch (error) {
    closeSync(file);
    throw error;
  }
}

/** The end of a text file, at most `most` bytes. @throws DataError where it cannot be read. */
export function readTailSync(path: string, most: number): string {
  try {
    const file = openRegularSync(path);
    try {
      const { size } = fstatSync(file);
      const bytes = Buffer.alloc(Math.min(size, most));
      return bytes.toString('utf8', 0, readSync(file, bytes, 0, bytes.length, size - bytes.length));
    } finally {
      closeSync(file);
    }
  } catch (error) {
    throw cannotRead(path, error);
  }
}

/** Refuses to copy or replace what is there but no file: a device, a FIFO, a link that leads nowhere. */
export function checkReplaceable(path: string): void {
  let stats: Stats;
  try {
    if (lstatSync(path, { throwIfNoEntry: false }) === undefined) return;
    stats = statSync(path);
  } catch (error) {
    throw explained(path, error);
  }
  requireRegular(stats);
}

/**
 * Writes a file whole or not at all: under a temporary name beside its own, forced to the disk, then renamed. Several
 * pieces stand one behind the other; they must not change before the promise is settled.
 * @throws VggError that names the path and the reason; the old file is then as it was.
 */
export async function writeWhole(
  path: string,
  content: string | Uint8Array | readonly Uint8Array[],
): Promise<void> {
  const pieces =
    typeof content === 'string'
      ? [Buffer.from(content)]
      : content instanceof Uint8Array
        ? [content]
        : content;
  const temporary = temporaryBeside(path);
  try {
    checkReplaceable(path);
    const file = await open(temporary, 'wx');
    try {
      for (const piece of pieces) await writeAll(file, piece);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => undefined);
    throw cannotWrite(path, error);
  }
  await syncFolder(dirname(path));
}

/** Makes a rename last beyond a loss of power. Not every system lets a folder be synced, and none needs it here. */
export async function syncFolder(folder: string): Promise<void> {
  try {
    const handle = await open(folder, 'r');
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
  } catch {
    // The rename is done; only its place in time is the system's own.
  }
}

/** Deletes what killed processes left of `writeWhole`. Only for the folder's one writer. Returns the names. */
export async function removeLeftovers(folder: string): Promise<readonly string[]> {
  try {
    const names = (await readdir(folder)).filter((name) => temporaryName.test(name));
    await Promise.all(names.map((name) => rm(join(folder, name), { force: true })));
    return names;
  } catch (error) {
    throw cannotWrite(folder, error);
  }
}

/** A file that grows by complete writes only. */
export interface AppendFile {
  /**
   * In one piece.
   * @throws VggError where it does not fit; the file then ends where it ended before.
   */
  readonly append: (content: string | Uint8Array) => Promise<void>;
  /** Forces what was appended to the disk. */
  readonly sync: () => Promise<void>;
  readonly close: () => Promise<void>;
}

/** Opens a file for appending, and creates it where there is none. Appends are done one after the other. */
export async function openAppend(path: string): Promise<AppendFile> {
  let file: FileHandle;
  let length: number;
  try {
    file = await openRegular(path, constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT);
    length = (await file.stat()).size;
  } catch (error) {
    throw cannotWrite(path, error);
  }
  const append = async (content: string | Uint8Array): Promise<void> => {
    const bytes = typeof content === 'string' ? Buffer.from(content) : content;
    try {
      await writeAll(file, bytes);
    } catch (error) {
      await file.truncate(length).catch(() => undefined);
      throw cannotWrite(path, error);
    }
    length += bytes.length;
  };
  let queue: Promise<void> = Promise.resolve();
  return {
    append: (content) => {
      queue = queue.catch(() => undefined).then(() => append(content));
      return queue;
    },
    sync: async () => {
      try {
        await file.sync();
      } catch (error) {
        throw cannotWrite(path, error);
      }
    },
    close: () => file.close(),
  };
}

/** A file's bytes. @throws DataError where it cannot be read or is longer than `most` bytes. */
export function readWhole(path: string, most: number): Promise<Uint8Array<ArrayBuffer>> {
  return readParts(path, (size, read) => {
    if (size > most) throw new DataError(`${path} has ${size} bytes; at most ${most} are read`);
    return read(size);
  });
}

/**
 * A file whose beginning says whether the rest is worth reading: `body` gets the size and a reader of the first bytes.
 * @throws DataError where it cannot be read.
 */
export async function readParts<T>(
  path: string,
  body: (size: number, read: (length: number) => Promise<Uint8Array<ArrayBuffer>>) => Promise<T>,
): Promise<T> {
  try {
    const file = await openRegular(path);
    try {
      const { size } = await file.stat();
      return await body(size, async (length) => {
        const bytes = new Uint8Array(Math.min(length, size));
        let at = 0;
        while (at < bytes.length) {
          // In pieces, for one call reads 2 GiB at most.
          const { bytesRead } = await file.read(bytes, at, Math.min(bytes.length - at, pieceBytes), at);
          if (bytesRead === 0) break;
          at += bytesRead;
        }
        return bytes.subarray(0, at);
      });
    } finally {
      await file.close();
    }
  } catch (error) {
    if (error instanceof VggError) throw error;
    throw cannotRead(path, error);
  }
}

/** Bytes of a JSON file, read or written. */
const mostJson = 1 << 20;

/** A JSON file of a run: small, in UTF-8. @throws DataError that names the file. */
export async function readJson(path: string): Promise<unknown> {
  const bytes = await readWhole(path, mostJson);
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

/** What a file of JSON holds. @throws DataError that names the file, the key, its value, the rule and the way out. */
export async function readChecked<T>(path: string, schema: z.ZodType<T>): Promise<T> {
  const checked = check(schema, await readJson(path));
  if (!checked.problems) return checked.value;
  throw new DataError(`${path} is damaged: ${checked.problems.join('; ')}; correct it, or put back a copy`);
}

/** Pretty, with a newline at its end. @throws VggError where `readJson` would not take it. */
export async function writeJson(path: string, value: unknown): Promise<void> {
  const bytes = Buffer.from(`${JSON.stringify(value, null, 2)}\n`);
  if (bytes.length > mostJson)
    throw new VggError(
      `${path} cannot be written: it would have ${bytes.length} bytes; at most ${mostJson} are read`,
    );
  await writeWhole(path, bytes);
}

/** Whether an error says that there is no such file. */
export function isMissing(error: unknown): boolean {
  const cause = error instanceof VggError ? error.cause : error;
  return (cause as NodeJS.ErrnoException | undefined)?.code === 'ENOENT';
}

/** An error that names its file already stays as it is. */
export const cannotWrite = (path: string, error: unknown): VggError =>
  error instanceof VggError
    ? error
    : new VggError(`${path} cannot be written: ${reason(error)}`, { cause: error });

export const cannotRead = (path: string, error: unknown): DataError =>
  error instanceof DataError
    ? error
    : new DataError(`${path} cannot be read: ${reason(error)}`, { cause: error });

/** `spawn` or `execFile` that could not start a program. */
export const cannotRun = (program: string, error: unknown): VggError =>
  new VggError(`${program} cannot be started: ${isMissing(error) ? 'no such program' : reason(error)}`, {
    cause: error,
  });

const pieceBytes = 1 << 28;

/** `write` may stop short, on a full disk for instance; the next one then says why. */
async function writeAll(file: FileHandle, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length; ) {
    at += (await file.write(bytes, at, Math.min(bytes.length - at, pieceBytes))).bytesWritten;
  }
}
