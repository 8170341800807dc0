/** A folder on disk (Node only). */
import { copyFile, link, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import {
  cannotRead,
  checkReplaceable,
  isMissing,
  openAppend,
  openParts,
  temporaryBeside,
  writeParts,
  writing,
} from './files.ts';
import type { Folder } from './folder.ts';

export function diskFolder(path: string): Folder {
  const pathOf = (name: string): string => join(path, name);
  return {
    path,
    pathOf,
    names: () =>
      readdir(path).catch((error: unknown) => {
        throw cannotRead(path, error);
      }),
    open: (name) => openParts(pathOf(name)),
    write: (name, body) => writeParts(pathOf(name), body),
    replace: (name, previous, body) => replace(pathOf(name), pathOf(previous), body),
    append: (name) => openAppend(pathOf(name)),
    remove: (name) => writing(pathOf(name), () => rm(pathOf(name), { force: true })),
  };
}

async function replace(path: string, previous: string, body: Parameters<Folder['write']>[1]): Promise<void> {
  const old = temporaryBeside(path);
  try {
    await writing(path, () => checkReplaceable(path));
    const kept = await writing(path, () => keep(path, old));
    await writeParts(path, body);
    // Only now: until here, the previous one may have been the only good one.
    if (kept) await writing(path, () => rename(old, previous));
  } catch (error) {
    await rm(old, { force: true }).catch(() => undefined);
    throw error;
  }
}

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
