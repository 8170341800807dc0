/**
 * Downloads the official CIFAR archives to a `.part` file, resuming interrupted transfers, and checks the official MD5
 * sum. Unpacks to a temporary folder and renames it, so that the data folder is always complete. Only the files of the
 * data set are written, whatever else an archive contains.
 */
import { createHash } from 'node:crypto';
import { closeSync, constants, mkdirSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { DataError, VggError } from '../errors.ts';
import { cannotRead, cannotWrite, openRegular, openRegularSync } from '../files/files.ts';
import { makeFolder } from '../files/make-folder.ts';
import { checkPath } from '../paths.ts';
import type { Parser } from './byte-parser.ts';
import { dataDirectory } from './cache.ts';
import { binaryFileBytes, type CifarFormat, type CifarName, cifarFormats } from './cifar.ts';
import { memberFile, readArchiveFile } from './cifar-files.ts';

interface Source {
  readonly url: string;
  readonly md5: string;
}

/** URLs and checksums from the data sets' home page. */
export const officialSources: Readonly<Record<CifarName, Source>> = {
  cifar10: {
    url: 'https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz',
    md5: 'c32a1d4ab5d03f1284b67883e8d87530',
  },
  cifar100: {
    url: 'https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz',
    md5: '03b5dce01913d631647c71ecec9e9cb8',
  },
};

export interface DownloadProgress {
  readonly phase: 'transfer' | 'check' | 'unpack';
  /** Bytes received so far, including resumed ones. */
  readonly bytes: number;
  /** Bytes of the whole archive; undefined if the server does not say. */
  readonly total: number | undefined;
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

/** Consecutive attempts without a new byte before giving up. */
const fruitlessAttempts = 3;

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

  // An earlier `.part` file may belong to another archive, so a wrong sum after resuming restarts the transfer once.
  for (let resumed = sizeOf(part) > 0; ; resumed = false) {
    await transfer(url, part, byHand, onProgress, signal);
    onProgress?.({ phase: 'check', bytes: 0, total: undefined });
    const found = await md5Of(part);
    if (found === md5) break;
    rmSync(part, { force: true });
    if (!resumed) {
      throw new DataError(
        `${url}: the archive has MD5 ${found}, not the official ${md5}. It was deleted; try again.\n${byHand}`,
      );
    }
  }
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

/** The file's size; 0 if it does not exist or is not accessible. */
function sizeOf(path: string): number {
  try {
    return statSync(path).size;
  } catch {
    return 0;
  }
}

/** Runs a disk operation; its error says what to do. */
function onDisk<T>(directory: string, body: () => T): T {
  try {
    return body();
  } catch (error) {
    throw diskError(directory, error);
  }
}

const diskError = (directory: string, error: unknown): VggError =>
  new VggError(
    `${cannotWrite(directory, error).message}; ` +
      'choose another folder with --directory or $VGGNET_DATA, or free space there',
    { cause: error },
  );

/** Downloads `url` into `part`, resuming where the last transfer stopped. */
async function transfer(
  url: string,
  part: string,
  byHand: string,
  onProgress: DownloadOptions['onProgress'],
  signal: AbortSignal | undefined,
): Promise<void> {
  let file: FileHandle;
  try {
    file = await openRegular(part, constants.O_RDWR | constants.O_APPEND | constants.O_CREAT);
  } catch (error) {
    throw diskError(part, error);
  }
  try {
    for (let fruitless = 0; ; ) {
      const before = (await file.stat()).size;
      const outcome = await attempt(url, part, file, byHand, onProgress, signal);
      if (outcome === 'done') return;
      fruitless = (await file.stat()).size > before ? 0 : fruitless + 1;
      if (fruitless === fruitlessAttempts) {
        throw new VggError(
          `${url}: the transfer failed repeatedly (${outcome}); the next download resumes it.\n${byHand}`,
        );
      }
      await new Promise((resolve) => setTimeout(resolve, 200 * fruitless));
      signal?.throwIfAborted();
    }
  } finally {
    const { size } = await file.stat();
    await file.close();
    if (size === 0) rmSync(part, { force: true });
  }
}

/** Sends one request. Returns 'done', or why the transfer stopped. */
async function attempt(
  url: string,
  part: string,
  file: FileHandle,
  byHand: string,
  onProgress: DownloadOptions['onProgress'],
  signal: AbortSignal | undefined,
): Promise<string> {
  const have = (await file.stat()).size;
  let response: Response;
  try {
    response = await fetch(url, {
      headers: { 'accept-encoding': 'identity', ...(have > 0 && { range: `bytes=${have}-` }) },
      ...(signal && { signal }),
    });
  } catch (error) {
    signal?.throwIfAborted();
    if (have > 0) return causeOf(error);
    throw new VggError(`cannot reach ${url}: ${causeOf(error)}.\n${byHand}`);
  }
  const range = /^bytes (?:(\d+)-\d+|\*)\/(\d+|\*)$/.exec(response.headers.get('content-range') ?? '');
  const rangeTotal = range?.[2] === undefined || range[2] === '*' ? undefined : Number(range[2]);
  if (response.status === 416) {
    await response.body?.cancel();
    // The transfer is complete, or the part belongs to another file.
    if (rangeTotal === have) return 'done';
    await file.truncate(0);
    return 'the server has a shorter file';
  }
  if (!response.ok || !response.body) {
    await response.body?.cancel();
    throw new VggError(`${url}: the server answered ${response.status} ${response.statusText}.\n${byHand}`);
  }
  let bytes = have;
  if (response.status !== 206 || Number(range?.[1]) !== have) {
    await file.truncate(0);
    bytes = 0;
    if (response.status === 206) {
      await response.body.cancel();
      return 'the server sent a different range than requested';
    }
  }
  const length = response.headers.get('content-length');
  const total = rangeTotal ?? (length === null ? undefined : bytes + Number(length));
  try {
    for await (const chunk of response.body as unknown as AsyncIterable<Uint8Array>) {
      try {
        await file.appendFile(chunk);
      } catch (error) {
        throw diskError(part, error);
      }
      bytes += chunk.length;
      onProgress?.({ phase: 'transfer', bytes, total });
    }
  } catch (error) {
    signal?.throwIfAborted();
    if (error instanceof VggError) throw error;
    return causeOf(error);
  }
  if (bytes === 0) return 'the server sent nothing';
  return total === undefined || bytes === total ? 'done' : `it ended after ${bytes} of ${total} bytes`;
}

const networkReasons: Readonly<Record<string, string>> = {
  ENOTFOUND: 'the host name is unknown; check the network connection',
  EAI_AGAIN: 'the host name cannot be resolved; check the network connection',
  ENETUNREACH: 'the network is unreachable',
  EHOSTUNREACH: 'the server is unreachable',
  ECONNREFUSED: 'the server refused the connection',
  ECONNRESET: 'the server closed the connection',
  UND_ERR_SOCKET: 'the server closed the connection',
  ETIMEDOUT: 'the server did not answer',
  UND_ERR_CONNECT_TIMEOUT: 'the server did not answer',
  UND_ERR_HEADERS_TIMEOUT: 'the server did not answer',
  UND_ERR_BODY_TIMEOUT: 'the server stopped sending',
};

function causeOf(error: unknown): string {
  const { cause, message } = error as Error;
  const { code = '', message: inner } = (cause ?? error) as NodeJS.ErrnoException;
  return networkReasons[code] ?? (inner || message);
}

async function md5Of(path: string): Promise<string> {
  const hash = createHash('md5');
  try {
    const file = await openRegular(path);
    for await (const chunk of file.createReadStream({ highWaterMark: 1 << 20 }))
      hash.update(chunk as Uint8Array);
  } catch (error) {
    throw cannotRead(path, error);
  }
  return hash.digest('hex');
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
