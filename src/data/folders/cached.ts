/** The cache of prepared images as a whole (Node only): what it holds, and how parts of it are removed. */
import { createHash } from 'node:crypto';
import { readdirSync, realpathSync, rmdirSync, statSync, utimesSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { InUseError, VggError } from '../../errors.ts';
import { cannotRead, cannotWrite, isMissing, leadsNowhere, removeLeftovers } from '../../files/files.ts';
import { lockFolder } from '../../files/lock.ts';
import { cacheDirectory } from '../cache.ts';
import { readIndex } from './cache-file.ts';

/** The folder of prepared images: a folder for each data set and size. */
export const preparedDirectory = (): string => join(cacheDirectory(), 'images');

const fileName = 'images.bin';

/** The file of a data set at one size. `key` is its real path, `root` that of the images. */
export function preparedFile(cache: string, key: string, root: string, side: number): string {
  return join(cache, nameOf(key, root, side), fileName);
}

const nameOf = (key: string, root: string, side: number): string =>
  createHash('sha256')
    .update(JSON.stringify([key, root, side]))
    .digest('hex')
    .slice(0, 24);

/** Prepared images in the cache. */
export interface CachedSet {
  readonly folder: string;
  readonly bytes: number;
  /** When they were last prepared or used. */
  readonly used: Date;
  /** What the file says; undefined if it is damaged. */
  readonly content?: {
    /** The folder of the image files. */
    readonly root: string;
    readonly side: number;
    readonly images: number;
    readonly broken: number;
  };
}

/** What is in the cache, the largest first. Preparations that have not ended are left out. */
export async function listCached(cache: string = preparedDirectory()): Promise<readonly CachedSet[]> {
  const found: CachedSet[] = [];
  for (const name of namesIn(cache)) {
    const folder = join(cache, name);
    const stats = statSync(join(folder, fileName), { throwIfNoEntry: false });
    if (stats === undefined) continue;
    found.push({
      folder,
      bytes: stats.size,
      used: stats.mtime,
      ...(await contentOf(join(folder, fileName))),
    });
  }
  return found.sort((a, b) => b.bytes - a.bytes);
}

/** Folders that preparing makes; nothing else is ever removed. */
function namesIn(cache: string): readonly string[] {
  try {
    return readdirSync(cache).filter((name) => /^[0-9a-f]{24}$/.test(name));
  } catch (error) {
    if (leadsNowhere(error)) return [];
    throw cannotRead(cache, error);
  }
}

async function contentOf(file: string): Promise<Pick<CachedSet, 'content'>> {
  try {
    const { root, side, images } = await readIndex(file);
    const broken = images.filter(({ problem }) => problem !== undefined).length;
    return { content: { root, side, images: images.length, broken } };
  } catch (error) {
    if (error instanceof VggError) return {};
    throw error;
  }
}

/** Those of the data set at `path`, a folder or a table, which may be gone. */
export function cachedOf(sets: readonly CachedSet[], path: string): readonly CachedSet[] {
  const absolute = resolve(path);
  const real = realPath(absolute);
  return sets.filter(({ folder, content }) => {
    if (content === undefined) return false;
    const { root, side } = content;
    return root === real || root === absolute || folder.endsWith(nameOf(real, root, side));
  });
}

function realPath(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return path;
  }
}

/** Removes prepared images; returns whether it did, which it does not while another process prepares them. */
export async function removeCached({ folder }: Pick<CachedSet, 'folder'>): Promise<boolean> {
  try {
    const lock = await lockFolder(folder);
    try {
      await rm(join(folder, fileName), { force: true });
      await removeLeftovers(folder);
    } finally {
      await lock.release();
    }
    rmdirSync(folder);
    return true;
  } catch (error) {
    if (error instanceof InUseError) return false;
    // Another process removed it, or has begun to prepare.
    if (isMissing(error) || (error as NodeJS.ErrnoException).code === 'ENOTEMPTY') return true;
    throw cannotWrite(folder, error);
  }
}

/** Days after which unused images are removed. */
const keptDays = 60;

/** Notes that a file is used now. */
export function noteUse(file: string): void {
  try {
    const now = new Date();
    utimesSync(file, now, now);
  } catch {
    // A cache that others own can be read only.
  }
}

/** Removes what nothing has used for long. What cannot be removed stays. */
export async function removeUnused(cache: string): Promise<void> {
  const before = Date.now() - keptDays * 24 * 3600 * 1000;
  for (const name of namesIn(cache)) {
    const folder = join(cache, name);
    const stats = statSync(join(folder, fileName), { throwIfNoEntry: false });
    if (stats !== undefined && stats.mtimeMs < before) await removeCached({ folder }).catch(() => false);
  }
}
