import { inflateSync } from 'node:zlib';
import { expect, test } from 'vitest';
import { encodePng, stored } from './png.ts';

test('an image is its rows behind a filter byte each, in three chunks', () => {
  const rgb = Uint8Array.from({ length: 2 * 3 * 3 }, (_, i) => 10 * i);
  const png = Buffer.from(encodePng({ width: 2, height: 3, channels: 3, bytes: rgb }));
  expect(png.subarray(0, 8).toString('latin1')).toBe('\x89PNG\r\n\x1a\n');
  const chunks = new Map<string, Buffer>();
  for (let at = 8; at < png.length; ) {
    const length = png.readUInt32BE(at);
    chunks.set(png.toString('latin1', at + 4, at + 8), png.subarray(at + 8, at + 8 + length));
    at += 12 + length;
  }
  expect([...chunks.keys()]).toEqual(['IHDR', 'IDAT', 'IEND']);
  expect([...chunks.get('IHDR')!]).toEqual([0, 0, 0, 2, 0, 0, 0, 3, 8, 2, 0, 0, 0]);
  expect([...inflateSync(chunks.get('IDAT')!)]).toEqual([
    // Each row as its difference to the one above.
    ...[2, ...rgb.subarray(0, 6)],
    ...[2, ...Array(6).fill(60)],
    ...[2, ...Array(6).fill(60)],
  ]);
  // As the standard's own IEND, checksum included.
  expect(png.subarray(-12).toString('hex')).toBe('0000000049454e44ae426082');
});

test('refuses bytes that are not an image of that size', () => {
  expect(() => encodePng({ width: 2, height: 3, channels: 3, bytes: new Uint8Array(12) })).toThrow(
    '12 bytes are not an image of 2×3 with 3 channels',
  );
});

test('without compression, zlib reads the same bytes', () => {
  for (const length of [0, 1, 65_535, 65_536, 200_000]) {
    const bytes = Uint8Array.from({ length }, (_, i) => (i * i) % 251);
    expect(inflateSync(stored(bytes)).equals(bytes)).toBe(true);
  }
});
