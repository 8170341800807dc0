/**
 * `shapes`: a data set that needs no download. Ten classes of 32×32 color images, six figures and four textures, each
 * a signed distance function in pixels: 0 at the edge and negative inside, so one clamp gives an anti-aliased fill.
 * Position, size, rotation, colors, shading and noise come from a separate random stream per image, so any image can be
 * drawn alone; all 12,000 take about 0.3 s. Pixels use only exactly rounded operations (+ − × ÷ √), so that every engine
 * draws the same bytes. Flips and crops preserve the class.
 */
import { allocateBytes, type Dataset, type DatasetSplits, fromArrays, namedShape } from './dataset.ts';
import { type Random, random, streams } from './random.ts';

const [, side] = namedShape;
const plane = side * side;

/**
 * Computes signed distances from a shape's edge, in pixels, for all points (x, y) of an image in the shape's frame.
 * Loops over a whole image, because calling ten different functions per pixel would box every number. `size` is a
 * figure's radius or a texture's period; for textures, x and y are wrapped to −period/2 … period/2.
 */
type Distance = (x: Float64Array, y: Float64Array, size: number, stroke: number, out: Float64Array) => void;

const disc: Distance = (x, y, size, _, out) => {
  for (let i = 0; i < plane; i++) out[i] = Math.sqrt(x[i]! * x[i]! + y[i]! * y[i]!) - size;
};
const square: Distance = (x, y, size, _, out) => {
  for (let i = 0; i < plane; i++) out[i] = Math.max(Math.abs(x[i]!), Math.abs(y[i]!)) - 0.9 * size;
};
const outline = (figure: Distance): Distance => {
  return (x, y, size, stroke, out) => {
    figure(x, y, size, stroke, out);
    for (let i = 0; i < plane; i++) out[i] = Math.abs(out[i]!) - stroke / 2;
  };
};
/** Equilateral: two slanted sides, mirrored at the axis, and a base. */
const triangle: Distance = (x, y, size, _, out) => {
  for (let i = 0; i < plane; i++) {
    out[i] = Math.max(0.8660254 * Math.abs(x[i]!) - 0.5 * y[i]!, y[i]!) - 0.65 * size;
  }
};
const cross: Distance = (x, y, size, stroke, out) => {
  for (let i = 0; i < plane; i++) {
    const a = Math.abs(x[i]!);
    const b = Math.abs(y[i]!);
    out[i] = Math.max(Math.max(a, b) - 1.1 * size, Math.min(a, b) - 0.6 * stroke);
  }
};
const stripes: Distance = (x, _, period, __, out) => {
  for (let i = 0; i < plane; i++) out[i] = Math.abs(x[i]!) - period / 4;
};
const checks: Distance = (x, y, period, _, out) => {
  for (let i = 0; i < plane; i++) {
    const a = Math.abs(x[i]!) - period / 4;
    const b = Math.abs(y[i]!) - period / 4;
    const edge = Math.min(Math.abs(a), Math.abs(b));
    out[i] = a * b > 0 ? edge : -edge;
  }
};
const dots: Distance = (x, y, period, stroke, out) => disc(x, y, 0.3 * period, stroke, out);
const grid: Distance = (x, y, period, _, out) => {
  for (let i = 0; i < plane; i++) out[i] = Math.min(Math.abs(x[i]!), Math.abs(y[i]!)) - 0.12 * period;
};

interface ShapeClass {
  readonly name: string;
  readonly distance: Distance;
  /** Range of `size` in pixels. */
  readonly size: readonly [smallest: number, largest: number];
  /** Largest rotation in either direction, as tan(angle / 2). */
  readonly tilt: number;
  /** A texture fills the image at any phase and rotation; a figure stays near the center. */
  readonly texture: boolean;
}

const figure = (name: string, distance: Distance, tilt: number): ShapeClass => {
  return { name, distance, size: [7, 12], tilt, texture: false };
};
const texture = (name: string, distance: Distance, smallest: number, largest: number): ShapeClass => {
  return { name, distance, size: [smallest, largest], tilt: Math.SQRT2 - 1, texture: true };
};

/** By label. */
const kinds: readonly ShapeClass[] = [
  figure('disc', disc, 0),
  figure('ring', outline(disc), 0),
  figure('square', square, 0.1),
  figure('frame', outline(square), 0.1),
  figure('triangle', triangle, 0.15),
  figure('cross', cross, 0.4),
  texture('stripes', stripes, 4, 6),
  texture('checks', checks, 10, 15),
  texture('dots', dots, 5, 8),
  texture('grid', grid, 5, 8),
];

