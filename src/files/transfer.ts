/**
 * Downloads a file to a `.part` file, resuming interrupted transfers, and checks its checksum (Node only).
 */
import { createHash } from 'node:crypto';
import { constants, rmSync, statSync } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { DataError, VggError } from '../errors.ts';
import { cannotRead, cannotWrite, openRegular } from './files.ts';

export interface TransferProgress {
  readonly phase: 'transfer' | 'check';
  /** Bytes received so far, including resumed ones. */
  readonly bytes: number;
  /** Bytes of the whole file; undefined if the server does not say. */
  readonly total: number | undefined;
}

export interface Transfer {
  readonly url: string;
  /** Where the bytes go. */
  readonly part: string;
  readonly algorithm: 'md5' | 'sha256';
  /** The first hexadecimal digits of the checksum, or all of them. */
  readonly checksum: string;
  /** What to do without this program, for error messages. */
  readonly byHand: string;
  readonly onProgress?: ((progress: TransferProgress) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Consecutive attempts without a new byte before giving up. */
const fruitlessAttempts = 3;

/**
 * Downloads a file until its checksum is right.
 * @throws DataError for a wrong checksum, VggError for network and disk errors.
 */
export async function transferFile(transfer: Transfer): Promise<void> {
  const { url, part, algorithm, checksum, byHand, onProgress, signal } = transfer;
  // An earlier `.part` file may belong to another file, so a wrong sum after resuming restarts the transfer once.
  for (let resumed = sizeOf(part) > 0; ; resumed = false) {
    await receive(transfer);
    onProgress?.({ phase: 'check', bytes: 0, total: undefined });
    const found = await checksumOf(part, algorithm, signal);
    if (found.startsWith(checksum)) return;
    rmSync(part, { force: true });
    if (resumed) continue;
    const [name, shown] = [algorithm === 'md5' ? 'MD5' : 'SHA-256', found.slice(0, checksum.length)];
    throw new DataError(
      `${url}: the file has ${name} ${shown}, not the official ${checksum}. It was deleted; try again.\n${byHand}`,
    );
  }
}

/** The file's size; 0 if it does not exist or is not accessible. */
export function sizeOf(path: string): number {
  try {
    return statSync(path).size;
  } catch {
    return 0;
  }
}

/** Runs a disk operation; its error says what to do. */
export function onDisk<T>(directory: string, body: () => T): T {
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
async function receive(transfer: Transfer): Promise<void> {
  const { url, part, byHand, signal } = transfer;
  let file: FileHandle;
  try {
    file = await openRegular(part, constants.O_RDWR | constants.O_APPEND | constants.O_CREAT);
  } catch (error) {
    throw diskError(part, error);
  }
  try {
    for (let fruitless = 0; ; ) {
      const before = (await file.stat()).size;
      const outcome = await attempt(transfer, file);
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
async function attempt(transfer: Transfer, file: FileHandle): Promise<string> {
  const { url, part, byHand, onProgress, signal } = transfer;
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
      if (total !== undefined && bytes + chunk.length > total) {
        await file.truncate(0);
        return `the server sent more than the ${total} bytes that it announced`;
      }
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

/** The checksum of a file, in hexadecimal digits. @throws DataError if it cannot be read. */
export async function checksumOf(
  path: string,
  algorithm: 'md5' | 'sha256',
  signal?: AbortSignal,
): Promise<string> {
  const hash = createHash(algorithm);
  try {
    const file = await openRegular(path);
    for await (const chunk of file.createReadStream({ highWaterMark: 1 << 20 })) {
      signal?.throwIfAborted();
      hash.update(chunk as Uint8Array);
    }
  } catch (error) {
    signal?.throwIfAborted();
    throw cannotRead(path, error);
  }
  return hash.digest('hex');
}
