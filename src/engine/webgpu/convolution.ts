/**
 * The kernels of convolutions and linear layers, as tiled products (`product.ts`). A linear layer is a 1×1 convolution of
 * one place with all values. Maps are [N][height][width][channels], with channels padded to a multiple of four.
 *
 * Weights are rows [out][taps][input channels], each followed by a vec4 with its bias: one layout for all three passes.
 * A 2×2 max-pool behind a convolution is part of it: four rows of the product are one window, so the full map is never
 * stored. Its gradient is made from the pooled one and the winners, a byte each: 0 to 3, or 4 where ReLU gave 0.
 */

import { type ProductCode, productKernel } from './product.ts';
import type { TileChoice } from './tiles.ts';
import { decisions, eachCell, inputBinding, type Kernel, writeGradient } from './wgsl.ts';

export interface ConvolutionShape {
  /** Of the input map; `channels` are stored ones. */
  readonly height: number;
  readonly width: number;
  readonly channels: number;
  /** Of the convolution's output, before a pool. */
  readonly outHeight: number;
  readonly outWidth: number;
  readonly outChannels: number;
  readonly kernel: readonly [number, number];
  readonly stride: readonly [number, number];
  readonly padding: readonly [number, number];
  readonly bias: boolean;
  readonly relu: boolean;
  /** Whether a 2×2 max-pool of stride 2 follows. */
  readonly pooled: boolean;
}

/** Output channels whose weights are in one buffer. */
export interface Rows {
  readonly firstRow: number;
  readonly rows: number;
}

/** Values of a row of weights without its bias. */
export const rowValues = ({ kernel, channels }: Pick<ConvolutionShape, 'kernel' | 'channels'>): number =>
  kernel[0] * kernel[1] * channels;

/** Places of an image's output, those of a pool. */
export const outputPlaces = ({ outHeight, outWidth, pooled }: ConvolutionShape): number =>
  pooled ? (outHeight >> 1) * (outWidth >> 1) : outHeight * outWidth;

/** Rows of the product of an image: its places, of which a pool has four for each. */
export const productRows = (shape: ConvolutionShape): number => outputPlaces(shape) * (shape.pooled ? 4 : 1);

const numbersOf = (c: ConvolutionShape, part: Rows) => ({
  height: c.height,
  width: c.width,
  channels: c.channels,
  outHeight: c.outHeight,
  outWidth: c.outWidth,
  outChannels: c.outChannels,
  poolHeight: c.outHeight >> 1,
  poolWidth: c.outWidth >> 1,
  kernelHeight: c.kernel[0],
  kernelWidth: c.kernel[1],
  strideY: c.stride[0],
  strideX: c.stride[1],
  paddingY: c.padding[0],
  paddingX: c.padding[1],
  values: rowValues(c),
  rowStride: rowValues(c) + 4,
  firstOut: part.firstRow,
  outs: part.rows,
  bias: c.bias ? 1 : 0,
  relu: c.relu ? 1 : 0,
});

/** The output's place of a row of the product. */
const placeOf = (pooled: boolean): string =>
  pooled
    ? `
struct Place { n: u32, y: u32, x: u32 }
fn placeOf(row: u32) -> Place {
  let window = row / 4u; let i = row % 4u;
  return Place(window / (s.poolHeight * s.poolWidth), window / s.poolWidth % s.poolHeight * 2u + i / 2u,
               window % s.poolWidth * 2u + i % 2u);
}`
    : `
struct Place { n: u32, y: u32, x: u32 }
fn placeOf(row: u32) -> Place {
  return Place(row / (s.outHeight * s.outWidth), row / s.outWidth % s.outHeight, row % s.outWidth);
}`;

