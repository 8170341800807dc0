/**
 * `resizePixels` for RGB in WebAssembly with 128-bit SIMD, about five times as fast: Pillow's arithmetic is whole
 * numbers of 32 bits, four of which fit a vector, so the bytes are the same.
 *
 * The first pass resizes rows to the window's columns, a vector per pixel, and writes each channel to a plane of its
 * own, [3, source rows, width]. The second pass adds rows of such a plane, sixteen columns at a time.
 */
import { webAssembly } from '../engine/cpu/kernels/webassembly.ts';
import { encodeModule, type WasmFunction } from '../kernels/wasm-assembler.ts';
import { functionOf, type Step } from '../kernels/wasm-builder.ts';
import { type Axis, half, precision, type ResizePlan } from './resize.ts';

/**
 * Resizes RGB images, interleaved, to planes [3, height, width], as `resizePixels` does. Returns the sums of the bytes of
 * each plane, then of their squares.
 */
export type Resizer = (plan: ResizePlan, source: Uint8Array, out: Uint8Array) => readonly number[];

/** Sums start at a half and lose the bits behind the point. */
const rounding: readonly Step[] = [['i32.const', half], 'i32x4.splat'];
const shift: readonly Step[] = [['i32.const', precision], 'i32x4.shr_s'];

/** The columns of one row after the other. `first` holds bytes from a row's start, `weights` have `tapBytes` a column. */
const columnsKernel = (): WasmFunction =>
  functionOf(
    'resizeColumns',
    'rows of RGB to planes of fewer or more columns',
    [
      ...['source', 'sourceStride', 'rows', 'width', 'first', 'count', 'weights', 'tapBytes'],
      ...['out', 'planeBytes'],
    ],
    ['x', 'tap', 'pixel', 'weight', 'firstAt', 'countAt', 'weightsAt'],
    ['sum'],
    (code) =>
      code.repeat('rows', () => {
        code.get('width').set('x').get('first').set('firstAt').get('count').set('countAt');
        code.get('weights').set('weightsAt');
        code.repeat('x', () => {
          code.get('source', 'firstAt').run('i32.load', 'i32.add').set('pixel');
          code.get('countAt').run('i32.load').set('tap').get('weightsAt').set('weight');
          code.run(...rounding).set('sum');
          code.repeat('tap', () => {
            code.get('sum', 'pixel');
            code.run('v128.load32_zero', 'i16x8.extend_low_i8x16_u', 'i32x4.extend_low_i16x8_u');
            code.get('weight').run('v128.load32_splat', 'i32x4.mul', 'i32x4.add').set('sum');
            code.increase('pixel', 3).increase('weight', 4);
          });
          code
            .get('sum')
            .run(...shift)
            .set('sum');
          code.get('sum', 'sum').run('i16x8.narrow_i32x4_u').set('sum');
          code.get('sum', 'sum').run('i8x16.narrow_i16x8_u').set('sum');
          code.get('out', 'sum').run(['v128.store8_lane', 0, 0]);
          code.get('out', 'planeBytes').run('i32.add').get('sum').run(['v128.store8_lane', 0, 1]);
          code.get('out', 'planeBytes', 'planeBytes').run('i32.add', 'i32.add');
          code.get('sum').run(['v128.store8_lane', 0, 2]);
          code.increase('out', 1).increase('firstAt', 4).increase('countAt', 4);
          code.increase('weightsAt', 'tapBytes');
        });
        code.increase('source', 'sourceStride');
      }),
  );

const parts = ['a', 'b', 'c', 'd'] as const;

/**
 * The rows of one plane after the other, in `chunks` of sixteen columns. The last chunk of a row writes beyond its end,
 * where the next row is written later. `first` holds bytes from the plane's start.
 */
const rowsKernel = (): WasmFunction =>
  functionOf(
    'resizeRows',
    'a plane to fewer or more rows',
    ['plane', 'width', 'chunks', 'height', 'first', 'count', 'weights', 'tapBytes', 'out'],
    ['chunk', 'tap', 'from', 'to', 'weight', 'pixel'],
    ['bytes', 'factor', 'low', 'high', ...parts],
    (code) =>
      code.repeat('height', () => {
        code.get('chunks').set('chunk').get('out').set('to');
        code.get('plane', 'first').run('i32.load', 'i32.add').set('from');
        code.repeat('chunk', () => {
          code.get('from').set('pixel').get('weights').set('weight').get('count').run('i32.load').set('tap');
          for (const part of parts) code.run(...rounding).set(part);
          code.repeat('tap', () => {
            code.get('weight').run('v128.load32_splat').set('factor');
            code.get('pixel').run('v128.load').set('bytes');
            code.get('bytes').run('i16x8.extend_low_i8x16_u').set('low');
            code.get('bytes').run('i16x8.extend_high_i8x16_u').set('high');
            for (const [i, part] of parts.entries()) {
              code.get(part, i < 2 ? 'low' : 'high');
              code.run(i % 2 === 0 ? 'i32x4.extend_low_i16x8_u' : 'i32x4.extend_high_i16x8_u');
              code.get('factor').run('i32x4.mul', 'i32x4.add').set(part);
            }
            code.increase('pixel', 'width').increase('weight', 4);
          });
          code.get('to');
          for (const [left, right] of [
            ['a', 'b'],
            ['c', 'd'],
          ] as const) {
            code.get(left).run(...shift);
            code
              .get(right)
              .run(...shift)
              .run('i16x8.narrow_i32x4_u');
          }
          code.run('i8x16.narrow_i16x8_u', 'v128.store');
          code.increase('from', 16).increase('to', 16);
        });
        code.increase('out', 'width').increase('first', 4).increase('count', 4);
        code.increase('weights', 'tapBytes');
      }),
  );