/** Class names by label. */
export const shapeClasses: readonly string[] = kinds.map(({ name }) => name);

/** Uniform in [low, high). */
const between = (source: Random, low: number, high: number): number => low + (high - low) * source.uniform();

// For the image being drawn: coordinates in the shape's frame, and distances from its edge.
const placeX = new Float64Array(plane);
const placeY = new Float64Array(plane);
const distances = new Float64Array(plane);

/** Fills `distances` for a shape with random position, size and rotation. */
function place(kind: ShapeClass, source: Random): void {
  const size = between(source, ...kind.size);
  const stroke = between(source, 2.5, 4.5);
  const reach = kind.texture ? size : 6;
  const middleX = (side - 1) / 2 + between(source, -reach, reach);
  const middleY = (side - 1) / 2 + between(source, -reach, reach);
  // Rational parametrization of the circle. Textures also rotate by 90°, so stripes run in both directions.
  const t = between(source, -kind.tilt, kind.tilt);
  const upright = source.uniform() < 0.5 || !kind.texture;
  const c = (1 - t * t) / (1 + t * t);
  const s = (2 * t) / (1 + t * t);
  const cos = upright ? c : s;
  const sin = upright ? s : -c;
  for (let row = 0, at = 0; row < side; row++) {
    for (let column = 0; column < side; column++, at++) {
      const x = column - middleX;
      const y = row - middleY;
      placeX[at] = cos * x + sin * y;
      placeY[at] = cos * y - sin * x;
    }
  }
  if (kind.texture) {
    for (let i = 0; i < plane; i++) {
      placeX[i] = placeX[i]! - size * Math.floor(placeX[i]! / size + 0.5);
      placeY[i] = placeY[i]! - size * Math.floor(placeY[i]! / size + 0.5);
    }
  }
  kind.distance(placeX, placeY, size, stroke, distances);
}

/** Draws one image of class `label` into `out`, planar [3, 32, 32], 0–255. */
export function drawShape(label: number, source: Random, out: Uint8Array): void {
  place(kinds[label]!, source);
  // A dark background and a bright color of any hue, because the lecture's crops are padded with black.
  const [red, green, blue] = [between(source, 0, 90), between(source, 0, 90), between(source, 0, 90)];
  const ink = [between(source, 60, 255), between(source, 60, 255), between(source, 60, 255)];
  ink[source.integer(3)] = between(source, 190, 255);
  const inkRed = ink[0]! - red;
  const inkGreen = ink[1]! - green;
  const inkBlue = ink[2]! - blue;
  // Linear shading from one side and uniform noise.
  const slopeX = between(source, -1.5, 1.5);
  const slopeY = between(source, -1.5, 1.5);
  const noise = between(source, 4, 24) / 512;
  let state = (1 + source.integer(0xffffffff)) | 0;
  // Rounds and clamps stored values.
  const pixels = new Uint8ClampedArray(out.buffer, out.byteOffset, 3 * plane);
  for (let at = 0; at < plane; at++) {
    const cover = Math.min(Math.max(0.5 - distances[at]!, 0), 1);
    const shade = slopeX * ((at & (side - 1)) - side / 2) + slopeY * ((at >> 5) - side / 2);
    // xorshift32 (Marsaglia 2003): ten bits of noise for each channel.
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    pixels[at] = red + cover * inkRed + shade + noise * ((state & 1023) - 511.5);
    pixels[at + plane] = green + cover * inkGreen + shade + noise * (((state >>> 10) & 1023) - 511.5);
    pixels[at + 2 * plane] = blue + cover * inkBlue + shade + noise * (((state >>> 20) & 1023) - 511.5);
  }
}

/** Draws a split. Image `index` has class `index mod 10`; `part` is part of its random key. */
function split(part: number, length: number): Dataset {
  const pixels = allocateBytes(length * 3 * plane);
  const labels = Uint16Array.from({ length }, (_, index) => index % kinds.length);
  for (let index = 0; index < length; index++) {
    const image = pixels.subarray(index * 3 * plane, (index + 1) * 3 * plane);
    drawShape(labels[index]!, random(0, streams.shapes, index, part), image);
  }
  return fromArrays(pixels, labels, namedShape, { name: 'shapes', classes: shapeClasses });
}

/** The built-in data set: 10,000 training and 2,000 test images, balanced by class. Always the same bytes. */
export function shapes(): DatasetSplits {
  return { train: split(0, 10_000), test: split(1, 2_000) };
}
