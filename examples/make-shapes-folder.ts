/**
 * Makes a folder of photos-like images to try `folder:DIR` with: four classes of figures, 50 images each, in different
 * sizes, as JPEG and PNG.
 *
 *     node examples/make-shapes-folder.ts photos
 *     vgg train --dataset folder:photos …
 *
 * The same folder each time: all draws come from a seed.
 */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import sharp from 'sharp';
import { type Random, random } from '../src/index.ts';

/** Whether the figure covers a point; the figure's center is (0, 0), its size 1. */
const figures: Readonly<Record<string, (x: number, y: number) => boolean>> = {
  circle: (x, y) => x * x + y * y < 1,
  cross: (x, y) => Math.min(Math.abs(x), Math.abs(y)) < 0.3 && Math.max(Math.abs(x), Math.abs(y)) < 1,
  square: (x, y) => Math.max(Math.abs(x), Math.abs(y)) < 0.85,
  triangle: (x, y) => y < 0.8 && y > -1 && Math.abs(x) < (y + 1) * 0.6,
};

export const figureNames: readonly string[] = Object.keys(figures);

/** Draws one image: a turned figure of one color on another one's gradient, with noise. */
function draw(name: string, draws: Random): { width: number; height: number; pixels: Uint8Array } {
  const between = (least: number, most: number): number => least + draws.uniform() * (most - least);
  const [width, height] = [Math.floor(between(220, 341)), Math.floor(between(180, 261))];
  const size = between(0.22, 0.36) * Math.min(width, height);
  const [left, top] = [between(0.35, 0.65) * width, between(0.35, 0.65) * height];
  const angle = between(-0.35, 0.35);
  const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
  const bright = draws.uniform() < 0.5;
  const color = (isBright: boolean): number[] =>
    [0, 1, 2].map(() => (isBright ? between(150, 255) : between(0, 105)));
  const [figure, ground, slope] = [color(bright), color(!bright), between(-40, 40)];
  const pixels = new Uint8Array(3 * width * height);
  for (let y = 0, at = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const [dx, dy] = [(x - left) / size, (y - top) / size];
      const isInside = figures[name]!(dx * cos + dy * sin, dy * cos - dx * sin);
      for (const c of [0, 1, 2]) {
        const value = isInside ? figure[c]! : ground[c]! + slope * (x / width - 0.5);
        pixels[at++] = Math.max(0, Math.min(255, value + between(-15, 15)));
      }
    }
  }
  return { width, height, pixels };
}

/** Writes `perClass` images of each class. Returns how many there are. */
export async function makeShapesFolder(folder: string, perClass = 50, seed = 0): Promise<number> {
  for (const [label, name] of figureNames.entries()) {
    await mkdir(join(folder, name), { recursive: true });
    for (let i = 0; i < perClass; i++) {
      const { width, height, pixels } = draw(name, random(seed, 0, label, i));
      const image = sharp(pixels, { raw: { width, height, channels: 3 } });
      const file = join(folder, name, `${name}-${String(i + 1).padStart(3, '0')}`);
      await (i % 4 === 3
        ? image.png().toFile(`${file}.png`)
        : image.jpeg({ quality: 90 }).toFile(`${file}.jpg`));
    }
  }
  return figureNames.length * perClass;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const [, , folder] = process.argv;
  if (folder === undefined || folder.startsWith('-')) {
    console.error('usage: node examples/make-shapes-folder.ts FOLDER');
    process.exitCode = 2;
  } else {
    const count = await makeShapesFolder(folder);
    console.log(`${folder} has ${count} images in ${figureNames.length} classes: ${figureNames.join(', ')}.`);
  }
}
