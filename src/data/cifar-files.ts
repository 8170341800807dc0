/**
 * Reads CIFAR from disk: the official binary or python files, or either archive as downloaded. `data` is the folder
 * with the files, its parent, or the archive; if given, only that is searched. The default is `$VGGNET_DATA`, then the
 * cache directory.
 */
import { lstatSync, statSync } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { createGunzip } from 'node:zlib';
import { DataError, UsageError, VggError } from '../errors.ts';
import { cannotRead, isThere, openRegular } from '../files/files.ts';
import { wishHugePages } from '../huge-pages-node.ts';
import { checkOptions, shown } from '../options.ts';
import { checkPath } from '../paths.ts';
import { exactly, parse } from './byte-parser.ts';
import { dataDirectory } from './cache.ts';
import {
  allocateCifar,
  type CifarFile,
  type CifarFormat,
  type CifarLayout,
  type CifarName,
  type CifarTarget,
  checkCifarSize,
  cifarFormats,
  cifarParser,
  cifarSplits,
  recordBlocks,
} from './cifar.ts';
import { archiveVisitor, frontBytes, isGzip, layouts, readToEnd } from './cifar-archive.ts';
import type { DatasetSplits } from './dataset.ts';
import type { readTar } from './tar.ts';

export interface CifarOptions {
  /** Folder with the files, its parent, or the archive. If given, only this is searched. */
  readonly data?: string;
}

export interface Cifar100Options extends CifarOptions {
  /** 100 fine classes (default) or 20 coarse ones. */
  readonly labels?: 'fine' | 'coarse';
}

const checkGiven = (name: CifarName, options: unknown): void => {
  if (name === 'cifar10') checkOptions<CifarOptions>(name, options, { data: 'optional' });
  else checkOptions<Cifar100Options>(name, options, { data: 'optional', labels: 'optional' });
};

/** CIFAR-10: 50,000 training and 10,000 test images in 10 classes. @throws DataError if files are missing or invalid. */
export async function cifar10(options: CifarOptions = {}): Promise<DatasetSplits> {
  checkGiven('cifar10', options);
  return load(cifarFormats.cifar10, options.data, 'fine');
}

/** CIFAR-100 with 100 fine or 20 coarse classes. @throws DataError if files are missing or invalid. */
export async function cifar100(options: Cifar100Options = {}): Promise<DatasetSplits> {
  checkGiven('cifar100', options);
  const { labels } = options;
  if (labels !== undefined && labels !== 'fine' && labels !== 'coarse') {
    throw new UsageError(`cifar100: labels ${shown(labels)} is neither "fine" nor "coarse"`);
  }
  return load(cifarFormats.cifar100, options.data, options.labels ?? 'fine');
}

async function load(
  format: CifarFormat,
  data: string | undefined,
  labels: 'fine' | 'coarse',
): Promise<DatasetSplits> {
  if (data !== undefined) checkPath(`${format.name}: data`, data);
  const place = locate(format, data ?? dataDirectory(), data !== undefined);
  const target = allocateCifar(format);
  await Promise.all(Object.values(target.pixels).map(wishHugePages));
  if (place.kind === 'archive') await readArchive(format, place.path, target);
  else {
    const { layout, path } = place;
    await Promise.all(format.files.map((file) => readFile(format, layout, file, path, target)));
  }
  return cifarSplits(format, target, labels);
}

type Location =
  | { readonly kind: 'archive'; readonly path: string }
  | { readonly kind: 'folder'; readonly path: string; readonly layout: CifarLayout };

/** Finds the files in `root`: their folder, its parent, or an archive. */
function locate(format: CifarFormat, root: string, explicit: boolean): Location {
  const waysOut = `download them with: vgg download ${format.name}, or pass their folder or archive to --data`;
  if (!isThere(root)) {
    if (explicit) throw new DataError(`${format.name}: ${root} does not exist; ${waysOut}`);
  } else if (isNoFolder(root)) return { kind: 'archive', path: root };
  const tried: string[] = [];
  for (const folder of [root, ...layouts.map((layout) => join(root, format.folders[layout]))]) {
    for (const layout of layouts) {
      // The folder of one layout cannot contain the other.
      if (folder !== root && folder !== join(root, format.folders[layout])) continue;
      const present = format.files.filter((file) => isNoFolder(join(folder, file[layout])));
      tried.push(join(folder, format.files[0]![layout]));
      if (present.length === format.files.length) return { kind: 'folder', path: folder, layout };
      if (present.length > 0 && basename(folder) === format.folders[layout]) {
        const missing = format.files.find((file) => !present.includes(file))!;
        throw new DataError(`${format.name}: ${join(folder, missing[layout])} is missing; ${waysOut}`);
      }
    }
  }
  for (const layout of layouts) {
    const path = join(root, format.archives[layout]);
    tried.push(path);
    if (isNoFolder(path)) return { kind: 'archive', path };
  }
  throw new DataError(
    `${format.name}: no files found in ${root}; ${waysOut}.\nSearched for ${tried.join(', ')}`,
  );
}

