/**
 * The directory of a zip archive, with zip64, and its entries that are stored, not compressed: these are ranges of the
 * file, as PyTorch writes them. `unzip.ts` unpacks archives of files. Every size is checked before it is used. Source:
 * PKWARE's APPNOTE.TXT, 4.3 to 4.5.
 */
import { crc32 } from '../crc32.ts';
import { DataError } from '../errors.ts';
import type { PartReader } from './parts.ts';

/** What an archive's directory may have. */
export interface ZipLimits {
  readonly entries: number;
  readonly directoryBytes: number;
}

const usualLimits: ZipLimits = { entries: 10_000, directoryBytes: 8 * 2 ** 20 };
const partBytes = 2 ** 20;

const signatures = {
  local: 0x04034b50,
  central: 0x02014b50,
  end: 0x06054b50,
  end64: 0x06064b50,
  locator64: 0x07064b50,
};
const endBytes = 22;
const locator64Bytes = 20;
const end64Bytes = 56;
const localBytes = 30;
const centralBytes = 46;
const maxCommentBytes = 65_535;

/** An entry as the directory describes it. */
export interface ZipEntry {
  readonly name: string;
  /** In the file. */
  readonly size: number;
  /** Unpacked, as the directory says. */
  readonly unpacked: number;
  /** 0: stored, 8: deflated. */
  readonly method: number;
  /** The type and permissions of a file of Unix, or 0. */
  readonly mode: number;
  readonly crc: number;
  /** Where its local header begins. */
  readonly begin: number;
  /** Where the next entry or the directory begins. */
  readonly limit: number;
}

export const damaged = (problem: string): DataError =>
  new DataError(`damaged or cut short: ${problem}; get the file again`);

/** Whether a file starts like a zip archive. */
export const startsLikeZip = (start: Uint8Array): boolean =>
  start.length >= 4 && start[0] === 0x50 && start[1] === 0x4b && start[2] === 3 && start[3] === 4;

/** Reads the directory of an archive: its entries by name. Compressed ones are only listed. @throws DataError */
export async function readZip(
  file: PartReader,
  limits: ZipLimits = usualLimits,
): Promise<ReadonlyMap<string, ZipEntry>> {
  const { begin, size, count } = await readEnd(file);
  if (count > limits.entries)
    throw new DataError(`it has ${count} entries, above the limit of ${limits.entries}`);
  if (size > limits.directoryBytes)
    throw new DataError(`its directory has ${size} bytes, above the limit of ${limits.directoryBytes}`);
  const directory = await readBytes(file, begin, size);
  const found: Omit<ZipEntry, 'limit'>[] = [];
  let at = 0;
  for (let i = 0; i < count; i++) {
    const { entry, end } = readCentral(directory, at);
    found.push(entry);
    at = end;
  }
  if (at !== size) throw damaged(`its directory has ${size} bytes, but its entries take ${at}`);
  return withLimits(found, begin);
}

/** Rejects entries that overlap, leave the file, or have the same name. */
function withLimits(
  found: readonly Omit<ZipEntry, 'limit'>[],
  directory: number,
): ReadonlyMap<string, ZipEntry> {
  const sorted = found.toSorted((a, b) => a.begin - b.begin);
  const entries = new Map<string, ZipEntry>();
  for (const [i, entry] of sorted.entries()) {
    const limit = sorted[i + 1]?.begin ?? directory;
    const name = JSON.stringify(entry.name.slice(0, 200));
    if (entry.begin + localBytes + entry.size > limit)
      throw damaged(
        `entry ${name} of ${entry.size} bytes at ${entry.begin} overlaps what begins at ${limit}`,
      );
    if (entries.has(entry.name)) throw damaged(`it has the entry ${name} twice`);
    entries.set(entry.name, { ...entry, limit });
  }
  return entries;
}

