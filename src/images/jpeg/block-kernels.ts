/**
 * Kernels of our JPEG decoder for blocks, in WebAssembly with 128-bit SIMD: Huffman codes to coefficients, and
 * coefficients to pixels. The inverse transform is that of libjpeg-turbo's `jidctint`, the slow one, with the roundings
 * and overflows of its SIMD code, so that the bytes are those of Pillow.
 */
import { lanes, type WasmFunction } from '../../kernels/wasm-assembler.ts';
import { type Builder, functionOf, type Step } from '../../kernels/wasm-builder.ts';
import { endOfBlock, firstBits, secondBits } from './huffman.ts';

/** Bytes of the table of coefficients' places in a block, at address 0; `zigzagTable` describes it. */
export const zigzagBytes = 256;
/** The place of coefficients that do not exist: behind the block. */
const nowhere = 64;

/** Byte offsets in a block by position in the scan, 1 apart: the decoder has advanced before it looks. */
export function zigzagTable(zigzag: Uint8Array): Uint8Array {
  const table = new Uint8Array(zigzagBytes).fill(2 * nowhere);
  for (let i = 1; i < 64; i++) table[i + 1] = 2 * zigzag[i]!;
  return table;
}

/** Where the decoder of codes is, in bytes: the next bits (64, left-aligned), their number, the next byte, errors. */
export const scanState = { bits: 0, count: 8, at: 12, bad: 16, size: 20 } as const;
/** A block of an MCU in bytes: the addresses of its tables, and of the last DC of its component. */
export const blockState = { dc: 0, ac: 4, last: 8, size: 12 } as const;

/** Looks up the code that the next bits begin with, in the table at the address on the stack. */
const lookup = (code: Builder): void => {
  code.set('table').get('table', 'bits');
  code.run(['i64.const', 64 - firstBits], 'i64.shr_u', 'i32.wrap_i64', ['i32.const', 2], 'i32.shl');
  code.run('i32.add', 'i32.load').set('entry');
  code.get('entry').run(['i32.const', 31], 'i32.and', 'i32.eqz');
  code.when(() => {
    code.get('table', 'entry').run(['i32.const', 5], 'i32.shr_u', 'i32.add').get('bits');
    code.run(['i64.const', firstBits], 'i64.shl', ['i64.const', 64 - secondBits], 'i64.shr_u');
    code.run('i32.wrap_i64', ['i32.const', 2], 'i32.shl', 'i32.add', 'i32.load').set('entry');
  });
  code.get('entry').run(['i32.const', 31], 'i32.and').set('size');
  skip(code);
  // The value: known, or in the next bits. One that begins with a 0 is negative.
  code.get('entry').run(['i32.const', 13], 'i32.shr_u', ['i32.const', 15], 'i32.and').set('size');
  code.get('size').when(
    () => {
      // The shift by 64 − size counts modulo 64.
      code.get('bits').run(['i64.const', 0]).get('size').run('i64.extend_i32_u', 'i64.sub');
      code.run('i64.shr_u', 'i32.wrap_i64');
      code.run(['i32.const', 1]).get('size').run('i32.shl', ['i32.const', 1], 'i32.sub');
      code.get('bits').run(['i64.const', 63], 'i64.shr_s', 'i32.wrap_i64', ['i32.const', -1], 'i32.xor');
      code.run('i32.and', 'i32.sub').set('value');
      skip(code);
    },
    () => {
      code.get('entry').run(['i32.const', 17], 'i32.shr_s').set('value');
    },
  );
};

/** Takes `size` bits. */
const skip = (code: Builder): void => {
  code.get('bits', 'size').run('i64.extend_i32_u', 'i64.shl').set('bits');
  code.get('count', 'size').run('i32.sub').set('count');
};

