/** Confusion matrices as images: SVG with names and numbers, and rasters of colors alone. Rows are classes, columns answers. */
import { inferno } from '../explain/colors.ts';
import type { Raster } from '../images/png.ts';
import { grouped, percent } from '../words.ts';
import type { ProtocolResult } from './scores.ts';

type Matrix = Pick<ProtocolResult, 'classes' | 'confusion' | 'others' | 'accuracy' | 'images'>;

/** Pixels of the matrix, as far as cells of whole pixels allow. */
const matrixPixels = 720;
/** Up to so many classes have names and numbers. */
const mostNamed = 50;
const longestName = 24;

/** Of a row's images, the share in each cell. Rows without images are empty. */
const shareOf = ({ confusion, classes }: Matrix, row: number, column: number): number =>
  confusion[row]![column]! / Math.max(1, classes[row]!.images);

const cellOf = ({ classes }: Matrix): number => Math.max(1, Math.floor(matrixPixels / classes.length));

/** The matrix as colors: dark for 0, bright for all images of a class. */
export function confusionRaster(matrix: Matrix): Raster {
  const cell = cellOf(matrix);
  const side = cell * matrix.classes.length;
  const bytes = new Uint8Array(side * side * 3);
  for (let y = 0, at = 0; y < side; y++) {
    for (let x = 0; x < side; x++, at += 3) {
      bytes.set(inferno(shareOf(matrix, Math.floor(y / cell), Math.floor(x / cell))), at);
    }
  }
  return { width: side, height: side, channels: 3, bytes };
}

const escaped = (text: string): string =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');

const shortened = (name: string): string =>
  name.length > longestName ? `${name.slice(0, longestName - 1)}…` : name;

/** The matrix as an SVG file, with the classes' names and the numbers of images if there are at most 50 classes. */
export function confusionSvg(matrix: Matrix, title: string): string {
  const { classes, confusion, accuracy, images } = matrix;
  const count = classes.length;
  const isNamed = count <= mostNamed;
  const cell = isNamed ? Math.max(16, Math.min(48, cellOf(matrix))) : cellOf(matrix);
  const names = classes.map(({ name }) => shortened(name));
  // Letters of 12 pixels are about 7 wide.
  const left = isNamed ? 24 + 7 * Math.max(...names.map(({ length }) => length)) : 40;
  const top = isNamed ? left + 28 : 64;
  const [width, height] = [left + count * cell + 24, top + count * cell + 40];
  const parts: string[] = [];
  for (let row = 0; row < count; row++) {
    for (let column = 0; column < count; column++) {
      const number = confusion[row]![column]!;
      // What is left out shows the background, the color of 0.
      if (number === 0) continue;
      const share = shareOf(matrix, row, column);
      const [x, y] = [left + column * cell, top + row * cell];
      const about = `${names[row]} as ${names[column]}: ${grouped(number)} of ${grouped(classes[row]!.images)}`;
      parts.push(
        `<rect x="${x}" y="${y}" width="${cell}" height="${cell}" fill="rgb(${inferno(share).join()})">` +
          `<title>${escaped(about)}</title></rect>`,
      );
      if (!isNamed) continue;
      const size = Math.min(12, (cell * 1.5) / String(number).length);
      parts.push(
        `<text x="${x + cell / 2}" y="${y + cell / 2}" font-size="${size.toFixed(1)}" text-anchor="middle" ` +
          `dominant-baseline="central" fill="${share > 0.6 ? '#000' : '#fff'}">${number}</text>`,
      );
    }
  }
  const labels = isNamed
    ? names.flatMap((name, i) => {
        const at = i * cell + cell / 2;
        return [
          `<text x="${left - 8}" y="${top + at}" text-anchor="end" dominant-baseline="central">${escaped(name)}</text>`,
          `<text transform="translate(${left + at} ${top - 8}) rotate(-90)" dominant-baseline="central">${escaped(name)}</text>`,
        ];
      })
    : [];
  const heading = `${title}: ${percent(accuracy)} of ${grouped(images)} images`;
  const sides = count * cell;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" ` +
      'font-family="sans-serif" font-size="12" role="img">',
    `<title>${escaped(`Confusion matrix. ${heading}`)}</title>`,
    `<rect width="${width}" height="${height}" fill="#fff"/>`,
    `<text x="${left}" y="20" font-size="14">${escaped(heading)}</text>`,
    `<rect x="${left}" y="${top}" width="${sides}" height="${sides}" fill="rgb(${inferno(0).join()})"/>`,
    ...parts,
    ...labels,
    `<text x="${left}" y="${top + sides + 24}">rows: class; columns: answer; brighter: more of the class's images</text>`,
    '</svg>\n',
  ].join('\n');
}
