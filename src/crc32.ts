/** CRC-32 as in zlib, for Node (its own, at 4 GB/s) and for browsers (eight bytes at a time). */
import { inNode } from './platform.ts';

/** [8][256]: the effect of a byte that is followed by so many others. */
let tables: Uint32Array | undefined;

function makeTables(): Uint32Array {
  const made = new Uint32Array(8 * 256);
  for (let byte = 0; byte < 256; byte++) {
    let value = byte;
    for (let bit = 0; bit < 8; bit++) value = (value >>> 1) ^ (value & 1 ? 0xedb88320 : 0);
    made[byte] = value;
  }
  for (let at = 256; at < made.length; at++) {
    const before = made[at - 256]!;
    made[at] = (before >>> 8) ^ made[before & 0xff]!;
  }
  return made;
}

export function portableCrc32(bytes: Uint8Array, value = 0): number {
  tables ??= makeTables();
  const t = tables;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let crc = ~value;
  let at = 0;
  for (; at + 8 <= bytes.length; at += 8) {
    const low = crc ^ view.getInt32(at, true);
    const high = view.getInt32(at + 4, true);
    crc =
      t[0x700 + (low & 0xff)]! ^
      t[0x600 + ((low >>> 8) & 0xff)]! ^
      t[0x500 + ((low >>> 16) & 0xff)]! ^
      t[0x400 + (low >>> 24)]! ^
      t[0x300 + (high & 0xff)]! ^
      t[0x200 + ((high >>> 8) & 0xff)]! ^
      t[0x100 + ((high >>> 16) & 0xff)]! ^
      t[high >>> 24]!;
  }
  for (; at < bytes.length; at++) crc = (crc >>> 8) ^ t[(crc ^ bytes[at]!) & 0xff]!;
  return ~crc >>> 0;
}

/** The checksum of bytes, or of a text in UTF-8, behind bytes whose checksum is `value`. */
export function crc32(data: Uint8Array | string, value = 0): number {
  if (inNode()) return process.getBuiltinModule('node:zlib').crc32(data, value);
  return portableCrc32(typeof data === 'string' ? new TextEncoder().encode(data) : data, value);
}