/** Reads eight bytes if fewer than 32 bits are left, which no code with its value needs. */
const refill = (code: Builder): void => {
  code.get('count').run(['i32.const', 32], 'i32.lt_s');
  code.when(() => {
    code.get('bits', 'at').run('v128.load64_zero').set('bytes').get('bytes', 'bytes');
    const reversed = Array.from({ length: 16 }, (_, i) => (i < 8 ? 7 - i : 0));
    code.run(['i8x16.shuffle', ...lanes(reversed)], ['i64x2.extract_lane', 0]);
    code.get('count').run('i64.extend_i32_u', 'i64.shr_u', 'i64.or').set('bits');
    code.get('at').run(['i32.const', 63]).get('count').run('i32.sub', ['i32.const', 3], 'i32.shr_u');
    code.run('i32.add').set('at').get('count').run(['i32.const', 56], 'i32.or').set('count');
  });
};

/**
 * The coefficients of some MCUs, 64 numbers of 16 bits a block. Errors are collected in `bad`; what is read and written
 * then stays near the block and the scan.
 */
const decodeBlocks = (): WasmFunction =>
  functionOf(
    'decodeBlocks',
    'Huffman codes to the coefficients of MCUs',
    ['state', 'program', 'blocks', 'mcus', 'out'],
    ['count', 'at', 'bad', 'step', 'left', 'table', 'entry', 'size', 'value', 'last', 'k', 'ac'],
    ['bytes', 'zero'],
    (code) => {
      code.get('state').run(['i64.load', scanState.bits]).set('bits');
      for (const name of ['count', 'at', 'bad'] as const)
        code.get('state').run(['i32.load', scanState[name]]).set(name);
      code.repeat('mcus', () => {
        code.get('program').set('step').get('blocks').set('left');
        code.repeat('left', () => decodeBlock(code));
      });
      code.get('state', 'bits').run(['i64.store', scanState.bits]);
      for (const name of ['count', 'at', 'bad'] as const)
        code.get('state', name).run(['i32.store', scanState[name]]);
    },
    ['bits'],
  );

function decodeBlock(code: Builder): void {
  for (let at = 0; at < 128; at += 16) code.get('out', 'zero').run(['v128.store', at]);
  refill(code);
  code.get('step').run(['i32.load', blockState.dc]);
  lookup(code);
  // The difference to the last block's DC, which must stay in 16 bits.
  code.get('step').run(['i32.load', blockState.last]).set('last');
  code.get('last').run('i32.load').get('value').run('i32.add').set('value');
  code.get('last', 'value').run('i32.store');
  code.get('out', 'value').run('i32.store16');
  code
    .get('bad', 'value')
    .run(['i32.const', 0x8000], 'i32.add', ['i32.const', -0x10000], 'i32.and', 'i32.or');
  code.get('entry').run(['i32.const', 5], 'i32.shr_u', ['i32.const', 255], 'i32.and');
  code.run(['i32.const', 1], 'i32.xor', 'i32.or').set('bad');
  code.get('step').run(['i32.load', blockState.ac]).set('ac').run(['i32.const', 1]).set('k');
  code.run('loop');
  refill(code);
  code.get('ac');
  lookup(code);
  code
    .get('k', 'entry')
    .run(['i32.const', 5], 'i32.shr_u', ['i32.const', 255], 'i32.and', 'i32.add')
    .set('k');
  code.get('out', 'k').run('i32.load8_u', 'i32.add').get('value').run('i32.store16');
  code.get('k').run(['i32.const', 64], 'i32.lt_s', ['br_if', 0], 'end');
  // The block ends with its last coefficient, or the code that says so.
  code.get('bad', 'k').run(['i32.const', 64], 'i32.ne');
  code
    .get('k')
    .run(['i32.const', endOfBlock + 1], 'i32.lt_s', 'i32.and', 'i32.or')
    .set('bad');
  code.increase('out', 128).increase('step', blockState.size);
}

const rows = [0, 1, 2, 3, 4, 5, 6, 7] as const;
const halves = ['low', 'high'] as const;