/** A vec4 of the input's channels that an output reads, from the output's place and that of a weight in its row. Behind those of the weights is that of the bias. */
const inputAt = `
struct Tap { k: u32, y: u32, x: u32, channel: u32 }
fn tapOf(k: u32) -> Tap {
  let tap = k / s.channels;
  return Tap(k, tap / s.kernelWidth, tap % s.kernelWidth, k - tap * s.channels);
}
fn inputAt(p: Place, tap: Tap) -> vec4f {
  // Numbers below 0 are huge as u32.
  let y = p.y * s.strideY + tap.y - s.paddingY;
  let x = p.x * s.strideX + tap.x - s.paddingX;
  let isInside = p.n < d.count && tap.k < s.values && y < s.height && x < s.width;
  let at = (((p.n * s.height + y) * s.width + x) * s.channels + tap.channel) / 4u;
  let bias = select(0.0, f32(s.bias), p.n < d.count && tap.k == s.values);
  return select(vec4f(bias, 0.0, 0.0, 0.0), input[select(0u, at, isInside)], isInside);
}`;

/** The gradient with respect to the convolution's own output. */
const gradientAt = (pooled: boolean): string =>
  pooled
    ? `
fn gradientAt(n: u32, y: u32, x: u32, channel: u32) -> vec4f {
  if (y >= s.poolHeight * 2u || x >= s.poolWidth * 2u) { return vec4f(); }
  let at = (((n * s.poolHeight + y / 2u) * s.poolWidth + x / 2u) * s.outChannels + channel) / 4u;
  let won = (vec4u(winners[at]) >> vec4u(0u, 8u, 16u, 24u)) & vec4u(255u);
  return select(vec4f(), gradient[at], won == vec4u(y % 2u * 2u + x % 2u));
}`
    : `
fn gradientAt(n: u32, y: u32, x: u32, channel: u32) -> vec4f {
  return gradient[(((n * s.outHeight + y) * s.outWidth + x) * s.outChannels + channel) / 4u];
}`;

/** The output with its ReLU, if it has one: a number, so that software adapters compile one kernel for both. */
const activated = 'fn activated(v: vec4f) -> vec4f { return select(v, relu(v), s.relu == 1u); }';

const eachRow = (statement: (i: number) => string): string => [0, 1, 2, 3].map(statement).join(' ');

const biasAt = (column: string): string =>
  `vec4f(${[0, 1, 2, 3].map((i) => `weights[((${column} + ${i}u) * s.rowStride + s.values) / 4u].x`).join(', ')})`;

/** The partial sums of a slice. */
const storePartial = eachRow(
  (i) =>
    `if (row + ${i}u < rows) { partial[(slice * rows + row + ${i}u) * (columns / 4u) + column / 4u] = v${i}; }`,
);

/**
 * Output [N][places][channels] from input and weights; `winners` are kept for the gradient. With slices, the sums are
 * partial, and `joinForward` finishes them.
 */
export function forwardKernel(
  c: ConvolutionShape,
  part: Rows,
  choice: TileChoice,
  keepsWinners: boolean,
): Kernel {
  const isWhole = choice.slices === 1;
  const wins = c.pooled && keepsWinners;
  const output = isWhole ? 'output: array<vec4f>, read_write' : 'partial: array<vec4f>, read_write';
  const pool = `
    var best = v0; var winner = vec4u();
    ${[1, 2, 3]
      .map(
        (i) =>
          `{ let b = beats(v${i}, best); winner = select(winner, vec4u(${i}u), b); best = select(best, v${i}, b); }`,
      )
      .join(' ')}
    let value = best + bias; let at = (row / 4u * s.outChannels + s.firstOut + column) / 4u;
    output[at] = activated(value);
    ${wins ? `winner = select(vec4u(4u), winner, positive(value) | vec4<bool>(s.relu == 0u)); winners[at] = dot(winner, vec4u(1u, 256u, 65536u, 16777216u));` : ''}`;
  const store = !isWhole
    ? storePartial
    : `let bias = ${biasAt('column')};
    ${
      c.pooled
        ? pool
        : eachRow(
            (i) =>
              `if (row + ${i}u < rows) { output[((row + ${i}u) * s.outChannels + s.firstOut + column) / 4u] = activated(v${i} + bias); }`,
          )
    }`;
  const code: ProductCode = {
    name: 'forward',
    bindings: [
      'input: array<vec4f>',
      'weights: array<vec4f>',
      output,
      ...(wins ? ['winners: array<u32>, read_write'] : []),
    ],
    shape: { ...numbersOf(c, part), rowsOfImage: productRows(c) },
    rows: 'd.count * s.rowsOfImage',
    columns: 's.outs',
    inner: 's.values',
    head: `${decisions}${activated}${placeOf(c.pooled)}${inputAt}
fn weightAt(out: u32, k: u32) -> vec4f {
  let isInside = out < s.outs && k < s.values;
  return select(vec4f(), weights[select(0u, (out * s.rowStride + k) / 4u, isInside)], isInside);
}`,
    a: {
      alongK: true,
      line: (row) => `placeOf(${row})`,
      position: (k) => `tapOf(${k})`,
      load: (place, tap) => `inputAt(${place}, ${tap})`,
    },
    b: { alongK: true, load: (column, k) => `weightAt(${column}, ${k})` },
    store,
  };
  return productKernel(code, choice.tile, choice.slices);
}

