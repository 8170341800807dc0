/**
 * Kernels of our JPEG decoder for rows of pixels, sixteen at a time: gray, or Y, Cb and Cr to interleaved RGB. Half
 * chroma is interpolated as by libjpeg's "fancy upsampling" (`jdsample`): a pixel is 3/4 of the nearer sample and 1/4 of
 * the farther one in each direction, with roundings that alternate. Colors are those of its `jdcolor`, to a bit.
 *
 * The last sixteen pixels of a row are written beyond its end, where the next row is written later.
 */
import { lanes, type WasmFunction } from '../../kernels/wasm-assembler.ts';
import { type Builder, functionOf, type Step } from '../../kernels/wasm-builder.ts';

const halves = ['low', 'high'] as const;
type Half = (typeof halves)[number];

/** Bytes written for sixteen pixels. */
export const groupBytes = 48;

/** In byte `i` of RGB: the pixel and the channel. */
const pixelOf = (i: number): number => Math.floor(i / 3);

/** Stores the vectors of the three channels as RGB. */
function storeColors(code: Builder, [red, green, blue]: readonly [string, string, string]): void {
  for (let part = 0; part < 3; part++) {
    const bytes = Array.from({ length: 16 }, (_, i) => 16 * part + i);
    // Red and green first; where blue comes is overwritten.
    const first = bytes.map((i) => pixelOf(i) + (i % 3 === 1 ? 16 : 0));
    const second = bytes.map((i, lane) => (i % 3 === 2 ? 16 + pixelOf(i) : lane));
    code.get('out', red, green).run(['i8x16.shuffle', ...lanes(first)]);
    code.get(blue).run(['i8x16.shuffle', ...lanes(second)], ['v128.store', 16 * part]);
  }
}

const splat = (value: number): Step[] => [['i32.const', value], 'i16x8.splat'];

/** 1.402 − 1 and 1.772 − 2 in units of 2⁻¹⁵: with rounding, these give the same as libjpeg's 16 bits for all bytes. */
const [redOfCr, blueOfCb] = [13_175, -7471] as const;
/** −0.34414 and 1 − 0.71414 in units of 2⁻¹⁶, as libjpeg rounds them. */
const greenOfCbCr = (18_734 << 16) | (-22_554 & 0xffff);

/** Colors of eight pixels, from `luma` (bytes), `cb` and `cr` (16 bits, centered), to `red`, `green` and `blue` of a half. */
function colorsOf(code: Builder, half: Half, cb: string, cr: string): void {
  code.get('luma').run(`i16x8.extend_${half}_i8x16_u`).set('y');
  code
    .get('y', cr)
    .run('i16x8.add')
    .get(cr)
    .run(...splat(redOfCr), 'i16x8.q15mulr_sat_s', 'i16x8.add');
  code.set(`${half}Red`);
  code
    .get('y', cb, cb)
    .run('i16x8.add', 'i16x8.add')
    .get(cb)
    .run(...splat(blueOfCb), 'i16x8.q15mulr_sat_s');
  code.run('i16x8.add').set(`${half}Blue`);
  code.get('y', cr).run('i16x8.sub');
  for (const part of halves) {
    code.get(cb, cr).interleave(2, part).run(['i32.const', greenOfCbCr], 'i32x4.splat', 'i32x4.dot_i16x8_s');
    code.run(['i32.const', 1 << 15], 'i32x4.splat', 'i32x4.add', ['i32.const', 16], 'i32x4.shr_s');
  }
  code.run('i16x8.narrow_i32x4_s', 'i16x8.add').set(`${half}Green`);
}

const colorNames = ['Red', 'Green', 'Blue'] as const;

/** Joins both halves, stores them, and moves on. */
function storeHalves(code: Builder): void {
  for (const name of colorNames)
    code.get(`low${name}`, `high${name}`).run('i8x16.narrow_i16x8_u').set(`low${name}`);
  storeColors(code, ['lowRed', 'lowGreen', 'lowBlue']);
  code.increase('luma0', 16).increase('out', groupBytes);
}

const vectors = [
  ...['luma', 'y', 'cb', 'cr', 'lowCb', 'lowCr', 'highCb', 'highCr', 'sum', 'even', 'odd'],
  ...halves.flatMap((half) => colorNames.map((name) => `${half}${name}`)),
];

const grayToRgb = (): WasmFunction =>
  functionOf('grayToRgb', 'gray to RGB', ['luma0', 'groups', 'out'], [], ['luma'], (code) =>
    code.repeat('groups', () => {
      code.get('luma0').run('v128.load').set('luma');
      storeColors(code, ['luma', 'luma', 'luma']);
      code.increase('luma0', 16).increase('out', groupBytes);
    }),
  );

const wholeToRgb = (): WasmFunction =>
  functionOf(
    'wholeToRgb',
    'Y, Cb and Cr of the same size to RGB',
    ['luma0', 'cb0', 'cr0', 'groups', 'out'],
    [],
    vectors,
    (code) =>
      code.repeat('groups', () => {
        code.get('luma0').run('v128.load').set('luma');
        for (const name of ['cb', 'cr'] as const) code.get(`${name}0`).run('v128.load').set(name);
        for (const half of halves) {
          for (const [name, to] of [
            ['cb', 'lowCb'],
            ['cr', 'lowCr'],
          ] as const)
            code
              .get(name)
              .run(`i16x8.extend_${half}_i8x16_u`, ...splat(128), 'i16x8.sub')
              .set(to);
          colorsOf(code, half, 'lowCb', 'lowCr');
        }
        code.increase('cb0', 16).increase('cr0', 16);
        storeHalves(code);
      }),
  );

/**
 * Chroma of half the width: sums of 3/4 and 1/4 of a near and a far row, which are the same if the height is whole.
 * `evenBias` and `oddBias` round, in sixteenths of a unit, and center.
 */
const halfToRgb = (): WasmFunction =>
  functionOf(
    'halfToRgb',
    'Y, and Cb and Cr of half the width, to RGB',
    ['luma0', 'cb0', 'cbFar', 'cr0', 'crFar', 'groups', 'evenBias', 'oddBias', 'out'],
    [],
    vectors,
    (code) => {
      const rowsAt = (near: string, far: string, offset: number): void => {
        code.get(near).run(['i32.const', offset], 'i32.add', 'v128.load8x8_u', ...splat(3), 'i16x8.mul');
        code.get(far).run(['i32.const', offset], 'i32.add', 'v128.load8x8_u', 'i16x8.add');
      };
      code.repeat('groups', () => {
        code.get('luma0').run('v128.load').set('luma');
        for (const [near, far, name] of [
          ['cb0', 'cbFar', 'Cb'],
          ['cr0', 'crFar', 'Cr'],
        ] as const) {
          rowsAt(near, far, 0);
          code.run(...splat(3), 'i16x8.mul').set('sum');
          for (const [offset, bias, to] of [
            [-1, 'evenBias', 'even'],
            [1, 'oddBias', 'odd'],
          ] as const) {
            code.get('sum');
            rowsAt(near, far, offset);
            code.run('i16x8.add').get(bias).run('i16x8.splat', 'i16x8.add');
            code.run(['i32.const', 4], 'i16x8.shr_s').set(to);
          }
          for (const half of halves) code.get('even', 'odd').interleave(2, half).set(`${half}${name}`);
          code.increase(near, 8).increase(far, 8);
        }
        for (const half of halves) colorsOf(code, half, `${half}Cb`, `${half}Cr`);
        storeHalves(code);
      });
    },
  );

export const colorKernels = (): readonly WasmFunction[] => [grayToRgb(), wholeToRgb(), halfToRgb()];
