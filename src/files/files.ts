/**
 * Files that survive an end at any moment (Node only). `writeWhole` leaves the old file or the new one, never a part;
 * an `AppendFile` ends where its last complete write ended. Both hold for a killed process and for a full disk.
 */
import { randomBytes } from 'node:crypto';
import { type FileHandle, open, readdir, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type * as z from 'zod';
import { check } from '../check.ts';
import { DataError, VggError } from '../errors.ts';

const temporaryName = /\.[0-9a-f]{16}\.tmp$/;

/** A name beside `path` that nothing else has, not even what a killed process left; `removeLeftovers` knows it. */
export const temporaryBeside = (path: string): string => `${path}.${randomBytes(8).toString('hex')}.tmp`;

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
  const names = (await readdir(folder)).filter((name) => temporaryName.test(name));
  await Promise.all(names.map((name) => rm(join(folder, name), { force: true })));
  return names;
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
    file = await open(path, 'a');
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
export async function readWhole(path: string, most: number): Promise<Uint8Array<ArrayBuffer>> {
  try {
    const file = await open(path, 'r');
    try {
      const { size } = await file.stat();
      if (size > most) throw new DataError(`${path} has ${size} bytes; at most ${most} are read`);
      const bytes = new Uint8Array(size);
      let at = 0;
      while (at < size) {
        // In pieces, for one call reads 2 GiB at most.
        const { bytesRead } = await file.read(bytes, at, Math.min(size - at, pieceBytes), at);
        if (bytesRead === 0) break;
        at += bytesRead;
      }
      return bytes.subarray(0, at);
    } finally {
      await file.close();
    }
  } catch (error) {
    if (error instanceof DataError) throw error;
    throw cannotRead(path, error);
  }
}

/** A JSON file of a run: small, in UTF-8. @throws DataError that names the file. */
export async function readJson(path: string): Promise<unknown> {
  const bytes = await readWhole(path, 1 << 20);
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (error) {
    throw new DataError(`${path} is damaged: no JSON in UTF-8 (${(error as Error).message})`, {
      cause: error,
    });
  }
}

/** What a file of JSON holds. @throws DataError that names the file, the key, its value, the rule and the way out. */
export async function readChecked<T>(path: string, schema: z.ZodType<T>): Promise<T> {
  const checked = check(schema, await readJson(path));
  if (!checked.problems) return checked.value;
  throw new DataError(`${path} is damaged: ${checked.problems.join('; ')}; correct it, or put back a copy`);
}

/** Pretty, with a newline at its end. */
export const writeJson = (path: string, value: unknown): Promise<void> =>
  writeWhole(path, `${JSON.stringify(value, null, 2)}\n`);

/** Whether an error says that there is no such file. */
export function isMissing(error: unknown): boolean {
  const cause = error instanceof VggError ? error.cause : error;
  return (cause as NodeJS.ErrnoException | undefined)?.code === 'ENOENT';
}

/** A system error in plain words. */
export function reason(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException;
  switch (code) {
    case 'ENOENT':
      return 'no such file or folder';
    case 'EACCES':
    case 'EPERM':
      return 'no permission';
    case 'EROFS':
      return 'the file system is read-only';
    case 'ENOSPC':
      return 'no space left on the disk';
    case 'EDQUOT':
      return 'the disk quota is used up';
    case 'EFBIG':
      return 'the file system allows no file so large';
    case 'EISDIR':
      return 'it is a folder';
    case 'ENOTDIR':
      return 'a part of its path is a file, not a folder';
    case 'ENAMETOOLONG':
      return 'its name is too long';
    case 'EMFILE':
    case 'ENFILE':
      return 'too many files are open; raise the limit (ulimit -n 1024)';
    case 'EIO':
      return 'the disk reports an error';
    default:
      return message;
  }
}

export const cannotWrite = (path: string, error: unknown): VggError =>
  new VggError(`${path} cannot be written: ${reason(error)}`, { cause: error });

export const cannotRead = (path: string, error: unknown): DataError =>
  new DataError(`${path} cannot be read: ${reason(error)}`, { cause: error });

const pieceBytes = 1 << 28;

/** `write` may stop short, on a full disk for instance; the next one then says why. */
async function writeAll(file: FileHandle, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length; ) {
    at += (await file.write(bytes, at, Math.min(bytes.length - at, pieceBytes))).bytesWritten;
  }
}
