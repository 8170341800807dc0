/**
 * The records of a zip archive of stored entries, with UTF-8 names and a fixed time, so that equal files give equal
 * archives. Without zip64: an archive has less than 4 GiB. Source: PKWARE's APPNOTE.TXT, 4.3.
 */
import { VggError } from '../errors.ts';
import { joinBytes } from '../protobuf.ts';

/** An entry to write. */
export interface StoredEntry {
  readonly name: string;
  /** In bytes, and their CRC-32. */
  readonly size: number;
  readonly crc: number;
}

const mostBytes = 2 ** 32 - 1;
const utf8Flag = 1 << 11;
/** 1 January 1980, the first day of zip's calendar. */
const date = (1 << 5) | 1;
/** Regular files that everyone may read, made on Unix. */
const [madeBy, attributes] = [(3 << 8) | 20, 0o100644 * 65_536];

type Field = readonly [bytes: 2 | 4, value: number];

function record(fields: readonly Field[], name: Uint8Array): Uint8Array {
  const length = fields.reduce((sum, [bytes]) => sum + bytes, 0);
  const out = new Uint8Array(length);
  const view = new DataView(out.buffer);
  let at = 0;
  for (const [bytes, value] of fields) {
    if (bytes === 2) view.setUint16(at, value, true);
    else view.setUint32(at, value, true);
    at += bytes;
  }
  return joinBytes([out, name]);
}

const common = ({ size, crc }: StoredEntry, name: Uint8Array): readonly Field[] => [
  [2, 20],
  [2, utf8Flag],
  [2, 0],
  [2, 0],
  [2, date],
  [4, crc],
  [4, size],
  [4, size],
  [2, name.length],
  [2, 0],
];

const encoder = new TextEncoder();

/** What comes before an entry's bytes. */
export function localHeader(entry: StoredEntry): Uint8Array {
  const name = encoder.encode(entry.name);
  return record([[4, 0x04034b50], ...common(entry, name)], name);
}

/** What comes behind all entries, which follow each other from the beginning. @throws VggError above 4 GiB. */
export function directoryOf(entries: readonly StoredEntry[]): Uint8Array {
  let begin = 0;
  const records = entries.map((entry) => {
    const name = encoder.encode(entry.name);
    const central = record(
      [
        [4, 0x02014b50],
        [2, madeBy],
        ...common(entry, name),
        [2, 0],
        [2, 0],
        [2, 0],
        [4, attributes],
        [4, begin],
      ],
      name,
    );
    begin += 30 + name.length + entry.size;
    return central;
  });
  const length = records.reduce((sum, { length: bytes }) => sum + bytes, 0);
  if (begin + length > mostBytes || entries.length > 65_535)
    throw new VggError(
      `an archive of ${entries.length} files and ${begin + length} bytes is above the limits of zip (65535 files, 4 GiB)`,
    );
  const end = record(
    [
      [4, 0x06054b50],
      [2, 0],
      [2, 0],
      [2, entries.length],
      [2, entries.length],
      [4, length],
      [4, begin],
      [2, 0],
    ],
    new Uint8Array(0),
  );
  return joinBytes([...records, end]);
}
