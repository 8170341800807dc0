/**
 * Fetches the official CIFAR archives. A transfer goes to a `.part` file and resumes where it broke off; what arrived
 * must have the official MD5 sum; it is unpacked beside its place and renamed, so that a folder is there whole or not
 * at all. Only the files that the data set consists of are written, whatever else an archive may hold.
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

/** As the data sets' home page gives them. */
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
  /** Bytes that are there, resumed ones included. */
  readonly bytes: number;
  /** Of the whole archive; undefined where the server does not say. */
  readonly total: number | undefined;
}

export interface DownloadOptions {
  /** Receives the folder of the files; `$VGGNET_DATA` or the cache directory by default. */
  readonly directory?: string;
  /** Another address, with the sum that its archive must have. */
  readonly url?: string;
  readonly md5?: string;
  readonly onProgress?: (progress: DownloadProgress) => void;
  readonly signal?: AbortSignal;
}

export interface DownloadResult {
  /** The folder with the binary files. */
  readonly folder: string;
  /** Whether it was there before. */
  readonly present: boolean;
}

/** Transfers without a new byte before giving up. */
const fruitlessAttempts = 3;

/**
 * Downloads and unpacks a data set, unless it is there.
 * @throws DataError for a wrong checksum or archive, VggError where the network or the disk does not let it.
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
    `Fetch ${url} by hand (MD5 ${md5}),\n` + `put it at ${archive}, and train with: --data ${directory}`;

  // What an earlier run left may be of another archive: a wrong sum then means to start over, once.
  for (let resumed = sizeOf(part) > 0; ; resumed = false) {
    await transfer(url, part, byHand, onProgress, signal);
    onProgress?.({ phase: 'check', bytes: 0, total: undefined });
    const found = await md5Of(part);
    if (found === md5) break;
    rmSync(part, { force: true });
    if (!resumed) {
      throw new DataError(
        `${url}: the archive has MD5 ${found}, and the official one ${md5}. It was deleted; try again.\n${byHand}`,
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

/** 0 where there is no file that can be looked at. */
function sizeOf(path: string): number {
  try {
    return statSync(path).size;
  } catch {
    return 0;
  }
}

/** Runs what needs the disk, and says what is to be done where it refuses. */
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
      'name another folder with --directory or $VGGNET_DATA, or make room there',
    { cause: error },
  );

/** Fetches `url` into `part`, from where it broke off. */
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
          `${url}: the transfer broke off again and again (${outcome}); what arrived is kept and will be resumed.\n${byHand}`,
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

/** One request. Returns 'done', or why the transfer broke off. */
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
    throw new VggError(`${url} cannot be reached (${causeOf(error)}).\n${byHand}`);
  }
  const range = /^bytes (?:(\d+)-\d+|\*)\/(\d+|\*)$/.exec(response.headers.get('content-range') ?? '');
  const rangeTotal = range?.[2] === undefined || range[2] === '*' ? undefined : Number(range[2]);
  if (response.status === 416) {
    await response.body?.cancel();
    // Nothing is left to fetch, or the part belongs to another file.
    if (rangeTotal === have) return 'done';
    await file.truncate(0);
    return 'the server has a shorter file';
  }
  if (!response.ok || !response.body) {
    await response.body?.cancel();
    throw new VggError(`${url}: the server answers ${response.status} ${response.statusText}.\n${byHand}`);
  }
  let bytes = have;
  if (response.status !== 206 || Number(range?.[1]) !== have) {
    await file.truncate(0);
    bytes = 0;
    if (response.status === 206) {
      await response.body.cancel();
      return 'the server sent another range than asked for';
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
  ENOTFOUND: "the server's name is not known; is there a network?",
  EAI_AGAIN: "the server's name cannot be looked up; is there a network?",
  ENETUNREACH: 'there is no network',
  EHOSTUNREACH: 'there is no way to the server',
  ECONNREFUSED: 'the server refuses the connection',
  ECONNRESET: 'the server closed the connection',
  UND_ERR_SOCKET: 'the server closed the connection',
  ETIMEDOUT: 'the server does not answer',
  UND_ERR_CONNECT_TIMEOUT: 'the server does not answer',
  UND_ERR_HEADERS_TIMEOUT: 'the server does not answer',
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

/** Unpacks the record files into a folder beside `folder`, and renames it. */
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
    if (first) throw new DataError(`${archive} lacks ${format.folders.binary}/${first.binary}`);
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
      // `writeSync` may stop short on a full disk and say nothing.
      onDisk(path, () => writeFileSync(descriptor, chunk));
      left -= chunk.length;
    }
  } finally {
    closeSync(descriptor);
  }
}
