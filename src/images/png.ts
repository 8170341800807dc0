/** Small images as PNG data URIs (Node only: zlib). The format: W3C Portable Network Graphics, third edition. */
import { crc32, deflateSync } from 'node:zlib';
import { UsageError } from '../errors.ts';
import { checkArgument } from '../options.ts';

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
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header.set([8, colorTypes[channels], 0, 0, 0], 8);
  // Each row begins with its filter; `up` (2) stores differences to the row above, which suits images.
  const row = width * channels;
  const filtered = Buffer.alloc(height * (row + 1));
  for (let y = 0; y < height; y++) {
    const to = y * (row + 1);
    filtered[to] = 2;
    for (let x = 0; x < row; x++) {
      filtered[to + 1 + x] = bytes[y * row + x]! - (y > 0 ? bytes[(y - 1) * row + x]! : 0);
    }
  }
  return Buffer.concat([
    Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]),
    chunk('IHDR', header),
    chunk('IDAT', deflateSync(filtered, { level: 9 })),
    chunk('IEND', Buffer.alloc(0)),
  ]);
}

/** A raster as the value of an `img` element's `src`. */
export const pngUri = (raster: Raster): string =>
  `data:image/png;base64,${Buffer.from(encodePng(raster)).toString('base64')}`;

function chunk(type: string, content: Buffer): Buffer {
  const body = Buffer.concat([Buffer.from(type, 'latin1'), content]);
  const ends = Buffer.alloc(8);
  ends.writeUInt32BE(content.length, 0);
  ends.writeUInt32BE(crc32(body), 4);
  return Buffer.concat([ends.subarray(0, 4), body, ends.subarray(4)]);
}
