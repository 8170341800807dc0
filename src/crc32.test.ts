import { crc32 as zlibCrc32 } from 'node:zlib';
import { expect, test } from 'vitest';
import { crc32, portableCrc32 } from './crc32.ts';

const bytes = Uint8Array.from({ length: 1000 }, (_, i) => (i * i + 7 * i) & 255);

test('both implementations are those of zlib, at any length, place and start', () => {
  expect(portableCrc32(new TextEncoder().encode('123456789'))).toBe(0xcbf43926);
  for (let length = 0; length < 40; length++) {
    for (const start of [0, 1, 5]) {
      const part = bytes.subarray(start, start + length);
      const expected = zlibCrc32(part, 0x9abcdef0);
      expect(portableCrc32(part, 0x9abcdef0)).toBe(expected);
      expect(crc32(part, 0x9abcdef0)).toBe(expected);
    }
  }
  expect(portableCrc32(bytes)).toBe(zlibCrc32(bytes));
});

test('parts give the checksum of the whole, and a text is UTF-8', () => {
  expect(portableCrc32(bytes.subarray(333), portableCrc32(bytes.subarray(0, 333)))).toBe(zlibCrc32(bytes));
  expect(crc32('Größe')).toBe(zlibCrc32(Buffer.from('Größe')));
});
