/**
 * Draws the pictures of the documentation: `node docs/images/make.ts` writes shapes.png, ten rows of the built-in
 * data set, one class a row, enlarged without smoothing. The PNG is written by hand: RGB, no filter, one IDAT,
 * in 16 levels a channel so that the noise compresses.
 */
import { writeFileSync } from 'node:fs';
import { crc32, deflateSync } from 'node:zlib';
import { shapes } from '../../src/data/shapes.ts';

function chunk(type: string, data: Buffer): Buffer {
  const body = Buffer.concat([Buffer.from(type, 'latin1'), data]);
  const out = Buffer.alloc(body.length + 8);
  out.writeUInt32BE(data.length, 0);
  body.copy(out, 4);
  out.writeUInt32BE(crc32(body), body.length + 4);
  return out;
}

/** `pixels` interleaved [height, width, 3]. */
function png(pixels: Buffer, width: number, height: number): Buffer {
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header.set([8, 2, 0, 0, 0], 8); // 8 bits, RGB, deflate, no filter method, not interlaced
  const rows = Buffer.alloc(height * (1 + 3 * width));
  for (let y = 0; y < height; y++) {
    pixels.copy(rows, y * (1 + 3 * width) + 1, y * 3 * width, (y + 1) * 3 * width);
  }
  return Buffer.concat([
    Buffer.from('\x89PNG\r\n\x1a\n', 'latin1'),
    chunk('IHDR', header),
    chunk('IDAT', deflateSync(rows, { level: 9 })),
    chunk('IEND', Buffer.alloc(0)),
  ]);
}

const { train } = shapes();
const [channels, side] = train.shape;
const classCount = train.classes.length;
const columns = 8;
const scale = 2;
const gap = 4;
const cell = scale * side + gap;
const width = columns * cell + gap;
const height = classCount * cell + gap;
const sheet = Buffer.alloc(width * height * 3, 255);
for (let row = 0; row < classCount; row++) {
  for (let column = 0; column < columns; column++) {
    const picture = (column * classCount + row) * channels * side * side;
    for (let y = 0; y < scale * side; y++) {
      for (let x = 0; x < scale * side; x++) {
        const from = picture + Math.floor(y / scale) * side + Math.floor(x / scale);
        const to = ((gap + row * cell + y) * width + gap + column * cell + x) * 3;
        for (let channel = 0; channel < channels; channel++) {
          sheet[to + channel] = 17 * Math.round(train.pixels[from + channel * side * side]! / 17);
        }
      }
    }
  }
}
writeFileSync(new URL('shapes.png', import.meta.url), png(sheet, width, height));
