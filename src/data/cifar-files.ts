/**
 * CIFAR from disk: the official binary files, the official python archive's files, or either archive as it was
 * downloaded. `data` names the folder with the files, its parent, or the archive; it is then the only place looked
 * in. Otherwise it is `$VGGNET_DATA`, otherwise the cache directory.
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
import type { DatasetSplits } from './dataset.ts';
import { readTar, tarLimits } from './tar.ts';

export interface CifarOptions {
  /** Folder with the files, its parent, or the archive: the only place looked in. */
  readonly data?: string;
}

export interface Cifar100Options extends CifarOptions {
  /** Which classes: 100 fine ones, the default, or 20 coarse ones. */
  readonly labels?: 'fine' | 'coarse';
}

const checkGiven = (name: CifarName, options: unknown): void => {
  if (name === 'cifar10') checkOptions<CifarOptions>(name, options, { data: 'optional' });
  else checkOptions<Cifar100Options>(name, options, { data: 'optional', labels: 'optional' });
};

/** CIFAR-10: 50,000 training and 10,000 test images of 10 classes. @throws DataError where the files are not right. */
export async function cifar10(options: CifarOptions = {}): Promise<DatasetSplits> {
  checkGiven('cifar10', options);
  return load(cifarFormats.cifar10, options.data, 'fine');
}

/** CIFAR-100, with its 100 fine classes or its 20 coarse ones. @throws DataError where the files are not right. */
export async function cifar100(options: Cifar100Options = {}): Promise<DatasetSplits> {
  checkGiven('cifar100', options);
  const { labels } = options;
  if (labels !== undefined && labels !== 'fine' && labels !== 'coarse') {
    throw new UsageError(`cifar100: labels ${shown(labels)} is neither "fine" nor "coarse"`);
  }
  return load(cifarFormats.cifar100, options.data, options.labels ?? 'fine');
}

const layouts: readonly CifarLayout[] = ['binary', 'python'];

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

