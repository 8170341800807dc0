/**
 * Draws the images of the documentation: `node docs/images/make.ts` writes shapes.png, ten rows of the built-in
 * data set, one class a row, enlarged without smoothing, in 16 levels a channel so that the noise
 * compresses.
 */
import { writeFileSync } from 'node:fs';
import { shapes } from '../../src/data/shapes.ts';
import { encodePng } from '../../src/images/png.ts';

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
    const image = (column * classCount + row) * channels * side * side;
    for (let y = 0; y < scale * side; y++) {
      for (let x = 0; x < scale * side; x++) {
        const from = image + Math.floor(y / scale) * side + Math.floor(x / scale);
        const to = ((gap + row * cell + y) * width + gap + column * cell + x) * 3;
        for (let channel = 0; channel < channels; channel++) {
          sheet[to + channel] = 17 * Math.round(train.pixels[from + channel * side * side]! / 17);
        }
      }
    }
  }
}
writeFileSync(
  new URL('shapes.png', import.meta.url),
  encodePng({ width, height, channels: 3, bytes: sheet }),
);
