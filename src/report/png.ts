/**
 * Pictures as PNG (w3.org/TR/png; Node only): 8 bits, RGB, one IDAT. By hand, for `node:zlib` has both parts that are
 * work, deflate and CRC-32: a library would add a dependency to save these few lines.
 */
import { crc32, deflateSync } from 'node:zlib';

/** `rgb` interleaved [height, width, 3]. */
export function encodePng(rgb: Uint8Array, width: number, height: number): Buffer<ArrayBuffer> {
  if (!(width >= 1 && height >= 1) || rgb.length !== 3 * width * height) {
    throw new RangeError(`${rgb.length} bytes are not the RGB of a picture of ${width}×${height}`);
  }
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header.set([8, 2, 0, 0, 0], 8); // 8 bits, RGB, deflate, no filter method, not interlaced
  const stride = 3 * width;
  const rows = Buffer.alloc(height * (1 + stride)); // Each row begins with its filter: 0, none.
  for (let y = 0; y < height; y++) rows.set(rgb.subarray(y * stride, (y + 1) * stride), y * (1 + stride) + 1);
  return Buffer.concat([
    Buffer.from('\x89PNG\r\n\x1a\n', 'latin1'),
    chunk('IHDR', header),
    chunk('IDAT', deflateSync(rows, { level: 9 })),
    chunk('IEND', Buffer.alloc(0)),
  ]);
}

function chunk(type: string, data: Buffer): Buffer {
  const body = Buffer.concat([Buffer.from(type, 'latin1'), data]);
  const out = Buffer.alloc(body.length + 8);
  out.writeUInt32BE(data.length, 0);
  out.set(body, 4);
  out.writeUInt32BE(crc32(body), body.length + 4);
  return out;
}