/** Finds the files in `root`, which is their folder, its parent, or an archive. */
function locate(format: CifarFormat, root: string, explicit: boolean): Location {
  const waysOut = `get them with: vgg download ${format.name}, or name their folder or archive with --data`;
  if (!isThere(root)) {
    if (explicit) throw new DataError(`${format.name}: ${root} does not exist; ${waysOut}`);
  } else if (isNoFolder(root)) return { kind: 'archive', path: root };
  const tried: string[] = [];
  for (const folder of [root, ...layouts.map((layout) => join(root, format.folders[layout]))]) {
    for (const layout of layouts) {
      // Its own folder of the other layout cannot hold this one.
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
    `${format.name}: no files of it in ${root}; ${waysOut}.\nLooked for ${tried.join(', ')}`,
  );
}

/** Whether something is there that is no folder. Whether it is a file, and readable, opening it tells. */
function isNoFolder(path: string): boolean {
  try {
    if (lstatSync(path, { throwIfNoEntry: false }) === undefined) return false;
    return statSync(path, { throwIfNoEntry: false })?.isDirectory() !== true;
  } catch (error) {
    throw cannotRead(path, error);
  }
}

const chunkBytes = 1 << 20;

/** The file's bytes, each chunk in the place of the one before. */
async function* chunksOf(handle: FileHandle): AsyncGenerator<Uint8Array, void, void> {
  const buffer = new Uint8Array(chunkBytes);
  for (;;) {
    const { bytesRead } = await handle.read(buffer);
    if (bytesRead === 0) return;
    yield buffer.subarray(0, bytesRead);
  }
}

/**
 * Fills the arrays one after the other with the file's next bytes. The bytes go from the system to their place in
 * another thread: the first touch of that much memory costs most of the reading, and this one has other work.
 */
async function fill(arrays: Uint8Array[], handle: FileHandle, path: string): Promise<void> {
  for (let first = 0; first < arrays.length; ) {
    let { bytesRead } = await handle.readv(arrays.slice(first));
    if (bytesRead === 0) throw new DataError(`${path} is truncated: it became shorter while it was read`);
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
 * The file of the data set that a member of an archive is, by its name and its folder; an archive that was made inside
 * that folder has none.
 */
export function memberFile(
  format: CifarFormat,
  path: string,
): { readonly file: CifarFile; readonly layout: CifarLayout } | undefined {
  const [name, folder] = path
    .split('/')
    .filter((part) => part !== '' && part !== '.')
    .reverse();
  for (const layout of layouts) {
    if (folder !== undefined && folder !== format.folders[layout]) continue;
    const file = format.files.find((candidate) => candidate[layout] === name);
    if (file) return { file, layout };
  }
  return undefined;
}

/** What other compressed files begin with. */
const otherPackers: readonly (readonly [string, string])[] = [
  ['425a68', 'bzip2'],
  ['fd377a585a00', 'xz'],
  ['28b52ffd', 'zstd'],
  ['504b0304', 'zip'],
];

/**
 * Reads a tar archive, packed by gzip or not. It is unpacked to its end, so that its checksum is checked, too, but no
 * further than the limit.
 */
export async function readArchiveFile(path: string, visit: Parameters<typeof readTar>[1]): Promise<void> {
  const handle = await openRegular(path).catch((error: unknown) => {
    throw cannotRead(path, error);
  });
  let file: ReturnType<FileHandle['createReadStream']> | undefined;
  let unpacked: ReturnType<typeof createGunzip> | undefined;
  try {
    const { bytesRead, buffer } = await handle.read(Buffer.alloc(6), 0, 6, 0);
    const front = buffer.toString('hex', 0, bytesRead);
    const [, packer] = otherPackers.find(([magic]) => front.startsWith(magic)) ?? [];
    if (packer !== undefined) {
      throw new DataError(`${path} is packed by ${packer}; unpack it, or pack it as .tar.gz, which is read`);
    }
    const { size } = await handle.stat();
    const isPacked = front.startsWith('1f8b') || /\.t?gz$/i.test(path);
    if (!isPacked && size < 512)
      throw new DataError(`${path} is no .tar or .tar.gz archive: it has ${size} bytes; download it again`);
    file = handle.createReadStream({ start: 0, highWaterMark: chunkBytes, autoClose: false });
    if (isPacked) {
      const gunzip = createGunzip({ chunkSize: chunkBytes });
      file.on('error', (error) => gunzip.destroy(error));
      unpacked = file.pipe(gunzip);
    }
    const chunks = (unpacked ?? file)[Symbol.asyncIterator]();
    await parse(
      readTar(path, visit),
      { [Symbol.asyncIterator]: () => ({ next: () => chunks.next() }) },
      path,
    );
    let rest = 0;
    for (let next = await chunks.next(); !next.done; next = await chunks.next()) {
      rest += (next.value as Uint8Array).length;
      if (rest > tarLimits.bytes)
        throw new DataError(`${path} goes on behind its last file; this is no CIFAR archive`);
    }
  } catch (error) {
    if (error instanceof VggError) throw error;
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === undefined) throw error;
    throw code.startsWith('Z_')
      ? new DataError(`${path} is no whole .tar.gz archive: ${message}; download it again`)
      : cannotRead(path, error);
  } finally {
    file?.destroy();
    unpacked?.destroy();
    await handle.close();
  }
}

async function readArchive(format: CifarFormat, path: string, target: CifarTarget): Promise<void> {
  const missing = new Set(format.files);
  await readArchiveFile(path, (member) => {
    const found = memberFile(format, member.path);
    if (!found) return undefined;
    const { file, layout } = found;
    const name = `${member.path} in ${path}`;
    checkCifarSize(format, layout, file, member.size, name);
    missing.delete(file);
    return cifarParser(format, layout, file, target, name);
  });
  const [first] = missing;
  if (first) {
    throw new DataError(
      `${path} lacks ${first.binary} (or ${first.python}) of ${format.name}; expected ${format.archives.binary} or ` +
        `${format.archives.python} as it is downloaded`,
    );
  }
}