/** The place of the directory, from the records at the end of the file. */
async function readEnd(
  file: PartReader,
): Promise<{ readonly begin: number; readonly size: number; readonly count: number }> {
  const length = Math.min(file.size, locator64Bytes + endBytes + maxCommentBytes);
  const start = file.size - length;
  const bytes = await readBytes(file, start, length);
  const view = viewOf(bytes);
  let at = length - endBytes;
  while (
    at >= 0 &&
    !(view.getUint32(at, true) === signatures.end && at + endBytes + view.getUint16(at + 20, true) === length)
  )
    at--;
  if (at < 0) throw damaged('it starts like a zip archive, but has no directory at its end');
  const end64 = await readEnd64(file, view, at - locator64Bytes);
  const record = end64 ?? {
    place: start + at,
    disks: view.getUint32(at + 4, true),
    count: view.getUint16(at + 10, true),
    size: view.getUint32(at + 12, true),
    begin: view.getUint32(at + 16, true),
  };
  const { place, disks, count, size, begin } = record;
  if (disks !== 0) throw damaged('it is one of several parts of an archive');
  if (begin + size !== place)
    throw damaged(`its directory of ${size} bytes at ${begin} does not end at ${place}`);
  return { begin, size, count };
}

async function readEnd64(
  file: PartReader,
  view: DataView,
  locator: number,
): Promise<
  | {
      readonly place: number;
      readonly disks: number;
      readonly count: number;
      readonly size: number;
      readonly begin: number;
    }
  | undefined
> {
  if (locator < 0 || view.getUint32(locator, true) !== signatures.locator64) return undefined;
  const place = uint64(view, locator + 8);
  if (place + end64Bytes > file.size) throw damaged('its zip64 record is outside the file');
  const record = viewOf(await readBytes(file, place, end64Bytes));
  if (record.getUint32(0, true) !== signatures.end64) throw damaged('its zip64 record is missing');
  return {
    place,
    disks: Math.max(record.getUint32(16, true), record.getUint32(20, true)),
    count: uint64(record, 32),
    size: uint64(record, 40),
    begin: uint64(record, 48),
  };
}

function readCentral(
  bytes: Uint8Array,
  at: number,
): { readonly entry: Omit<ZipEntry, 'limit'>; readonly end: number } {
  const view = viewOf(bytes);
  if (at + centralBytes > bytes.length || view.getUint32(at, true) !== signatures.central)
    throw damaged(`its directory has no entry at byte ${at}`);
  const [nameLength, extraLength, commentLength] = [28, 30, 32].map((offset) =>
    view.getUint16(at + offset, true),
  ) as [number, number, number];
  const nameEnd = at + centralBytes + nameLength;
  const end = nameEnd + extraLength + commentLength;
  if (end > bytes.length) throw damaged(`its directory ends within the entry at byte ${at}`);
  const name = nameIn(bytes.subarray(at + centralBytes, nameEnd));
  const shown = JSON.stringify(name.slice(0, 200));
  if (view.getUint16(at + 8, true) & 1)
    throw new DataError(`its entry ${shown} is encrypted; save it without a password`);
  const large = zip64Fields(bytes.subarray(nameEnd, nameEnd + extraLength));
  /** A field of 4 bytes, or the next one of 8 bytes that replaces it. */
  const field = (offset: number): number => {
    const value = view.getUint32(at + offset, true);
    if (value !== 0xffff_ffff) return value;
    const replaced = large.shift();
    if (replaced === undefined) throw damaged(`entry ${shown} lacks a zip64 field`);
    return replaced;
  };
  const size = field(24);
  const stored = field(20);
  const begin = field(42);
  const method = view.getUint16(at + 10, true);
  if (stored !== size && method === 0)
    throw damaged(`entry ${shown} is stored, but its sizes are ${stored} and ${size}`);
  const crc = view.getUint32(at + 16, true);
  // The upper half of the external attributes, where the archive was made on Unix (3).
  const mode = view.getUint8(at + 5) === 3 ? view.getUint16(at + 40, true) : 0;
  return { entry: { name, size: stored, unpacked: size, method, mode, begin, crc }, end };
}

/** The numbers of a zip64 extra field. */
function zip64Fields(extra: Uint8Array): number[] {
  const view = viewOf(extra);
  for (let at = 0; at + 4 <= extra.length; ) {
    const end = at + 4 + view.getUint16(at + 2, true);
    if (view.getUint16(at, true) === 1 && end <= extra.length) {
      const count = Math.min(3, Math.floor((end - at - 4) / 8));
      return Array.from({ length: count }, (_, i) => uint64(view, at + 4 + 8 * i));
    }
    at = end;
  }
  return [];
}

