/**
 * Reads tar archives in all formats that GNU tar and BSD tar write: v7, ustar, GNU (long names, sparse files) and pax.
 * Archives are untrusted: absolute paths, paths outside the archive, links, devices, too many members and too many bytes
 * are errors. No path of the archive is ever opened; a visitor receives the bytes of the names it wants.
 * Formats: POSIX.1-2008 `pax`; GNU tar's manual, "Basic Tar Format" and "Storing Sparse Files".
 * Not a library, because members are read directly into the data set's memory and errors must name the member.
 */
import { DataError } from '../errors.ts';
import { exactly, type Parser, skip } from './byte-parser.ts';

/** A regular file in the archive. */
export interface TarMember {
  readonly path: string;
  /** Bytes. */
  readonly size: number;
}

/** Limits for an archive; CIFAR's have 8 or 9 members and 187 MB. */
export interface TarLimits {
  readonly members: number;
  readonly bytes: number;
}

export const tarLimits: TarLimits = { members: 64, bytes: 256 * 2 ** 20 };

const blockSize = 512;
/** The most bytes of an extended header, a long name or a sparse file's map. */
const mostMeta = 65_536;

/** A stored piece of a sparse file; the gaps between pieces are zeros. */
interface Piece {
  readonly offset: number;
  readonly size: number;
}

/** What extended headers override in the next member. */
interface Extended {
  path?: string;
  size?: number;
  /** For a sparse file: its full size and its pieces, which pax 1.0 stores before the content. */
  realSize?: number;
  map?: number[];
  mapInContent?: boolean;
}

/**
 * Reads an uncompressed tar stream to its end marker. `visit` returns the parser for a member's content, or undefined
 * to skip it. @throws DataError that names `file`.
 */
export function* readTar(
  file: string,
  visit: (member: TarMember) => Parser<void> | undefined,
  limits: TarLimits = tarLimits,
): Parser<void> {
  let members = 0;
  let bytes = 0;
  let extended: Extended = {};
  const count = (size: number, path: string): void => {
    bytes += size;
    if (bytes > limits.bytes) {
      throw new DataError(
        `${file} unpacks to more than ${limits.bytes} bytes (at ${path}); this is not a CIFAR archive`,
      );
    }
  };
  for (;;) {
    const block = yield blockSize;
    if (block.every((byte) => byte === 0)) return;
    const header = parseHeader(block, file);
    const { type } = header;
    const isMeta = metaTypes.includes(type);
    const stored = (isMeta ? undefined : extended.size) ?? header.size;
    members += 1;
    if (members > limits.members)
      throw new DataError(`${file} has more than ${limits.members} members; this is not a CIFAR archive`);
    if (isMeta) {
      count(stored, header.path);
      if (stored > mostMeta)
        throw new DataError(
          `${file}: an extended (pax or GNU) header has ${stored} bytes, above the limit of ${mostMeta}`,
        );
      const content = yield stored;
      if (type === 'x') extended = { ...extended, ...parsePax(content, file) };
      if (type === 'L') extended.path = field(content, 0, content.length);
    } else {
      const own = type === 'S' ? yield* oldSparse(block, extended, file) : extended;
      extended = {};
      const path = own.path ?? header.path;
      const size = own.realSize ?? stored;
      count(Math.max(size, stored), path);
      checkPath(path, file);
      const kind = type === 'S' || type === '7' ? '0' : type === '0' && path.endsWith('/') ? '5' : type;
      if (kind !== '0' && kind !== '5') {
        throw new DataError(
          `${file}: member ${path} is a link or special file (type ${type}); archives may contain only files and folders`,
        );
      }
      const content = kind === '0' ? visit({ path, size }) : undefined;
      const name = `${path} in ${file}`;
      if (content === undefined) yield* skip(stored);
      else if (own.realSize === undefined) yield* exactly(content, size, name);
      else yield* exactly(sparse(exactly(content, size, name), own, stored, name), stored, name);
    }
    yield* skip((blockSize - (stored % blockSize)) % blockSize);
  }
}

/** Headers for the next member or all members (pax), its long name or link (GNU), and the archive's label. */
const metaTypes: readonly string[] = ['x', 'g', 'L', 'K', 'V'];

function parseHeader(block: Uint8Array, file: string): TarMember & { readonly type: string } {
  const stored = numberAt(block, 148, 8);
  const sum = block.reduce((total, byte, i) => total + (i >= 148 && i < 156 ? 32 : byte), 0);
  if (stored !== sum) {
    throw new DataError(
      `${file} is not a tar archive or is corrupt: a member's header has a wrong checksum; download it again`,
    );
  }
  const name = field(block, 0, 100);
  // GNU tar leaves the size of a label empty.
  const size = block[124] === 0 ? 0 : numberAt(block, 124, 12);
  if (size === undefined)
    throw new DataError(`${file}: member ${name} has no valid size in its header; download it again`);
  const prefix = field(block, 257, 6) === 'ustar' && block[263] === 48 ? field(block, 345, 155) : '';
  const type = block[156] === 0 ? '0' : String.fromCharCode(block[156]!);
  return { path: prefix === '' ? name : `${prefix}/${name}`, size, type };
}

/** Reads a text field up to its first NUL. */
function field(block: Uint8Array, start: number, length: number): string {
  const bytes = block.subarray(start, start + length);
  const end = bytes.indexOf(0);
  return new TextDecoder().decode(end < 0 ? bytes : bytes.subarray(0, end));
}