/** Sums of bytes and of their squares over `chunks` of sixteen: to four lanes each. */
const sumsKernel = (): WasmFunction =>
  functionOf(
    'sumBytes',
    'the sums of bytes and of their squares',
    ['bytes', 'chunks', 'out'],
    [],
    ['chunk', 'half', 'ones', 'sums', 'squares'],
    (code) => {
      code.run(['i32.const', 0x1_0001], 'i32x4.splat').set('ones');
      code.repeat('chunks', () => {
        code.get('bytes').run('v128.load').set('chunk');
        for (const extend of ['i16x8.extend_low_i8x16_u', 'i16x8.extend_high_i8x16_u'] as const) {
          code.get('chunk').run(extend).set('half');
          code.get('half', 'ones').run('i32x4.dot_i16x8_s').get('sums').run('i32x4.add').set('sums');
          code.get('half', 'half').run('i32x4.dot_i16x8_s').get('squares').run('i32x4.add').set('squares');
        }
        code.increase('bytes', 16);
      });
      code.get('out', 'sums').run('v128.store').get('out', 'squares').run(['v128.store', 16]);
    },
  );

/** So many chunks have sums of squares below 2³¹ in a lane, to which each adds at most 4 · 255². */
const mostChunks = 8192;

const pageBytes = 65_536;
/** Bytes of the source that are resized at a time, if a row is not longer. */
const bandBytes = 1 << 22;
/** A vector may be read or written beyond the end. */
const slack = 16;

type Kernel = (...parameters: readonly number[]) => void;

/** Compiles the kernels and gives them a memory, which grows with the largest image. */
export function openResizer(): Resizer {
  const bytes = encodeModule([columnsKernel(), rowsKernel(), sumsKernel()], [], false);
  const memory = new webAssembly.Memory({ initial: 1, maximum: 65_536, shared: false });
  const { exports } = new webAssembly.Instance(new webAssembly.Module(bytes), { env: { memory } });
  const { resizeColumns, resizeRows, sumBytes } = exports as Record<string, Kernel> as {
    readonly [Name in 'resizeColumns' | 'resizeRows' | 'sumBytes']: Kernel;
  };
  /** Memory is given out from its start, 16 bytes apart. */
  let end = 0;
  const place = (size: number): number => {
    const at = end;
    end = Math.ceil((at + size + slack) / 16) * 16;
    const missing = end - memory.buffer.byteLength;
    if (missing > 0) memory.grow(Math.ceil(missing / pageBytes));
    return at;
  };
  const placeAxis = ({ first, count, weights, taps }: Axis, from: number, unit: number) => {
    const offsets = first.map((pixel) => (pixel - from) * unit);
    const at = [offsets, count, weights].map((list) => {
      const to = place(list.byteLength);
      new Int32Array(memory.buffer, to, list.length).set(list);
      return to;
    });
    return [...at, 4 * taps] as const;
  };
  /** Adds the sums of `length` bytes to those of a channel. `lanes` is the place of eight numbers. */
  const addSums = (sums: number[], channel: number, bytes: number, length: number, lanes: number): void => {
    const whole = Math.floor(length / 16);
    for (let chunk = 0; chunk < whole; chunk += mostChunks) {
      sumBytes(bytes + 16 * chunk, Math.min(mostChunks, whole - chunk), lanes);
      for (const [i, sum] of new Int32Array(memory.buffer, lanes, 8).entries())
        sums[channel + (i < 4 ? 0 : 3)]! += sum;
    }
    for (const byte of new Uint8Array(memory.buffer, bytes + 16 * whole, length - 16 * whole)) {
      sums[channel]! += byte;
      sums[channel + 3]! += byte * byte;
    }
  };
  return (plan, source, out) => {
    const { window, rows, columns } = plan;
    const { height, width } = window;
    const sourceStride = 3 * plan.source[1];
    const top = rows.first[0]!;
    const used = rows.first[height - 1]! + rows.count[height - 1]! - top;
    const band = Math.min(used, Math.max(1, Math.floor(bandBytes / sourceStride)));
    end = 0;
    const columnsAt = placeAxis(columns, 0, 3);
    const rowsAt = placeAxis(rows, top, width);
    const from = place(band * sourceStride);
    const planeBytes = used * width;
    const planes = place(3 * planeBytes);
    const to = place(3 * height * width);
    const lanes = place(32);
    for (let y = 0; y < used; y += band) {
      const count = Math.min(band, used - y);
      const start = (top + y) * sourceStride;
      new Uint8Array(memory.buffer, from).set(source.subarray(start, start + count * sourceStride));
      resizeColumns(from, sourceStride, count, width, ...columnsAt, planes + y * width, planeBytes);
    }
    for (let c = 0; c < 3; c++) {
      const plane = to + c * height * width;
      resizeRows(planes + c * planeBytes, width, Math.ceil(width / 16), height, ...rowsAt, plane);
    }
    const sums = [0, 0, 0, 0, 0, 0];
    for (let c = 0; c < 3; c++) addSums(sums, c, to + c * height * width, height * width, lanes);
    out.set(new Uint8Array(memory.buffer, to, 3 * height * width));
    return sums;
  };
}