/** The sum of a forward pass's slices, with bias and ReLU. */
export const joinForward = (c: ConvolutionShape, part: Rows, slices: number): Kernel => ({
  name: 'join forward',
  bindings: ['partial: array<vec4f>', 'weights: array<vec4f>', 'output: array<vec4f>, read_write'],
  shape: { ...numbersOf(c, part), rowsOfImage: productRows(c), slices },
  code: `${decisions}${activated}${eachCell('s.rowsOfImage * (s.outs / 4u)')}
  let column = cell % (s.outs / 4u) * 4u; let row = cell / (s.outs / 4u);
  let all = d.count * s.rowsOfImage * (s.outs / 4u);
  var sum = partial[cell];
  for (var i = 1u; i < s.slices; i++) { sum += partial[i * all + cell]; }
  let value = sum + ${biasAt('column')};
  output[(row * s.outChannels + s.firstOut + column) / 4u] = activated(value);
}`,
});

/** How an input's gradient is written: added to what an earlier part wrote, and masked by a ReLU before. */
export interface GradientWrite {
  readonly adds: boolean;
  readonly masked: boolean;
}

const written = ({ adds }: GradientWrite, at: string, value: string): string =>
  `inputGradient[${at}] = ${adds ? `inputGradient[${at}] + ` : ''}passed(${at}, ${value});`;

/** The input's gradient: a row is a place of the input, k is (tap, output channel). */
export function inputGradientKernel(
  c: ConvolutionShape,
  part: Rows,
  choice: TileChoice,
  write: GradientWrite,
): Kernel {
  const isWhole = choice.slices === 1;
  const code: ProductCode = {
    name: 'input gradient',
    bindings: [
      'gradient: array<vec4f>',
      'weights: array<vec4f>',
      isWhole ? 'inputGradient: array<vec4f>, read_write' : 'partial: array<vec4f>, read_write',
      ...(c.pooled ? ['winners: array<u32>'] : []),
      ...inputBinding(isWhole && write.masked),
    ],
    shape: numbersOf(c, part),
    rows: 'd.count * s.height * s.width',
    columns: 's.channels',
    inner: 's.kernelHeight * s.kernelWidth * s.outs',
    head: `${decisions}${isWhole ? writeGradient(write.masked) : ''}${gradientAt(c.pooled)}
struct Place { n: u32, y: u32, x: u32 }
fn placeOf(row: u32) -> Place { return Place(row / (s.height * s.width), row / s.width % s.height, row % s.width); }
struct Tap { tap: u32, y: u32, x: u32, out: u32 }
fn tapOf(k: u32) -> Tap {
  let tap = k / s.outs;
  return Tap(tap, tap / s.kernelWidth, tap % s.kernelWidth, k - tap * s.outs);
}
fn outputAt(p: Place, t: Tap) -> vec4f {
  let top = i32(p.y + s.paddingY) - i32(t.y);
  let left = i32(p.x + s.paddingX) - i32(t.x);
  if (t.y >= s.kernelHeight || p.n >= d.count || top < 0 || left < 0) { return vec4f(); }
  var y = u32(top); var x = u32(left);
  if (s.strideY > 1u || s.strideX > 1u) {
    y /= s.strideY; x /= s.strideX;
    if (y * s.strideY != u32(top) || x * s.strideX != u32(left)) { return vec4f(); }
  }
  if (y >= s.outHeight || x >= s.outWidth) { return vec4f(); }
  return gradientAt(p.n, y, x, s.firstOut + t.out);
}
fn weightAt(t: Tap, column: u32) -> vec4f {
  if (column >= s.channels || t.y >= s.kernelHeight) { return vec4f(); }
  return weights[(t.out * s.rowStride + t.tap * s.channels + column) / 4u];
}`,
    a: {
      alongK: true,
      line: (row) => `placeOf(${row})`,
      position: (k) => `tapOf(${k})`,
      load: (place, tap) => `outputAt(${place}, ${tap})`,
    },
    b: {
      alongK: false,
      line: (k) => `tapOf(${k})`,
      load: (tap, column) => `weightAt(${tap}, ${column})`,
    },
    store: isWhole
      ? eachRow(
          (i) =>
            `if (row + ${i}u < rows) { let at = ((row + ${i}u) * s.channels + column) / 4u; ${written(write, 'at', `v${i}`)} }`,
        )
      : storePartial,
  };
  return productKernel(code, choice.tile, choice.slices);
}

