/**
 * Downloads the official CIFAR archives to a `.part` file, resuming interrupted transfers, and checks the official MD5
 * sum. Unpacks to a temporary folder and renames it, so that the data folder is always complete. Only the files of the
 * data set are written, whatever else an archive contains.
 */
import { closeSync, constants, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DataError } from '../errors.ts';
import { openRegularSync } from '../files/files.ts';
import { makeFolder } from '../files/make-folder.ts';
import { onDisk, sizeOf, type TransferProgress, transferFile } from '../files/transfer.ts';
import { checkPath } from '../paths.ts';
import type { Parser } from './byte-parser.ts';
import { dataDirectory } from './cache.ts';
import { binaryFileBytes, type CifarFormat, type CifarName, cifarFormats } from './cifar.ts';
import { memberFile } from './cifar-archive.ts';
import { readArchiveFile } from './cifar-files.ts';

interface Source {
  readonly url: string;
  readonly md5: string;
}

/** URLs and checksums from the data sets' home page. */
export const officialSources: Readonly<Record<CifarName, Source>> = {
  cifar10: {
    url: 'https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz',
    md5: cifarFormats.cifar10.md5.binary,
  },
  cifar100: {
    url: 'https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz',
    md5: cifarFormats.cifar100.md5.binary,
  },
};

export interface DownloadProgress extends Omit<TransferProgress, 'phase'> {
  readonly phase: TransferProgress['phase'] | 'unpack';
}

export interface DownloadOptions {
  /** Where to create the data folder; `$VGGNET_DATA` or the cache directory by default. */
  readonly directory?: string;
  /** Another URL, and the MD5 sum of its archive. */
  readonly url?: string;
  readonly md5?: string;
  readonly onProgress?: (progress: DownloadProgress) => void;
  readonly signal?: AbortSignal;
}

export interface DownloadResult {
  /** The folder with the binary files. */
  readonly folder: string;
  /** Whether it existed before. */
  readonly present: boolean;
}

/**
 * Downloads and unpacks a data set unless it exists.
 * @throws DataError for a wrong checksum or archive, VggError for network and disk errors.
 */
export async function download(name: CifarName, options: DownloadOptions = {}): Promise<DownloadResult> {
  const format = cifarFormats[name];
  const { directory = dataDirectory(), onProgress, signal } = options;
  const url = options.url ?? officialSources[name].url;
  const md5 = options.md5 ?? officialSources[name].md5;
  checkPath('download: directory', directory);
  const folder = join(directory, format.folders.binary);
  if (isComplete(format, folder)) return { folder, present: true };
  onDisk(directory, () => makeFolder(directory));
  const archive = join(directory, format.archives.binary);
  const part = `${archive}.part`;
  const byHand =
    `Download ${url} manually (MD5 ${md5}),\n` + `save it as ${archive}, and train with: --data ${directory}`;

  await transferFile({ url, part, algorithm: 'md5', checksum: md5, byHand, onProgress, signal });
  onProgress?.({ phase: 'unpack', bytes: 0, total: undefined });
  await unpack(format, part, folder);
  rmSync(part, { force: true });
  return { folder, present: false };
}

function isComplete(format: CifarFormat, folder: string): boolean {
  return format.files.every((file) => {
    const path = join(folder, file.binary);
    return sizeOf(path) === binaryFileBytes(format, file);
  });
}

/** Unpacks the record files into a temporary folder and renames it to `folder`. */
async function unpack(format: CifarFormat, archive: string, folder: string): Promise<void> {
  const temporary = `${folder}.${process.pid}.part`;
  onDisk(temporary, () => {
    rmSync(temporary, { recursive: true, force: true });
    mkdirSync(temporary);
  });
  const missing = new Set(format.files);
  try {
    await readArchiveFile(archive, ({ path, size }) => {
      const found = memberFile(format, path);
      if (found?.layout !== 'binary') return undefined;
      if (size !== binaryFileBytes(format, found.file)) {
        throw new DataError(
          `${path} in ${archive} has ${size} bytes; expected ${binaryFileBytes(format, found.file)}`,
        );
      }
      missing.delete(found.file);
      return writeMember(join(temporary, found.file.binary), size);
    });
    const [first] = missing;
    if (first) throw new DataError(`${archive} does not contain ${format.folders.binary}/${first.binary}`);
    onDisk(folder, () => {
      rmSync(folder, { recursive: true, force: true });
      renameSync(temporary, folder);
    });
  } finally {
    rmSync(temporary, { recursive: true, force: true });
  }
}

function* writeMember(path: string, size: number): Parser<void> {
  const descriptor = onDisk(path, () =>
    openRegularSync(path, constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC),
  );
  try {
    for (let left = size; left > 0; ) {
      const chunk = yield Math.min(left, 1 << 16);
      // Not `writeSync`, which may write less on a full disk without an error.
      onDisk(path, () => writeFileSync(descriptor, chunk));
      left -= chunk.length;
    }
  } finally {
    closeSync(descriptor);
  }
}