/** Where an entry's bytes begin. @throws DataError if its local header contradicts the directory. */
export async function beginOf(
  file: PartReader,
  { name, begin, size, limit, method }: ZipEntry,
): Promise<number> {
  const shown = JSON.stringify(name.slice(0, 200));
  const header = viewOf(await readBytes(file, begin, localBytes));
  const start = begin + localBytes + header.getUint16(26, true) + header.getUint16(28, true);
  if (
    header.getUint32(0, true) !== signatures.local ||
    header.getUint16(8, true) !== method ||
    start + size > limit
  )
    throw damaged(`the header of entry ${shown} contradicts the directory`);
  const found = await readBytes(file, begin + localBytes, header.getUint16(26, true));
  if (nameIn(found) !== name)
    throw damaged(`the entry ${shown} of the directory is called otherwise at its place`);
  return start;
}

/** Reads an entry of at most `most` bytes and checks its checksum. @throws DataError */
export async function readEntry(file: PartReader, entry: ZipEntry, most: number): Promise<Uint8Array> {
  const { name, size, crc } = entry;
  if (size > most)
    throw new DataError(
      `its entry ${JSON.stringify(name.slice(0, 200))} has ${size} bytes, above the limit of ${most}`,
    );
  const bytes = await readBytes(file, await beginOf(file, entry), size);
  if (crc32(bytes) !== crc) throw wrongSum(name);
  return bytes;
}

/**
 * Checks an entry's checksum as its bytes are read in order, so that they are read once. If they are read otherwise, the
 * whole entry is read for it first.
 */
export class EntryCheck {
  readonly #file: PartReader;
  readonly #entry: ZipEntry;
  readonly #begin: number;
  /** Bytes from the beginning whose sum is known. */
  #next = 0;
  #sum = 0;
  #isDone = false;

  /** `begin` is from `beginOf`. */
  constructor(file: PartReader, entry: ZipEntry, begin: number) {
    this.#file = file;
    this.#entry = entry;
    this.#begin = begin;
  }

  /** Is told of bytes of the file before they are used. @throws DataError if the checksum is wrong. */
  async follow(bytes: Uint8Array, position: number): Promise<void> {
    if (this.#isDone) return;
    const { name, size, crc } = this.#entry;
    if (position !== this.#begin + this.#next) return this.whole();
    this.#sum = crc32(bytes, this.#sum);
    this.#next += bytes.length;
    if (this.#next < size) return;
    if (this.#sum !== crc) throw wrongSum(name);
    this.#isDone = true;
  }

  /** Checks all bytes at once. @throws DataError if the checksum is wrong. */
  async whole(): Promise<void> {
    if (this.#isDone) return;
    await checkSum(this.#file, this.#entry, this.#begin);
    this.#isDone = true;
  }
}

async function checkSum(file: PartReader, { name, size, crc }: ZipEntry, begin: number): Promise<void> {
  const part = new Uint8Array(Math.min(size, partBytes));
  let sum = 0;
  for (let at = 0; at < size; at += part.length) {
    const bytes = part.subarray(0, Math.min(part.length, size - at));
    if ((await file.read(bytes, begin + at)) < bytes.length)
      throw damaged('it was cut short while it was read');
    sum = crc32(bytes, sum);
  }
  if (sum !== crc) throw wrongSum(name);
}

const wrongSum = (name: string): DataError =>
  damaged(`the checksum of entry ${JSON.stringify(name.slice(0, 200))} is wrong`);

/** Reads `length` bytes, a checked length. */
export async function readBytes(file: PartReader, at: number, length: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(length);
  if ((await file.read(bytes, at)) < length) throw damaged(`it ends before byte ${at + length}`);
  return bytes;
}

const viewOf = (bytes: Uint8Array): DataView =>
  new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/** Numbers beyond 2⁵³ are inexact, but larger than any file. */
const uint64 = (view: DataView, at: number): number => Number(view.getBigUint64(at, true));

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
function nameIn(bytes: Uint8Array): string {
  try {
    return utf8.decode(bytes);
  } catch {
    throw damaged('the name of an entry is not UTF-8');
  }
}