/** The transform's constants with 13 bits behind the point, such as 0.298631336 and 3.072711026. */
const [f298, f390, f541, f765, f899, f1175] = [2446, 3196, 4433, 6270, 7373, 9633] as const;
const [f1501, f1847, f1961, f2053, f2562, f3072] = [12_299, 15_137, 16_069, 16_819, 20_995, 25_172] as const;
/** Factors of the pairs that `interleave` makes, in all lanes. */
const pair = (a: number, b: number): Step[] => [['i32.const', (b << 16) | (a & 0xffff)], 'i32x4.splat'];

/**
 * One pass of the inverse transform: rows r0 to r7 are combined in each of eight columns. Sums of 32 bits lose `shift`
 * bits. Products of constants are arranged as in libjpeg-turbo, as sums of two products each.
 */
function transformPass(code: Builder, shift: number): void {
  const sum = (a: string, b: string, to: string): void => void code.get(a, b).run('i16x8.add').set(to);
  sum('r0', 'r4', 'sum04');
  code.get('r0', 'r4').run('i16x8.sub').set('difference04');
  sum('r7', 'r3', 'sum73');
  sum('r5', 'r1', 'sum51');
  const rounding: Step[] = [['i32.const', 1 << (shift - 1)], 'i32x4.splat', 'i32x4.add'];
  for (const half of halves) {
    const dots = (a: string, b: string, to: readonly (readonly [string, number, number])[]): void => {
      code.get(a, b).interleave(2, half).set('pair');
      for (const [name, x, y] of to)
        code
          .get('pair')
          .run(...pair(x, y), 'i32x4.dot_i16x8_s')
          .set(name);
    };
    const whole = (from: string, to: string): void => {
      code.get(from).run(half === 'low' ? 'i32x4.extend_low_i16x8_s' : 'i32x4.extend_high_i16x8_s');
      code.run(['i32.const', 13], 'i32x4.shl', ...rounding).set(to);
    };
    const combine = (a: string, operation: 'add' | 'sub', b: string, to: string): void =>
      void code.get(a, b).run(`i32x4.${operation}`).set(to);
    // Even rows: e0 to e3.
    dots('r2', 'r6', [
      ['a', f541 + f765, f541],
      ['b', f541, f541 - f1847],
    ]);
    whole('sum04', 'c');
    whole('difference04', 'd');
    combine('c', 'add', 'a', 'e0');
    combine('c', 'sub', 'a', 'e3');
    combine('d', 'add', 'b', 'e1');
    combine('d', 'sub', 'b', 'e2');
    // Odd rows: o0 to o3.
    dots('sum73', 'sum51', [
      ['a', f1175 - f1961, f1175],
      ['b', f1175, f1175 - f390],
    ]);
    dots('r7', 'r1', [
      ['o0', f298 - f899, -f899],
      ['o3', -f899, f1501 - f899],
    ]);
    dots('r5', 'r3', [
      ['o1', f2053 - f2562, -f2562],
      ['o2', -f2562, f3072 - f2562],
    ]);
    for (const [odd, part] of [
      ['o0', 'a'],
      ['o1', 'b'],
      ['o2', 'a'],
      ['o3', 'b'],
    ] as const)
      combine(odd, 'add', part, odd);
    for (const i of [0, 1, 2, 3] as const) {
      for (const [operation, row] of [
        ['add', i],
        ['sub', 7 - i],
      ] as const) {
        code.get(`e${i}`, `o${3 - i}`).run(`i32x4.${operation}`, ['i32.const', shift], 'i32x4.shr_s');
        // The high half is combined with the low one, which waits for it.
        if (half === 'low') code.set(`l${row}`);
        else code.set('high').get(`l${row}`, 'high').run('i16x8.narrow_i32x4_s').set(`l${row}`);
      }
    }
  }
  for (const row of rows) code.get(`l${row}`).set(`r${row}`);
}

