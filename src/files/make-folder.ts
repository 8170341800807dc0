/** Creates folders and their parents (Node only). */
import { mkdirSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { VggError } from '../errors.ts';
import { reason } from '../reason.ts';

/**
 * Like `mkdirSync` with `recursive`, which in Node 26 never returns if the system reports an existing parent as missing,
 * as `/proc` does. Several processes may create the same folder at once.
 * @throws VggError that names the folder and the reason.
 */
export function makeFolder(path: string, mode = 0o777): void {
  if (tryToMake(path, mode)) return;
  const parent = dirname(path);
  if (!isFolder(parent)) makeFolder(parent, mode);
  if (!tryToMake(path, mode)) throw new VggError(`cannot create a folder in ${parent}`);
}

/** Returns false if the system reports that the parent does not exist. */
function tryToMake(path: string, mode: number): boolean {
  try {
    mkdirSync(path, mode);
  } catch (error) {
    if (isFolder(path)) return true;
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
    throw new VggError(`cannot create the folder ${path}: ${reason(error)}`, { cause: error });
  }
  return true;
}

function isFolder(path: string): boolean {
  try {
    return statSync(path).isDirectory();
  } catch {
    return false;
  }
}
