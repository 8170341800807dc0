/**
 * Prepares the images of a data set once: decoded and resized to one shorter side, in a file in the cache (Node only).
 * An image whose file is unchanged is taken from the file before; changed and new ones are prepared. One process at a
 * time writes; others wait and then read.
 */
import { statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { crc32 } from 'node:zlib';
import { InUseError, VggError } from '../../errors.ts';
import { isMissing, openParts, removeLeftovers, writeParts } from '../../files/files.ts';
import { type FolderLock, lockFolder } from '../../files/lock.ts';
import { makeFolder } from '../../files/make-folder.ts';
import type { PartReader } from '../../files/parts.ts';
import {
  type CachedImage,
  type CacheIndex,
  imageBytes,
  imageStarts,
  pixelStart,
  readIndex,
  type SourceStamp,
  writeIndex,
  writeStart,
} from './cache-file.ts';
import { noteUse, preparedDirectory, preparedFile, removeUnused } from './cached.ts';
import type { Prepared } from './prepare-image.ts';
import { openPool, type PreparePool } from './prepare-pool.ts';
import { mostStoredBytes } from './stored-sides.ts';

export interface PrepareProgress {
  /** Images that are done, of `total`, and how many of these had to be decoded. */
  readonly done: number;
  readonly total: number;
  readonly decoded: number;
}

export interface PrepareOptions {
  /** Folder for the prepared images; the cache directory by default. */
  readonly cache?: string | undefined;
  /** Threads that decode and resize; one per core by default. */
  readonly threads?: number | undefined;
  readonly onProgress?: ((progress: PrepareProgress) => void) | undefined;
  /** Told what a user should know, a line each. */
  readonly onNotice?: ((line: string) => void) | undefined;
  /** Stops; images that are done are kept for the next time. */
  readonly signal?: AbortSignal | undefined;
}

/** What is prepared. */
export interface Wanted {
  /** Identifies the data set: another one has another file. */
  readonly key: string;
  readonly root: string;
  /** Relative to the root. */
  readonly paths: readonly string[];
  /** Shorter side of the images in pixels. */
  readonly side: number;
}

export interface PreparedFile {
  readonly file: string;
  readonly images: readonly CachedImage[];
}

interface Job extends Wanted {
  readonly stamps: readonly SourceStamp[];
  readonly file: string;
}

/** The images of a file that were not deleted and did not change, by path. */
type Kept = ReadonlyMap<string, { readonly image: CachedImage; readonly start: number }>;

/** @throws VggError if the cache cannot be written or sharp is missing. Broken images are only recorded. */
export async function prepareImages(wanted: Wanted, options: PrepareOptions = {}): Promise<PreparedFile> {
  const { cache = preparedDirectory(), onNotice = () => {}, signal } = options;
  const { root, paths, side } = wanted;
  const file = preparedFile(cache, wanted.key, root, side);
  const folder = dirname(file);
  const job: Job = { ...wanted, stamps: paths.map((path) => stampOf(join(root, path))), file };
  const ready = await readyFile(job, onNotice);
  if (ready) {
    noteUse(file);
    return ready;
  }
  let lock: FolderLock | undefined;
  try {
    await removeUnused(cache);
    makeFolder(folder);
    lock = await lockPatiently(folder, onNotice, signal);
    // Another process may have been faster.
    const made = await readyFile(job, () => {});
    if (made) return made;
    await removeLeftovers(folder);
    return await write(job, options);
  } catch (error) {
    throw withWayOut(error, job);
  } finally {
    await lock?.release();
  }
}

/** What a system reports of a folder in which nothing can be written. */
const closedFolder = ['EACCES', 'EPERM', 'EROFS', 'ENOTDIR'];

/** Adds to an error of the cache how to use another one; to that of a full disk also how much room is needed. */
function withWayOut(error: unknown, { paths, side }: Job): unknown {
  const { code = '' } = ((error as Error).cause ?? {}) as { readonly code?: string };
  if (!(error instanceof VggError)) return error;
  // Photos are 4:3 on average.
  const gigabytes = (paths.length * side * side * 4) / 1e9;
  const wayOut = ['ENOSPC', 'EDQUOT'].includes(code)
    ? `${paths.length} images need about ${gigabytes.toPrecision(2)} GB: free some space, or use another disk (XDG_CACHE_HOME)`
    : closedFolder.includes(code)
      ? 'it is the cache for prepared images: make it writable, or use another folder (XDG_CACHE_HOME)'
      : undefined;
  return wayOut === undefined ? error : new VggError(`${error.message}; ${wayOut}`, { cause: error.cause });
}

/** Identifies a file's content. A file that is missing has a stamp of its own. */
function stampOf(path: string): SourceStamp {
  try {
    const { size, mtimeMs: modified, ctimeMs: changed } = statSync(path);
    return { size, modified, changed };
  } catch {
    return { size: -1, modified: 0, changed: 0 };
  }
}

/** The file if it has exactly the wanted images as they are now. */
async function readyFile(job: Job, onNotice: (line: string) => void): Promise<PreparedFile | undefined> {
  const index = await readOld(job, onNotice);
  if (index === undefined || index.images.length !== job.paths.length) return undefined;
  const fits = index.images.every((image, i) => image.path === job.paths[i] && isSame(image, job.stamps[i]!));
  return fits ? { file: job.file, images: index.images } : undefined;
}

const isSame = (a: SourceStamp, b: SourceStamp): boolean =>
  a.size === b.size && a.modified === b.modified && a.changed === b.changed;

/** The index of the file; undefined if there is none or it is damaged. */
async function readOld(
  { file, root, side }: Job,
  onNotice: (line: string) => void,
): Promise<CacheIndex | undefined> {
  try {
    const index = await readIndex(file);
    return index.root === root && index.side === side ? index : undefined;
  } catch (error) {
    if (!(error instanceof VggError)) throw error;
    if (!isMissing(error)) onNotice(`${error.message}; the images are prepared again`);
    return undefined;
  }
}

/** Waits while another process prepares the same images. */
async function lockPatiently(
  folder: string,
  onNotice: (line: string) => void,
  signal: AbortSignal | undefined,
): Promise<FolderLock> {
  for (let told = false; ; told = true) {
    try {
      return await lockFolder(folder, { onWait: onNotice, signal });
    } catch (error) {
      if (!(error instanceof InUseError)) throw error;
      if (!told) onNotice('Another process prepares these images; waiting for it.');
      await sleep(300, undefined, signal && { signal }).catch((reason: unknown) => {
        signal?.throwIfAborted();
        throw reason;
      });
    }
  }
}

/** Bytes of prepared images that may wait for those before them. */
const waitingBytes = 1e8;

/** Writes the file: images that are kept are copied, all others prepared, in the order of the paths. */
async function write(
  job: Job,
  { threads, onProgress = () => {}, signal }: PrepareOptions,
): Promise<PreparedFile> {
  const { file, root, side, paths, stamps } = job;
  const old = await readOld(job, () => {});
  const kept = keptOf(old, job);
  const before = kept.size > 0 ? await openParts(file) : undefined;
  let pool: PreparePool | undefined;
  const mostWaiting = Math.max(1, Math.floor(waitingBytes / mostStoredBytes(side)));
  const images: CachedImage[] = [];
  let decoded = 0;
  const prepareOne = async (i: number): Promise<Prepared> => {
    const path = paths[i]!;
    const own = kept.get(path);
    const copy = own && before ? await copyOf(before, own) : undefined;
    if (copy) return copy;
    pool ??= openPool(side, threads);
    decoded++;
    return pool.prepare(join(root, path));
  };
  try {
    await writeParts(file, async (parts) => {
      await writeStart(parts);
      let end = pixelStart;
      const queue: Promise<Prepared>[] = [];
      for (let i = 0; images.length < paths.length && !(signal?.aborted === true && queue.length === 0); ) {
        // Twice as many as are worked on, so that one slow image does not stop the others.
        const most = Math.min(2 * (pool?.capacity ?? 4), mostWaiting);
        while (i < paths.length && queue.length < most && !signal?.aborted) {
          const prepared = prepareOne(i++);
          // Where one fails, nobody waits for those behind it.
          prepared.catch(() => undefined);
          queue.push(prepared);
        }
        const prepared = await queue.shift()!;
        const at = images.length;
        images.push({ path: paths[at]!, ...stamps[at]!, ...recordOf(prepared) });
        if ('pixels' in prepared) {
          await parts.append(prepared.pixels);
          end += prepared.pixels.length;
        }
        onProgress({ done: images.length, total: paths.length, decoded });
      }
      // An interrupted preparation keeps what is done, unless the file before has more.
      if (images.length < kept.size) signal?.throwIfAborted();
      await writeIndex(parts, end, { side, root, images });
    });
  } finally {
    await before?.close();
    await pool?.close();
  }
  signal?.throwIfAborted();
  return { file, images };
}

function keptOf(old: CacheIndex | undefined, { paths, stamps }: Job): Kept {
  const kept = new Map<string, { readonly image: CachedImage; readonly start: number }>();
  if (old === undefined) return kept;
  const starts = imageStarts(old.images);
  const now = new Map(paths.map((path, i) => [path, stamps[i]!]));
  for (const [i, image] of old.images.entries()) {
    const stamp = now.get(image.path);
    if (stamp && isSame(image, stamp)) kept.set(image.path, { image, start: starts[i]! });
  }
  return kept;
}

/** An image of the file before; undefined if its bytes are damaged. */
async function copyOf(
  before: PartReader,
  { image, start }: { readonly image: CachedImage; readonly start: number },
): Promise<Prepared | undefined> {
  if (image.problem !== undefined) return { problem: image.problem };
  const { height, width, checksum, sums } = image;
  const pixels = new Uint8Array(imageBytes(image));
  const length = await before.read(pixels, start);
  if (length !== pixels.length || crc32(pixels) !== checksum) return undefined;
  return { height, width, pixels, checksum, sums };
}

type ImageRecord = Omit<CachedImage, 'path' | keyof SourceStamp>;

function recordOf(prepared: Prepared): ImageRecord {
  if ('problem' in prepared) {
    return { height: 0, width: 0, checksum: 0, sums: [0, 0, 0, 0, 0, 0], problem: prepared.problem };
  }
  const { pixels: _, ...record } = prepared;
  return record;
}