/** Transposes r0 to r7: three times the same perfect shuffle, which rotates the bits of row and column by one. */
function transpose(code: Builder): void {
  for (const [from, to] of [
    ['r', 'l'],
    ['l', 'r'],
    ['r', 'l'],
  ] as const) {
    for (const row of [0, 1, 2, 3] as const) {
      for (const [i, half] of halves.entries())
        code
          .get(`${from}${row}`, `${from}${row + 4}`)
          .interleave(2, half)
          .set(`${to}${2 * row + i}`);
    }
  }
  for (const row of rows) code.get(`l${row}`).set(`r${row}`);
}

/** Blocks of coefficients, `stride` bytes apart, to 8×8 pixels each, `step` bytes apart in rows of `rowBytes`. */
const transformBlocks = (): WasmFunction =>
  functionOf(
    'transformBlocks',
    'coefficients to pixels',
    ['from', 'stride', 'blocks', 'quantization', 'out', 'step', 'rowBytes'],
    ['to'],
    [
      ...rows.flatMap((row) => [`r${row}`, `l${row}`]),
      ...['sum04', 'difference04', 'sum73', 'sum51', 'pair', 'high', 'center'],
      ...['a', 'b', 'c', 'd', 'e0', 'e1', 'e2', 'e3', 'o0', 'o1', 'o2', 'o3'],
    ],
    (code) => {
      code.run(['i32.const', 0x8080_8080], 'i32x4.splat').set('center');
      code.repeat('blocks', () => {
        for (const row of rows) {
          code
            .get('from')
            .run(['v128.load', 16 * row])
            .get('quantization')
            .run(['v128.load', 16 * row]);
          code.run('i16x8.mul').set(`r${row}`);
        }
        code.get('r1', 'r2', 'r3', 'r4', 'r5', 'r6', 'r7');
        code.run(...Array.from({ length: 6 }, () => 'v128.or' as const), 'v128.any_true');
        code.when(
          () => transformPass(code, 11),
          () => {
            // A column of equal values.
            code.get('r0').run(['i32.const', 2], 'i16x8.shl').set('r0');
            for (const row of rows.slice(1)) code.get('r0').set(`r${row}`);
          },
        );
        transpose(code);
        transformPass(code, 18);
        storeBlock(code);
        code.get('from', 'stride').run('i32.add').set('from').get('out', 'step').run('i32.add').set('out');
      });
    },
  );

/** Stores the columns r0 to r7 as rows of bytes. */
function storeBlock(code: Builder): void {
  for (const i of [0, 1, 2, 3] as const)
    code
      .get(`r${i}`, `r${i + 4}`)
      .run('i8x16.narrow_i16x8_s')
      .set(`l${i}`);
  // Columns 0 and 2, 4 and 6, 1 and 3, 5 and 7; then 0 to 3 and 4 to 7 of four rows each.
  const mix = (a: string, b: string, bytes: 1 | 4, low: string, high: string): void => {
    code.get(a, b).interleave(bytes, 'low').set(low).get(a, b).interleave(bytes, 'high').set(high);
  };
  mix('l0', 'l2', 1, 'r0', 'r1');
  mix('l1', 'l3', 1, 'r2', 'r3');
  mix('r0', 'r2', 1, 'l0', 'l1');
  mix('r1', 'r3', 1, 'l2', 'l3');
  mix('l0', 'l2', 4, 'r0', 'r1');
  mix('l1', 'l3', 4, 'r2', 'r3');
  code.get('out').set('to');
  for (const row of [0, 1, 2, 3] as const) {
    code.get(`r${row}`, 'center').run('i8x16.add').set('high');
    for (const lane of [0, 1]) {
      code.get('to', 'high').run(['v128.store64_lane', 0, lane]);
      code.get('to', 'rowBytes').run('i32.add').set('to');
    }
  }
}

export const blockKernels = (): readonly WasmFunction[] => [decodeBlocks(), transformBlocks()];
