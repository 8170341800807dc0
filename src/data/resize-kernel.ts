/**
 * `resizePixels` for RGB in WebAssembly with 128-bit SIMD, about five times as fast: Pillow's arithmetic is whole
 * numbers of 32 bits, four of which fit a vector, so the bytes are the same.
 *
 * The first pass resizes rows to the window's columns, a vector per pixel, and writes each channel to a plane of its
 * own, [3, source rows, width]. The second pass adds rows of such a plane, sixteen columns at a time.
 */
import { lanes, type WasmFunction } from '../kernels/wasm-assembler.ts';
import { type Builder, functionOf, openKernels, type Step } from '../kernels/wasm-builder.ts';
import { type Axis, half, precision, type ResizePlan } from './resize.ts';

/** Resizes RGB images, interleaved, to planes [3, height, width], as `resizePixels` does. */
export interface Resizer {
  /** Returns the sums of the bytes of each plane, then of their squares. */
  readonly resize: (plan: ResizePlan, source: Uint8Array, out: Uint8Array) => readonly number[];
  /** The same in parts: begins an image. */
  readonly begin: (plan: ResizePlan) => void;
  /** Takes `count` rows of the source from row `first` on. All rows must come, in any order; those not needed may. */
  readonly add: (rows: Uint8Array, first: number, count: number) => void;
  /** Ends the image; returns the sums. */
  readonly end: (out: Uint8Array) => readonly number[];
}

/** Sums start at a half and lose the bits behind the point. */
const rounding: readonly Step[] = [['i32.const', half], 'i32x4.splat'];
const shift: readonly Step[] = [['i32.const', precision], 'i32x4.shr_s'];

/** Taps of the columns are taken four at a time; those without a weight have a weight of 0. */
const quad = 4;
/** Weights are sums of a high part of 11 bits above a low one: products of 16 bits are twice as fast. */
const lowBits = 11;
/** Bytes of the weights of four taps: those of two taps in a word, [high, high, low, low]. */
const quadBytes = 16;
/** Four pixels of RGB as pairs of bytes: red of the first two, green, blue; then of the other two. */
const pairs = [0, 3, 1, 4, 2, 5, 0, 0, 6, 9, 7, 10, 8, 11, 0, 0];

/** Four columns are computed together, and their channels sorted: red of all four, green, blue. */
const columnNames = ['a', 'b', 'c', 'd'] as const;
const channels = [0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 0, 0, 0, 0];

/**
 * The columns of one row after the other, in `width` groups of four. The last group of a row writes `unused` columns
 * beyond its end, where the next row is written later. `first` holds bytes from a row's start, `quads` are taps of a
 * column by fours.
 */
const columnsKernel = (): WasmFunction =>
  functionOf(
    'resizeColumns',
    'rows of RGB to planes of fewer or more columns',
    [
      ...['source', 'sourceStride', 'rows', 'width', 'unused', 'first', 'quads', 'weights'],
      ...['out', 'planeBytes'],
    ],
    ['x', 'left', 'pixel', 'weight', 'firstAt'],
    ['pixels', 'one', 'two', 'high', 'low', ...columnNames],
    (code) =>
      code.repeat('rows', () => {
        code.get('width').set('x').get('first').set('firstAt').get('weights').set('weight');
        code.repeat('x', () => {
          for (const [i, name] of columnNames.entries()) {
            code
              .get('source', 'firstAt')
              .run(['i32.load', 4 * i], 'i32.add')
              .set('pixel');
            resizeColumn(code);
            code.set(name);
          }
          const [a, b, c, d] = columnNames;
          code.get(a, b).run('i16x8.narrow_i32x4_u').get(c, d).run('i16x8.narrow_i32x4_u');
          code.run('i8x16.narrow_i16x8_u').set('low').get('low', 'low');
          code
            .run(['i8x16.shuffle', ...lanes(channels)])
            .set('low')
            .get('out', 'low');
          code.run(['v128.store32_lane', 0, 0]).get('out', 'planeBytes').run('i32.add').get('low');
          code
            .run(['v128.store32_lane', 0, 1])
            .get('out', 'planeBytes', 'planeBytes')
            .run('i32.add', 'i32.add');
          code.get('low').run(['v128.store32_lane', 0, 2]);
          code.increase('out', columnNames.length).increase('firstAt', 4 * columnNames.length);
        });
        code.get('out', 'unused').run('i32.sub').set('out').increase('source', 'sourceStride');
      }),
  );

/** Pushes the sums of one column, of red, green, blue and something. */
function resizeColumn(code: Builder): void {
  code
    .get('quads')
    .set('left')
    .run(...rounding)
    .set('low');
  code.run(['i32.const', 0], 'i32x4.splat').set('high');
  code.repeat('left', () => {
    code.get('pixel').run('v128.load').set('pixels').get('pixels', 'pixels');
    code.run(['i8x16.shuffle', ...lanes(pairs)]).set('pixels');
    code.get('pixels').run('i16x8.extend_low_i8x16_u').set('one');
    code.get('pixels').run('i16x8.extend_high_i8x16_u').set('two');
    for (const [i, part] of (['high', 'low'] as const).entries()) {
      for (const [j, taps] of (['one', 'two'] as const).entries()) {
        code.get(part, taps, 'weight').run(['v128.load32_splat', 8 * i + 4 * j]);
        code.run('i32x4.dot_i16x8_s', 'i32x4.add').set(part);
      }
    }
    code.increase('pixel', 3 * quad).increase('weight', quadBytes);
  });
  code
    .get('high')
    .run(['i32.const', lowBits], 'i32x4.shl')
    .get('low')
    .run('i32x4.add', ...shift);
}