/** Reads a number in octal, or in base 256 after a byte of 0x80; undefined if the field is neither. */
function numberAt(block: Uint8Array, start: number, length: number): number | undefined {
  if (block[start] === 0x80) {
    const value = block.subarray(start + 1, start + length).reduce((sum, byte) => 256 * sum + byte, 0);
    return Number.isSafeInteger(value) ? value : undefined;
  }
  const digits = field(block, start, length).trim();
  return /^[0-7]+$/.test(digits) ? Number.parseInt(digits, 8) : undefined;
}

/** Parses the records of a pax header, "length key=value\n", that override a member's path, size or pieces. */
function parsePax(bytes: Uint8Array, file: string): Extended {
  const corrupt = (): DataError =>
    new DataError(`${file}: an extended (pax) header is corrupt; download it again`);
  const found: Extended = {};
  const whole = (value: string): number => {
    if (!/^\d{1,15}$/.test(value)) throw corrupt();
    return Number(value);
  };
  for (let start = 0; start < bytes.length; ) {
    const space = bytes.indexOf(32, start);
    const length = Number(new TextDecoder().decode(bytes.subarray(start, Math.max(space, start))));
    if (!Number.isInteger(length) || length < 5 || start + length > bytes.length) throw corrupt();
    const record = new TextDecoder().decode(bytes.subarray(space + 1, start + length - 1));
    const equals = record.indexOf('=');
    if (equals < 0) throw corrupt();
    const value = record.slice(equals + 1);
    switch (record.slice(0, equals)) {
      case 'path':
        found.path ??= value;
        break;
      case 'GNU.sparse.name':
        found.path = value;
        break;
      case 'size':
        found.size = whole(value);
        break;
      case 'GNU.sparse.realsize':
      case 'GNU.sparse.size':
        found.realSize = whole(value);
        break;
      case 'GNU.sparse.major':
        found.mapInContent = whole(value) === 1;
        break;
      case 'GNU.sparse.map':
        found.map = value.split(',').map(whole);
        break;
      case 'GNU.sparse.offset':
      case 'GNU.sparse.numbytes':
        found.map = [...(found.map ?? []), whole(value)];
        break;
      default:
    }
    start += length;
  }
  return found;
}

/** Reads the pieces of a sparse member in the old GNU format, from its header and the blocks after it. */
function* oldSparse(block: Uint8Array, extended: Extended, file: string): Parser<Extended> {
  const map: number[] = [];
  const realSize = numberAt(block, 483, 12);
  const take = (from: Uint8Array, start: number, pieces: number): void => {
    for (let at = start; at < start + 24 * pieces && from[at + 12] !== 0; at += 24) {
      map.push(numberAt(from, at, 12) ?? Number.NaN, numberAt(from, at + 12, 12) ?? Number.NaN);
    }
  };
  take(block, 386, 4);
  for (let more = block[482]; more !== 0; ) {
    const next = yield blockSize;
    take(next, 0, 21);
    more = next[504];
    if (map.length > mostMeta)
      throw new DataError(`${file}: a sparse file has more than ${mostMeta / 2} pieces`);
  }
  return { ...extended, realSize: realSize ?? Number.NaN, map };
}

/** Feeds a complete sparse file to `content`: the stored pieces and the zeros between them. */
function* sparse(content: Parser<void>, own: Extended, stored: number, name: string): Parser<void> {
  const size = own.realSize ?? 0;
  const { map, bytes } = own.mapInContent
    ? yield* mapInContent(stored, name)
    : { map: own.map ?? [], bytes: 0 };
  const pieces: Piece[] = [];
  let end = 0;
  let held = bytes;
  for (let i = 0; i < map.length; i += 2) {
    const [offset = Number.NaN, length = Number.NaN] = map.slice(i, i + 2);
    if (!(offset >= end && offset + length <= size))
      throw new DataError(`${name}: the map of a sparse file is corrupt`);
    pieces.push({ offset, size: length });
    end = offset + length;
    held += length;
  }
  if (held !== stored) throw new DataError(`${name}: the map of a sparse file is corrupt`);
  let at = 0;
  let next = 0;
  let step = content.next(new Uint8Array(0));
  while (!step.done) {
    const target = typeof step.value === 'number' ? new Uint8Array(step.value) : step.value.fill(0);
    const until = at + target.length;
    for (; next < pieces.length && pieces[next]!.offset < until; next++) {
      const piece = pieces[next]!;
      const from = Math.max(at, piece.offset);
      const to = Math.min(until, piece.offset + piece.size);
      if (from < to) yield target.subarray(from - at, to - at);
      if (piece.offset + piece.size > until) break;
    }
    at = until;
    step = content.next(target);
  }
}

/** Reads the map of pax 1.0: the number of pieces, then offset and size of each, one number per line, in whole blocks. */
function* mapInContent(stored: number, name: string): Parser<{ map: number[]; bytes: number }> {
  let text = '';
  for (let bytes = blockSize; bytes <= Math.min(stored, mostMeta); bytes += blockSize) {
    text += new TextDecoder('latin1').decode(yield blockSize);
    const lines = text.split('\n');
    const pieces = /^\d{1,9}$/.test(lines[0]!) ? Number(lines[0]) : Number.NaN;
    if (lines.length > 1 + 2 * pieces) return { map: lines.slice(1, 1 + 2 * pieces).map(Number), bytes };
    if (lines.length > 1 && Number.isNaN(pieces)) break;
  }
  throw new DataError(`${name}: the map of a sparse file is corrupt`);
}

function checkPath(path: string, file: string): void {
  const parts = path.split(/[/\\]/);
  if (path === '' || path.includes('\0') || /^([/\\]|[a-z]:)/i.test(path) || parts.includes('..')) {
    throw new DataError(
      `${file}: member "${path}" is outside the archive's folder; do not unpack this archive, download the official one`,
    );
  }
}