/** Whether `path` exists and is not a folder. Opening it later shows whether it is a readable file. */
function isNoFolder(path: string): boolean {
  try {
    if (lstatSync(path, { throwIfNoEntry: false }) === undefined) return false;
    return statSync(path, { throwIfNoEntry: false })?.isDirectory() !== true;
  } catch (error) {
    throw cannotRead(path, error);
  }
}

const chunkBytes = 1 << 20;

/** Reads the file in chunks; each chunk overwrites the one before. */
async function* chunksOf(handle: FileHandle): AsyncGenerator<Uint8Array, void, void> {
  const buffer = new Uint8Array(chunkBytes);
  for (;;) {
    const { bytesRead } = await handle.read(buffer);
    if (bytesRead === 0) return;
    yield buffer.subarray(0, bytesRead);
  }
}

/**
 * Fills the arrays one after another with the file's next bytes. `readv` writes to them on another thread, because
 * touching that much new memory takes most of the reading time.
 */
async function fill(arrays: Uint8Array[], handle: FileHandle, path: string): Promise<void> {
  for (let first = 0; first < arrays.length; ) {
    let { bytesRead } = await handle.readv(arrays.slice(first));
    if (bytesRead === 0) throw new DataError(`${path} became shorter while it was read; try again`);
    for (; first < arrays.length && bytesRead >= arrays[first]!.length; first++)
      bytesRead -= arrays[first]!.length;
    if (bytesRead > 0) arrays[first] = arrays[first]!.subarray(bytesRead);
  }
}

async function readFile(
  format: CifarFormat,
  layout: CifarLayout,
  file: CifarFile,
  folder: string,
  target: CifarTarget,
): Promise<void> {
  const path = join(folder, file[layout]);
  let handle: FileHandle | undefined;
  try {
    handle = await openRegular(path);
    const { size } = await handle.stat();
    checkCifarSize(format, layout, file, size, path);
    if (layout === 'binary') {
      for (const arrays of recordBlocks(format, file, target, path)) await fill(arrays, handle, path);
    } else {
      const parser = cifarParser(format, layout, file, target, path);
      await parse(exactly(parser, size, path), chunksOf(handle), path);
    }
  } catch (error) {
    if (!(error instanceof Error && 'code' in error)) throw error;
    throw cannotRead(path, error);
  } finally {
    await handle?.close();
  }
}

/**
 * Reads a tar archive, with or without gzip. Unpacks it to its end, so that its checksum is verified, but not beyond
 * the size limit.
 */
export async function readArchiveFile(path: string, visit: Parameters<typeof readTar>[1]): Promise<void> {
  const handle = await openRegular(path).catch((error: unknown) => {
    throw cannotRead(path, error);
  });
  let file: ReturnType<FileHandle['createReadStream']> | undefined;
  let unpacked: ReturnType<typeof createGunzip> | undefined;
  try {
    const { bytesRead, buffer } = await handle.read(new Uint8Array(frontBytes), 0, frontBytes, 0);
    const { size } = await handle.stat();
    const isPacked = isGzip(path, buffer.subarray(0, bytesRead), size);
    file = handle.createReadStream({ start: 0, highWaterMark: chunkBytes, autoClose: false });
    if (isPacked) {
      const gunzip = createGunzip({ chunkSize: chunkBytes });
      file.on('error', (error) => gunzip.destroy(error));
      unpacked = file.pipe(gunzip);
    }
    const chunks = (unpacked ?? file)[Symbol.asyncIterator]();
    await readToEnd(path, chunks, visit);
  } catch (error) {
    if (error instanceof VggError) throw error;
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === undefined) throw error;
    throw code.startsWith('Z_')
      ? new DataError(`${path} is not a complete .tar.gz archive: ${message}; download it again`)
      : cannotRead(path, error);
  } finally {
    file?.destroy();
    unpacked?.destroy();
    await handle.close();
  }
}

async function readArchive(format: CifarFormat, path: string, target: CifarTarget): Promise<void> {
  const { visit, end } = archiveVisitor(format, path, target);
  await readArchiveFile(path, visit);
  end();
}
