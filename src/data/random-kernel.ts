/**
 * Uniform numbers in WebAssembly with 128-bit SIMD, with the bits of `random.ts` and several times as fast: four Philox
 * blocks at a time, word i of each in vector i.
 */
import { webAssembly } from '../engine/cpu/kernels/webassembly.ts';
import { encodeModule, type WasmFunction } from '../kernels/wasm-assembler.ts';
import { functionOf, type Step } from '../kernels/wasm-builder.ts';
import { groupValues, multiplier0, multiplier1, rounds, type StreamKey, weyl0, weyl1 } from './random.ts';

/** Writes the values `from … from + into.length` of a stream; both are multiples of `groupValues`. */
export type UniformKernel = (key: StreamKey, bound: number, from: number, into: Float32Array) => void;

/** Where numbers are in memory: 2⁻³¹, the bound, 0 … 3, −1; then the values. */
const [factorAt, boundAt, lanesAt, oneAt, valuesAt] = [0, 8, 16, 32, 64];
const mostValues = (65_536 - valuesAt) / 4 - (((65_536 - valuesAt) / 4) % groupValues);

const words = ['c0', 'c1', 'c2', 'c3'] as const;

/** Pushes a number in all lanes. */
const splat = (value: number): Step[] => [['i32.const', value | 0], 'i32x4.splat'];

const uniformKernel = (): WasmFunction =>
  functionOf(
    'fillUniform',
    'uniform numbers in ±bound from Philox 4×32-10',
    ['block', 'stream', 'index', 'key0', 'key1', 'groups', 'out'],
    ['round'],
    [
      ...['blocks', ...words, 'k0', 'k1', 'm0', 'm1', 'w0', 'w1', 'low0', 'high0', 'low1', 'high1'],
      ...['factor', 'bound', 'one', 't0', 't1'],
    ],
    (code) => {
      for (const [name, value] of [
        ['m0', multiplier0],
        ['m1', multiplier1],
        ['w0', weyl0],
        ['w1', weyl1],
      ] as const)
        code.run(...splat(value)).set(name);
      // Lane i counts from block + i.
      code
        .get('block')
        .run('i32x4.splat', ['i32.const', 0], ['v128.load', lanesAt], 'i32x4.add')
        .set('blocks');
      code.run(['i32.const', 0], ['v128.load64_splat', factorAt]).set('factor');
      code.run(['i32.const', 0], ['v128.load64_splat', boundAt]).set('bound');
      code.run(['i32.const', 0], ['v128.load64_splat', oneAt]).set('one');
      code.repeat('groups', () => {
        code.get('blocks').set('c0').get('stream').run('i32x4.splat').set('c1');
        code
          .get('index')
          .run('i32x4.splat')
          .set('c2')
          .run(...splat(0))
          .set('c3');
        code.get('key0').run('i32x4.splat').set('k0').get('key1').run('i32x4.splat').set('k1');
        code.run(['i32.const', rounds]).set('round');
        code.repeat('round', () => {
          for (const [i, word, factor] of [
            [0, 'c0', 'm0'],
            [1, 'c2', 'm1'],
          ] as const) {
            code.get(word, factor).run('i64x2.extmul_low_i32x4_u').set('t0');
            code.get(word, factor).run('i64x2.extmul_high_i32x4_u').set('t1');
            // The lower and the upper halves of four products.
            code.get('t0', 't1').run(['i8x16.shuffle', 0o0246]).set(`low${i}`);
            code.get('t0', 't1').run(['i8x16.shuffle', 0o1357]).set(`high${i}`);
          }
          code.get('high1', 'c1').run('v128.xor').get('k0').run('v128.xor').set('c0');
          code.get('high0', 'c3').run('v128.xor').get('k1').run('v128.xor').set('c2');
          code.get('low1').set('c1').get('low0').set('c3');
          code.get('k0', 'w0').run('i32x4.add').set('k0').get('k1', 'w1').run('i32x4.add').set('k1');
        });
        // A word becomes (2 · word / 2³² − 1) · bound, computed in float64.
        for (const word of words) {
          for (const [half, name] of [
            [word, 't0'],
            ['high0', 't1'],
          ] as const) {
            if (name === 't1') code.get(word, word).run(['i8x16.shuffle', 0o2323]).set('high0');
            code.get(half).run('f64x2.convert_low_i32x4_u').get('factor').run('f64x2.mul');
            code
              .get('one')
              .run('f64x2.add')
              .get('bound')
              .run('f64x2.mul', 'f32x4.demote_f64x2_zero')
              .set(name);
          }
          code.get('t0', 't1').run(['i8x16.shuffle', 0o0145]).set(word);
        }
        // Four blocks of four words, from four words of four blocks.
        code.get('c0', 'c1').run(['i8x16.shuffle', 0o0415]).set('low0');
        code.get('c0', 'c1').run(['i8x16.shuffle', 0o2637]).set('high0');
        code.get('c2', 'c3').run(['i8x16.shuffle', 0o0415]).set('low1');
        code.get('c2', 'c3').run(['i8x16.shuffle', 0o2637]).set('high1');
        for (const [i, [left, right, lanes]] of (
          [
            ['low0', 'low1', 0o0145],
            ['low0', 'low1', 0o2367],
            ['high0', 'high1', 0o0145],
            ['high0', 'high1', 0o2367],
          ] as const
        ).entries()) {
          code.get('out', left, right).run(['i8x16.shuffle', lanes], ['v128.store', 16 * i]);
        }
        code.increase('out', 64);
        code
          .get('blocks')
          .run(...splat(4))
          .run('i32x4.add')
          .set('blocks');
      });
    },
  );

/** Compiles the kernel; undefined where there is no WebAssembly with SIMD. */
export function openUniformKernel(): UniformKernel | undefined {
  const bytes = encodeModule([uniformKernel()], [], false);
  if (!webAssembly?.validate(bytes)) return undefined;
  const memory = new webAssembly.Memory({ initial: 1, maximum: 65_536, shared: false });
  const { exports } = new webAssembly.Instance(new webAssembly.Module(bytes), { env: { memory } });
  const fill = exports.fillUniform as (...parameters: readonly number[]) => void;
  const numbers = new Float64Array(memory.buffer, 0, 8);
  numbers[factorAt / 8] = 2 ** -31;
  numbers[oneAt / 8] = -1;
  new Int32Array(memory.buffer, lanesAt, 4).set([0, 1, 2, 3]);
  const values = new Float32Array(memory.buffer, valuesAt, mostValues);
  return ({ seed, stream, index }, bound, from, into) => {
    numbers[boundAt / 8] = bound;
    for (let at = 0; at < into.length; at += mostValues) {
      const count = Math.min(mostValues, into.length - at);
      const [key0, key1] = [seed >>> 0, Math.floor(seed / 2 ** 32) >>> 0];
      fill((from + at) / 4, stream, index, key0, key1, count / groupValues, valuesAt);
      into.set(values.subarray(0, count), at);
    }
  };
}
