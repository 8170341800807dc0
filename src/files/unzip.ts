/**
 * Unpacks zip archives of files: stored and deflated entries. Archives are untrusted: names that lead outside, links, equal
 * names, and archives that unpack to more than a limit are errors, before anything is unpacked; an entry that unpacks to
 * more than its directory says is stopped there.
 */
import { crc32 } from '../crc32.ts';
import { DataError } from '../errors.ts';
import type { PartReader } from './parts.ts';
import { beginOf, damaged, readZip, type ZipEntry } from './zip.ts';

export interface UnzipLimits {
  /** Files and folders. */
  readonly entries: number;
  /** Of all files, unpacked. */
  readonly bytes: number;
}

/** A file in an archive. */
export interface ZippedFile {
  /** With `/`, relative, without `.` and `..`. */
  readonly path: string;
  /** Unpacked. */
  readonly size: number;
  /** Its bytes in order, in pieces. @throws DataError if they are not those that the directory promises. */
  readonly pieces: () => AsyncGenerator<Uint8Array<ArrayBuffer>, void, void>;
}

/** Bytes of the directory for an entry: its name has at most so many. */
const mostEntryBytes = 1024;
const pieceBytes = 2 ** 20;
/** The type of a file of Unix: the bits, a regular file, a folder. */
const [typeBits, regularType, folderType] = [0xf000, 0x8000, 0x4000];

/** The files of an archive, in its order. @throws DataError, without the archive's name. */
export async function filesInZip(file: PartReader, limits: UnzipLimits): Promise<readonly ZippedFile[]> {
  const entries = await readZip(file, {
    entries: limits.entries,
    directoryBytes: limits.entries * mostEntryBytes,
  });
  let total = 0;
  const seen = new Set<string>();
  const files: ZippedFile[] = [];
  for (const entry of entries.values()) {
    const path = pathOf(entry);
    if (path === undefined) continue;
    if (seen.has(path)) throw damaged(`it has the entry ${shownName(path)} twice`);
    seen.add(path);
    total += entry.unpacked;
    if (total > limits.bytes)
      throw new DataError(`it unpacks to more than ${limits.bytes} bytes; use a smaller archive`);
    files.push({ path, size: entry.unpacked, pieces: () => piecesOf(file, entry) });
  }
  return files;
}

const shownName = (name: string): string => JSON.stringify(name.slice(0, 200));

/** The path of a file; undefined for a folder. */
function pathOf({ name, method, mode, unpacked }: ZipEntry): string | undefined {
  const type = mode & typeBits;
  if (type !== 0 && type !== regularType && type !== folderType)
    throw new DataError(
      `its entry ${shownName(name)} is a link or a special file; archives may only have files`,
    );
  const parts = name.split('/');
  if (name === '' || /[\\\0]/.test(name) || /^(\/|[a-z]:)/i.test(name) || parts.includes('..'))
    throw new DataError(
      `its entry ${shownName(name)} is outside the archive's folder; do not unpack this archive`,
    );
  if (name.endsWith('/')) {
    if (unpacked > 0) throw damaged(`the folder ${shownName(name)} has content`);
    return undefined;
  }
  if (method !== 0 && method !== 8)
    throw new DataError(`its entry ${shownName(name)} is compressed by method ${method}; use "deflate"`);
  return parts.filter((part) => part !== '' && part !== '.').join('/');
}

/** The packed bytes of an entry. */
async function* packedPieces(
  file: PartReader,
  entry: ZipEntry,
): AsyncGenerator<Uint8Array<ArrayBuffer>, void, void> {
  const begin = await beginOf(file, entry);
  for (let at = 0; at < entry.size; at += pieceBytes) {
    const piece = new Uint8Array(Math.min(pieceBytes, entry.size - at));
    if ((await file.read(piece, begin + at)) < piece.length)
      throw damaged('it was cut short while it was read');
    yield piece;
  }
}

async function* piecesOf(
  file: PartReader,
  entry: ZipEntry,
): AsyncGenerator<Uint8Array<ArrayBuffer>, void, void> {
  const name = shownName(entry.name);
  let [length, sum] = [0, 0];
  const packed = packedPieces(file, entry);
  for await (const piece of entry.method === 0 ? packed : inflated(packed, name)) {
    length += piece.length;
    if (length > entry.unpacked)
      throw damaged(`entry ${name} unpacks to more than the ${entry.unpacked} bytes of the directory`);
    sum = crc32(piece, sum);
    yield piece;
  }
  if (length < entry.unpacked)
    throw damaged(`entry ${name} unpacks to ${length} bytes instead of ${entry.unpacked}`);
  if (sum !== entry.crc) throw damaged(`the checksum of entry ${name} is wrong`);
}

/** Ends with the last piece that is asked for, so that a bomb unpacks only to what its reader takes. */
async function* inflated(
  packed: AsyncGenerator<Uint8Array<ArrayBuffer>, void, void>,
  name: string,
): AsyncGenerator<Uint8Array<ArrayBuffer>, void, void> {
  let problem: unknown;
  const source = new ReadableStream<Uint8Array<ArrayBuffer>>({
    async pull(controller) {
      try {
        const { value, done } = await packed.next();
        if (done) controller.close();
        else controller.enqueue(value);
      } catch (error) {
        problem = error;
        controller.error(error);
      }
    },
  });
  const reader = source.pipeThrough(new DecompressionStream('deflate-raw')).getReader();
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      yield value as Uint8Array<ArrayBuffer>;
    }
  } catch (error) {
    throw problem ?? damaged(`entry ${name} is not deflated data (${(error as Error).message})`);
  } finally {
    await reader.cancel().catch(() => undefined);
  }
}

/** All bytes of a file, whose size was checked. */
export async function bytesOfZipped({ size, pieces }: ZippedFile): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = new Uint8Array(size);
  let at = 0;
  for await (const piece of pieces()) {
    bytes.set(piece, at);
    at += piece.length;
  }
  return bytes;
}