export const joinInputGradient = (
  c: ConvolutionShape,
  part: Rows,
  slices: number,
  write: GradientWrite,
): Kernel => ({
  name: 'join input gradient',
  bindings: [
    'partial: array<vec4f>',
    'inputGradient: array<vec4f>, read_write',
    ...inputBinding(write.masked),
  ],
  shape: { ...numbersOf(c, part), slices },
  code: `${decisions}${writeGradient(write.masked)}${eachCell('s.height * s.width * (s.channels / 4u)')}
  let all = d.count * s.height * s.width * (s.channels / 4u);
  var sum = partial[cell];
  for (var i = 1u; i < s.slices; i++) { sum += partial[i * all + cell]; }
  ${written(write, 'cell', 'sum')}
}`,
});

/** The weights' gradient, in slices of the output's places: rows are output channels, columns those of the weights. */
export function weightGradientKernel(
  c: ConvolutionShape,
  part: Rows,
  choice: TileChoice,
  firstSlice: number,
): Kernel {
  const code: ProductCode = {
    name: 'weight gradient',
    bindings: [
      'gradient: array<vec4f>',
      'input: array<vec4f>',
      'slots: array<vec4f>, read_write',
      ...(c.pooled ? ['winners: array<u32>'] : []),
    ],
    shape: { ...numbersOf(c, part), rowsOfImage: productRows(c), firstSlice },
    rows: 's.outs',
    columns: 's.rowStride',
    inner: 'd.count * s.rowsOfImage',
    head: `${placeOf(c.pooled)}${gradientAt(c.pooled)}${inputAt}
fn gradientOf(p: Place, row: u32) -> vec4f {
  if (row >= s.outs || p.n >= d.count) { return vec4f(); }
  return gradientAt(p.n, p.y, p.x, s.firstOut + row);
}`,
    a: {
      alongK: false,
      line: (pixel) => `placeOf(${pixel})`,
      load: (place, row) => `gradientOf(${place}, ${row})`,
    },
    b: {
      alongK: false,
      line: (pixel) => `placeOf(${pixel})`,
      position: (column) => `tapOf(${column})`,
      load: (place, tap) => `inputAt(${place}, ${tap})`,
    },
    store: eachRow(
      (i) =>
        `if (row + ${i}u < rows) { slots[((s.firstSlice + slice) * s.outs + row + ${i}u) * (s.rowStride / 4u) + column / 4u] = v${i}; }`,
    ),
  };
  return productKernel(code, choice.tile, choice.slices);
}