/** An axis in the kernel's order: whole groups of columns, each with the same number of taps. */
function columnGroups({ first, count, weights, taps }: Axis): {
  readonly quads: number;
  readonly starts: Int32Array;
  readonly words: Int32Array;
} {
  const quads = Math.ceil(count.reduce((most, n) => Math.max(most, n), 1) / quad);
  const length = Math.ceil(first.length / columnNames.length) * columnNames.length;
  const starts = new Int32Array(length);
  const words = new Int32Array((length * quads * quadBytes) / 4);
  const mask = (1 << lowBits) - 1;
  for (let i = 0; i < first.length; i++) {
    starts[i] = 3 * first[i]!;
    const weight = (tap: number): number => (tap < count[i]! ? weights[i * taps + tap]! : 0);
    for (let tap = 0; tap < quads * quad; tap += 2) {
      const [a, b] = [weight(tap), weight(tap + 1)];
      const at = ((i * quads + (tap >> 2)) * quadBytes) / 4 + ((tap >> 1) & 1);
      words[at] = (a >> lowBits) | ((b >> lowBits) << 16);
      words[at + 2] = (a & mask) | ((b & mask) << 16);
    }
  }
  return { quads, starts, words };
}

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

/** Bytes of the source that are resized at a time, if a row is not longer. */
const bandBytes = 1 << 18;

type KernelName = 'resizeColumns' | 'resizeRows' | 'sumBytes';

/** Where the parts of an image are in memory. */
interface Layout {
  readonly plan: ResizePlan;
  /** First row of the source that is needed, their number, and how many are resized at a time. */
  readonly top: number;
  readonly used: number;
  readonly band: number;
  readonly source: number;
  readonly columns: readonly [groups: number, unused: number, first: number, quads: number, weights: number];
  readonly rows: readonly [first: number, count: number, weights: number, tapBytes: number];
  readonly planes: number;
  readonly planeBytes: number;
  readonly out: number;
  readonly lanes: number;
}

/** Compiles the kernels and gives them a memory, which grows with the largest image. */
export function openResizer(): Resizer {
  const { call, memory, place, free } = openKernels<KernelName>([
    columnsKernel(),
    rowsKernel(),
    sumsKernel(),
  ]);
  const copy = (list: Int32Array): number => {
    const at = place(list.byteLength);
    new Int32Array(memory.buffer, at, list.length).set(list);
    return at;
  };
  const layOut = (plan: ResizePlan): Layout => {
    const { rows, columns, window, source } = plan;
    const top = rows.first[0]!;
    const used = rows.first[window.height - 1]! + rows.count[window.height - 1]! - top;
    const band = Math.min(used, Math.max(1, Math.floor(bandBytes / (3 * source[1]))));
    free(0);
    const { quads, starts, words } = columnGroups(columns);
    const planeBytes = used * window.width + columnNames.length;
    return {
      ...{ plan, top, used, band },
      columns: [
        starts.length / columnNames.length,
        starts.length - window.width,
        copy(starts),
        quads,
        copy(words),
      ],
      rows: [
        copy(rows.first.map((row) => (row - top) * window.width)),
        copy(rows.count),
        copy(rows.weights),
        4 * rows.taps,
      ],
      source: place(3 * band * source[1]),
      planes: place(3 * planeBytes),
      planeBytes,
      out: place(3 * window.height * window.width),
      lanes: place(32),
    };
  };
  let layout: Layout | undefined;
  const begin = (plan: ResizePlan): void => {
    // Photos of one camera have one size.
    if (layout?.plan !== plan) layout = layOut(plan);
  };
  const add = (rows: Uint8Array, first: number, count: number): void => {
    const { plan, top, used, band, source, columns, planes, planeBytes } = layout!;
    const { width } = plan.window;
    const stride = 3 * plan.source[1];
    const end = Math.min(first + count, top + used);
    for (let y = Math.max(first, top); y < end; y += band) {
      const part = Math.min(band, end - y);
      const from = (y - first) * stride;
      new Uint8Array(memory.buffer).set(rows.subarray(from, from + part * stride), source);
      call.resizeColumns(source, stride, part, ...columns, planes + (y - top) * width, planeBytes);
    }
  };
  const end = (to: Uint8Array): readonly number[] => {
    const { plan, rows, planes, planeBytes, out, lanes } = layout!;
    const { height, width } = plan.window;
    const sums = [0, 0, 0, 0, 0, 0];
    for (let c = 0; c < 3; c++) {
      const plane = out + c * height * width;
      call.resizeRows(planes + c * planeBytes, width, Math.ceil(width / 16), height, ...rows, plane);
    }
    for (let c = 0; c < 3; c++) addSums(sums, c, out + c * height * width, height * width, lanes);
    to.set(new Uint8Array(memory.buffer, out, 3 * height * width));
    return sums;
  };
  /** Adds the sums of `length` bytes to those of a channel. `to` is the place of eight numbers. */
  const addSums = (sums: number[], channel: number, bytes: number, length: number, to: number): void => {
    const whole = Math.floor(length / 16);
    for (let chunk = 0; chunk < whole; chunk += mostChunks) {
      call.sumBytes(bytes + 16 * chunk, Math.min(mostChunks, whole - chunk), to);
      for (const [i, sum] of new Int32Array(memory.buffer, to, 8).entries())
        sums[channel + (i < 4 ? 0 : 3)]! += sum;
    }
    for (const byte of new Uint8Array(memory.buffer, bytes + 16 * whole, length - 16 * whole)) {
      sums[channel]! += byte;
      sums[channel + 3]! += byte * byte;
    }
  };
  return {
    ...{ begin, add, end },
    resize: (plan, source, out) => {
      begin(plan);
      add(source, 0, plan.source[0]);
      return end(out);
    },
  };
}
