/** Opens regular files only (Node only). It loads little, for workers that read many files. */
import {
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  openSync,
  readlinkSync,
  type Stats,
  statSync,
} from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';

/** Something other than a regular file was found; its message completes `PATH cannot be read: …`. */
class NotRegular extends Error {
  readonly code = 'NOT_REGULAR';
}

/** Describes a path that is not a regular file. */
function kindOf(stats: Stats): string {
  if (stats.isDirectory()) return 'it is a folder';
  if (stats.isFIFO()) return 'it is a pipe (FIFO), not a regular file';
  if (stats.isSocket()) return 'it is a socket, not a regular file';
  return 'it is a device, not a regular file';
}

export function requireRegular(stats: Stats): void {
  if (!stats.isFile()) throw new NotRegular(kindOf(stats));
}

/** Replaces misleading errors of `open`: ENOENT for a dangling symbolic link, ENXIO for a socket. */
export function explained(path: string, error: unknown): unknown {
  const { code } = error as NodeJS.ErrnoException;
  if (code !== 'ENOENT' && code !== 'ENXIO' && code !== 'ELOOP') return error;
  try {
    if (lstatSync(path).isSymbolicLink() && code !== 'ENXIO')
      return new NotRegular(`it is a symbolic link to ${readlinkSync(path)}, which cannot be reached`);
    if (code === 'ENXIO') return new NotRegular(kindOf(statSync(path)));
  } catch {
    // Keep the original error.
  }
  return error;
}

/** Adds the flag that avoids waiting for the other end of a FIFO. */
const atOnce = (flags: number): number => flags | (constants.O_NONBLOCK ?? 0);

/**
 * Opens a file and requires it to be a regular one. Plain `open` blocks on a FIFO, even against SIGTERM.
 * @throws the system's error, or one that says what kind of file it is; pass it to `cannotRead` or `cannotWrite`.
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

/** Synchronous `openRegular`. Returns the descriptor. */
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
