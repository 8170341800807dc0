/** Small images as PNG files and data URIs. The format: W3C Portable Network Graphics, third edition. */
import { crc32 } from '../crc32.ts';
import { UsageError } from '../errors.ts';
import { checkArgument } from '../options.ts';
import { inNode } from '../platform.ts';
import { joinBytes } from '../protobuf.ts';

const colorTypes = { 1: 0, 3: 2, 4: 6 } as const;

/** Interleaved bytes, rows from top to bottom. */
export interface Raster {
  readonly width: number;
  readonly height: number;
  /** 1 gray, 3 RGB, 4 RGBA. */
  readonly channels: 1 | 3 | 4;
  readonly bytes: Uint8Array;
}

/** A raster as the bytes of a PNG file. @throws UsageError if its bytes do not fit its size. */
export function encodePng(raster: Raster): Uint8Array<ArrayBuffer> {
  const keys = ['width', 'height', 'channels', 'bytes'];
  checkArgument('encodePng', 'raster', raster, keys, 'an image { width, height, channels, bytes }');
  const { width, height, channels, bytes } = raster;
  const isSide = (side: number): boolean => Number.isInteger(side) && side >= 1 && side < 2 ** 31;
  if (!isSide(width) || !isSide(height)) {
    throw new UsageError(`an image of ${width}×${height} is no PNG: its sides are whole numbers from 1 on`);
  }
  if (!(channels in colorTypes)) {
    throw new UsageError(`encodePng: ${channels} channels are not 1 (gray), 3 (RGB) or 4 (RGBA)`);
  }
  if (bytes.length !== width * height * channels) {
    throw new UsageError(
      `${bytes.length} bytes are not an image of ${width}×${height} with ${channels} channels`,
    );
  }
  const header = joinBytes([word(width), word(height), Uint8Array.of(8, colorTypes[channels], 0, 0, 0)]);
  // Each row begins with its filter; `up` (2) stores differences to the row above, which suits images.
  const row = width * channels;
  const filtered = new Uint8Array(height * (row + 1));
  for (let y = 0; y < height; y++) {
    const to = y * (row + 1);
    filtered[to] = 2;
    for (let x = 0; x < row; x++) {
      filtered[to + 1 + x] = bytes[y * row + x]! - (y > 0 ? bytes[(y - 1) * row + x]! : 0);
    }
  }
  return joinBytes([
    Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a),
    chunk('IHDR', header),
    chunk('IDAT', deflated(filtered)),
    chunk('IEND', new Uint8Array(0)),
  ]);
}

/** A raster as the value of an `img` element's `src` (Node only). */
export const pngUri = (raster: Raster): string =>
  `data:image/png;base64,${Buffer.from(encodePng(raster)).toString('base64')}`;

/** 32 bits, the highest first. */
const word = (value: number): Uint8Array =>
  Uint8Array.of(value >>> 24, (value >>> 16) & 255, (value >>> 8) & 255, value & 255);

function chunk(type: string, content: Uint8Array): Uint8Array {
  const body = joinBytes([new TextEncoder().encode(type), content]);
  return joinBytes([word(content.length), body, word(crc32(body))]);
}

const deflated = (bytes: Uint8Array): Uint8Array =>
  inNode() ? process.getBuiltinModule('node:zlib').deflateSync(bytes, { level: 9 }) : stored(bytes);

const mostStored = 65_535;

/** The form of zlib (RFC 1950) without compression, for browsers, which compress only asynchronously. */
export function stored(bytes: Uint8Array): Uint8Array {
  const blocks: Uint8Array[] = [Uint8Array.of(0x78, 0x01)];
  for (let at = 0; at === 0 || at < bytes.length; at += mostStored) {
    const block = bytes.subarray(at, at + mostStored);
    const { length } = block;
    const isLast = at + mostStored >= bytes.length ? 1 : 0;
    blocks.push(
      Uint8Array.of(isLast, length & 255, length >>> 8, ~length & 255, (~length >>> 8) & 255),
      block,
    );
  }
  // Adler-32.
  let [a, b] = [1, 0];
  for (const byte of bytes) {
    a = (a + byte) % 65_521;
    b = (b + a) % 65_521;
  }
  return joinBytes([...blocks, word(b * 65_536 + a)]);
}
