/** Folders with those above them (Node only). */
import { existsSync, mkdirSync, statSync } from 'node:fs';
import { dirname } from 'node:path';

/**
 * As `mkdirSync` with `recursive`, which in Node 26 never returns where the parent is there and the system says that it
 * is not, as in `/proc`.
 * @throws the system's error where a folder cannot be made.
 */
export function makeFolder(path: string, mode = 0o777): void {
  try {
    mkdirSync(path, mode);
  } catch (error) {
    if (statSync(path, { throwIfNoEntry: false })?.isDirectory()) return;
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    const parent = dirname(path);
    if (existsSync(parent)) throw new Error(`the system lets no folder be made in ${parent}`);
    makeFolder(parent, mode);
    mkdirSync(path, mode);
  }
}
