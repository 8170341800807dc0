/**
 * A reader of tar archives (POSIX ustar and pax, which is all that CIFAR's archives use) that trusts nothing: paths
 * that are absolute or climb out, links, devices, too many members and too many bytes are errors, and no path of the
 * archive is ever opened: the visitor knows the names that it wants and gets their bytes.
 * Of our own, since members must flow straight into the data set's memory, and since a refusal must name its member.
 */
import { DataError } from '../errors.ts';
import { exactly, type Parser, skip } from './byte-parser.ts';

/** A regular file in the archive. */
export interface TarMember {
  readonly path: string;
  /** Bytes. */
  readonly size: number;
}

/** Bounds on what an archive may hold; CIFAR's hold 8 or 9 members and 187 MB. */
export interface TarLimits {
  readonly members: number;
  readonly bytes: number;
}

export const tarLimits: TarLimits = { members: 64, bytes: 256 * 2 ** 20 };

const blockSize = 512;

/**
 * Reads an unpacked tar stream to its end mark. `visit` returns the parser for a member's content, or undefined to
 * pass over it. @throws DataError in the name of `file`.
 */
export function* readTar(
  file: string,
  visit: (member: TarMember) => Parser<void> | undefined,
  limits: TarLimits = tarLimits,
): Parser<void> {
  let members = 0;
  let bytes = 0;
  let extended: Partial<TarMember> = {};
  for (;;) {
    const block = yield blockSize;
    if (block.every((byte) => byte === 0)) return;
    const header = parseHeader(block, file);
    const meta = header.type === 'x' || header.type === 'g';
    const path = (meta ? undefined : extended.path) ?? header.path;
    const size = (meta ? undefined : extended.size) ?? header.size;
    members += 1;
    bytes += size;
    if (members > limits.members) {
      throw new DataError(`${file} holds more than ${limits.members} members; this is no CIFAR archive`);
    }
    if (bytes > limits.bytes) {
      throw new DataError(
        `${file} unpacks to more than ${limits.bytes} bytes (at ${path}); this is no CIFAR archive`,
      );
    }
    if (meta) {
      if (size > 65_536) throw new DataError(`${file}: an extended (pax) header has ${size} bytes`);
      const records = parsePax(yield size, file);
      if (header.type === 'x') extended = records;
    } else {
      extended = {};
      checkPath(path, file);
      if (header.type !== '0' && header.type !== '5') {
        throw new DataError(
          `${file}: member ${path} is a link or special file (type ${header.type}); only files and folders are read`,
        );
      }
      const content = header.type === '0' ? visit({ path, size }) : undefined;
      yield* content === undefined ? skip(size) : exactly(content, size, `${path} in ${file}`);
    }
    yield* skip((blockSize - (size % blockSize)) % blockSize);
  }
}

function parseHeader(block: Uint8Array, file: string): TarMember & { readonly type: string } {
  const stored = octal(block, 148, 8);
  const sum = block.reduce((total, byte, i) => total + (i >= 148 && i < 156 ? 32 : byte), 0);
  if (stored !== sum) {
    throw new DataError(
      `${file} is not a tar archive, or a corrupt one: a member's header has a wrong checksum`,
    );
  }
  const name = field(block, 0, 100);
  const size = octal(block, 124, 12);
  if (size === undefined) throw new DataError(`${file}: member ${name} has no readable size in its header`);
  const prefix = field(block, 257, 6) === 'ustar' && block[263] === 48 ? field(block, 345, 155) : '';
  const type = block[156] === 0 ? '0' : String.fromCharCode(block[156]!);
  return { path: prefix === '' ? name : `${prefix}/${name}`, size, type };
}

/** A field up to its first NUL. */
function field(block: Uint8Array, start: number, length: number): string {
  const bytes = block.subarray(start, start + length);
  const end = bytes.indexOf(0);
  return new TextDecoder().decode(end < 0 ? bytes : bytes.subarray(0, end));
}

/** An octal number, or undefined where the field holds none (the base-256 form is for files over 8 GB). */
function octal(block: Uint8Array, start: number, length: number): number | undefined {
  const digits = field(block, start, length).trim();
  return /^[0-7]+$/.test(digits) ? Number.parseInt(digits, 8) : undefined;
}

/** The records of a pax header, "length key=value\n", that change a member's path or size. */
function parsePax(bytes: Uint8Array, file: string): Partial<TarMember> {
  const corrupt = (): DataError => new DataError(`${file}: an extended (pax) header is corrupt`);
  let path: string | undefined;
  let size: number | undefined;
  for (let start = 0; start < bytes.length; ) {
    const space = bytes.indexOf(32, start);
    const length = Number(new TextDecoder().decode(bytes.subarray(start, Math.max(space, start))));
    if (!Number.isInteger(length) || length < 5 || start + length > bytes.length) throw corrupt();
    const record = new TextDecoder().decode(bytes.subarray(space + 1, start + length - 1));
    const equals = record.indexOf('=');
    if (equals < 0) throw corrupt();
    const value = record.slice(equals + 1);
    if (record.startsWith('path=')) path = value;
    if (record.startsWith('size=')) {
      if (!/^\d{1,15}$/.test(value)) throw corrupt();
      size = Number(value);
    }
    start += length;
  }
  return { ...(path === undefined ? {} : { path }), ...(size === undefined ? {} : { size }) };
}

function checkPath(path: string, file: string): void {
  const parts = path.split(/[/\\]/);
  if (path === '' || path.includes('\0') || /^([/\\]|[a-z]:)/i.test(path) || parts.includes('..')) {
    throw new DataError(
      `${file}: member "${path}" climbs out of the archive's folder; do not unpack this archive, fetch the official one`,
    );
  }
}
