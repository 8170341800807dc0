/** Folders with those above them (Node only). */
import { mkdirSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { VggError } from '../errors.ts';

/**
 * As `mkdirSync` with `recursive`, which in Node 26 never returns where the parent is there and the system says that it
 * is not, as in `/proc`. Several processes may make the same folder at once.
 * @throws the system's error where a folder cannot be made, VggError in a place like `/proc`.
 */
export function makeFolder(path: string, mode = 0o777): void {
  if (tryToMake(path, mode)) return;
  const parent = dirname(path);
  if (!isFolder(parent)) makeFolder(parent, mode);
  if (!tryToMake(path, mode)) throw new VggError(`the system lets no folder be made in ${parent}`);
}

/** False where the system says that there is no parent. */
function tryToMake(path: string, mode: number): boolean {
  try {
    mkdirSync(path, mode);
  } catch (error) {
    if (isFolder(path)) return true;
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
    throw error;
  }
  return true;
}

const isFolder = (path: string): boolean => statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
