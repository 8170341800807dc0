/**
 * Crash-safe files (Node only). `writeParts` leaves the old file or the new one, never a part; an `AppendFile` ends
 * after its last complete write. Both hold for a killed process and a full disk. Only regular files are read or
 * written, and a FIFO or a device never blocks.
 */
import { randomBytes } from 'node:crypto';
import { closeSync, constants, fstatSync, lstatSync, readSync, type Stats, statSync } from 'node:fs';
import { type FileHandle, open, readdir, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type * as z from 'zod';
import { VggError } from '../errors.ts';
import { reason } from '../reason.ts';
import { type AppendFile, checkedJson, jsonBytes, jsonIn, mostJson, readParts } from './folder.ts';
import type { OpenParts, PartWriter } from './parts.ts';
import { cannotRead, cannotWrite, isMissing } from './problems.ts';
import { explained, openRegular, openRegularSync, requireRegular } from './regular.ts';

export { type AppendFile, cannotRead, cannotWrite, isMissing, openRegular, openRegularSync };

const temporaryName = /\.[0-9a-f]{16}\.tmp$/;

/** A unique temporary name next to `path`; `removeLeftovers` recognizes it. */
export const temporaryBeside = (path: string): string => `${path}.${randomBytes(8).toString('hex')}.tmp`;

/** Reads the last bytes of a text file, at most `most`. @throws DataError if it cannot be read. */
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

/** Rejects a path that exists but is not a regular file: a device, a FIFO, a dangling link. */
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

/** Runs a step of writing `path`: its error names the path and the reason. */
export async function writing<T>(path: string, step: () => T | Promise<T>): Promise<T> {
  try {
    return await step();
  } catch (error) {
    throw cannotWrite(path, error);
  }
}

/**
 * Writes a file completely or not at all: `body` writes a temporary file, which is synced, then renamed.
 * @throws VggError that names the path and the reason, or what `body` throws; the old file is then unchanged.
 */
export async function writeParts(path: string, body: (file: PartWriter) => Promise<void>): Promise<void> {
  const temporary = temporaryBeside(path);
  await writing(path, () => checkReplaceable(path));
  const file = await writing(path, () => open(temporary, 'wx'));
  let end = 0;
  try {
    try {
      await body({
        append: async (bytes) => {
          await writing(path, () => writeAll(file, bytes, end));
          end += bytes.length;
        },
        overwrite: (bytes, position) => writing(path, () => writeAll(file, bytes, position)),
      });
      await writing(path, () => file.sync());
    } finally {
      await writing(path, () => file.close());
    }
    await writing(path, () => rename(temporary, path));
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => undefined);
    throw error;
  }
  await syncFolder(dirname(path));
}

/** Writes a file completely or not at all. @throws VggError that names the path and the reason. */
export function writeWhole(path: string, content: string | Uint8Array): Promise<void> {
  return writeParts(path, ({ append }) =>
    append(typeof content === 'string' ? Buffer.from(content) : content),
  );
}

/** Syncs a folder so that a rename survives a power loss. Systems that cannot sync folders are ignored. */
export async function syncFolder(folder: string): Promise<void> {
  try {
    const handle = await open(folder, 'r');
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
  } catch {
    // The rename has happened; only when it reaches the disk is unknown.
  }
}

/** Deletes temporary files of killed processes; returns their names. Call it only as the folder's only writer. */
export async function removeLeftovers(folder: string): Promise<readonly string[]> {
  try {
    const names = (await readdir(folder)).filter((name) => temporaryName.test(name));
    await Promise.all(names.map((name) => rm(join(folder, name), { force: true })));
    return names;
  } catch (error) {
    throw cannotWrite(folder, error);
  }
}

/** Opens a file for appending and creates it if missing. Appends run one after another. */
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

/** Files that are open: Node ends the process if it collects one that its caller forgot to close. */
const openHandles = new Set<FileHandle>();

/** Opens a file of any size. @throws DataError if it cannot be read. */
export async function openParts(path: string): Promise<OpenParts> {
  try {
    const file = await openRegular(path);
    openHandles.add(file);
    const { size } = await file.stat();
    return {
      path,
      size,
      read: async (into, position) => {
        let at = 0;
        while (at < into.length) {
          const count = Math.min(into.length - at, pieceBytes);
          const { bytesRead } = await file.read(into, at, count, position + at);
          if (bytesRead === 0) break;
          at += bytesRead;
        }
        return at;
      },
      close: () => {
        openHandles.delete(file);
        return file.close();
      },
    };
  } catch (error) {
    throw cannotRead(path, error);
  }
}

/** Reads a file. @throws DataError if it cannot be read or is longer than `most` bytes. */
export async function readWhole(path: string, most: number): Promise<Uint8Array<ArrayBuffer>> {
  const file = await openParts(path);
  try {
    return await readParts(file, most);
  } finally {
    await file.close();
  }
}

/** Reads a JSON file of a run, in UTF-8. @throws DataError that names the file. */
export const readJson = async (path: string): Promise<unknown> =>
  jsonIn(path, await readWhole(path, mostJson));

/** Reads a JSON file and checks it. @throws DataError that names the file, the key, its value, the rule and the way out. */
export const readChecked = async <T>(path: string, schema: z.ZodType<T>): Promise<T> =>
  checkedJson(path, await readJson(path), schema);

/** Writes indented JSON with a final newline. @throws VggError if `readJson` would reject it. */
export const writeJson = async (path: string, value: unknown): Promise<void> =>
  writeWhole(path, jsonBytes(path, value));

/** Whether there is such a file or folder. @throws DataError if the system does not tell, which is not a "no". */
export function isThere(path: string): boolean {
  try {
    statSync(path);
    return true;
  } catch (error) {
    if (leadsNowhere(error)) return false;
    throw cannotRead(path, error);
  }
}

/** Whether an error says that nothing is at a path: also below a file, and where links lead in a circle. */
export const leadsNowhere = (error: unknown): boolean =>
  ['ENOENT', 'ENOTDIR', 'ELOOP'].includes((error as NodeJS.ErrnoException).code!);

/** The error for a program that `spawn` or `execFile` could not start. */
export const cannotRun = (program: string, error: unknown): VggError =>
  new VggError(`${program} cannot be started: ${isMissing(error) ? 'program not found' : reason(error)}`, {
    cause: error,
  });

/** The most bytes of one call; the system's limit is 2 GiB. */
const pieceBytes = 1 << 28;

/**
 * Writes all of `bytes`, at the end of the file if there is no `position`. One call may write less than asked, for
 * example on a full disk; the next one then reports why.
 */
async function writeAll(file: FileHandle, bytes: Uint8Array, position?: number): Promise<void> {
  for (let at = 0; at < bytes.length; ) {
    const count = Math.min(bytes.length - at, pieceBytes);
    const place = position === undefined ? null : position + at;
    at += (await file.write(bytes, at, count, place)).bytesWritten;
  }
}
