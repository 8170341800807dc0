/** The kernel language through its WebAssembly printer: what each construct computes when it runs. */
import { describe, expect, test } from 'vitest';
import { webAssembly } from '../engine/cpu/kernels/webassembly.ts';
import {
  kernelNames,
  kernelParameters,
  recordKernel,
  recordKernels,
  wasmPairsTarget,
  wasmTarget,
} from './catalogue.ts';
import {
  type KernelDefinition,
  kernel,
  type ParameterTypes,
  type Recorder,
  type Target,
  type Value,
} from './language.ts';
import { assembleModule, formatWat } from './wasm.ts';

type Body<P extends ParameterTypes> = (k: Recorder, p: { readonly [K in keyof P]: Value }) => void;

/** Runs a kernel that is written in the test; returns the memory's first floats, of which `floats` were set. */
function run<P extends ParameterTypes>(
  parameters: P,
  values: readonly number[],
  body: Body<P>,
  floats: readonly number[] = [],
  fused = true,
  target: Target = wasmTarget,
): Float32Array {
  const memory = new webAssembly.Memory({ initial: 1, maximum: 1, shared: false });
  const view = new Float32Array(memory.buffer);
  view.set(floats);
  const definition = kernel('sample', 'a sample', parameters, body);
  const module = new webAssembly.Module(
    assembleModule([definition.record(target)], { shared: false, fused }),
  );
  const { exports } = new webAssembly.Instance(module, { env: { memory } });
  (exports.sample as (...values: readonly number[]) => void)(...values);
  return view;
}

const out = { out: 'pointer' } as const;

describe('numbers', () => {
  // Both sides of each length of a signed LEB128, and the ends of the range.
  const integers = [0, 1, 63, 64, 127, 128, 8191, 8192, 1 << 20, (1 << 27) - 1, 1 << 27, 2 ** 31 - 1].flatMap(
    (value) => [value, 0 - value, -value - 1],
  );
  test.each(integers)('i32 constant %d', (value) => {
    const result = run(out, [0], (k, p) => {
      // A float holds 24 bits: the constant in two halves.
      const high = k.integer(value).div(65_536);
      k.store(p.out, high.toFloat(), 0);
      k.store(p.out, k.integer(value).sub(high.mul(65_536)).toFloat(), 1);
    });
    expect(result[0]! * 65_536 + result[1]!).toBe(value);
  });

  test('f32 and vector constants, with the sign of zero, infinities and NaN', () => {
    const values = [0.1, -0, 1e-45, 3.4e38, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, Number.NaN];
    const result = run(out, [0], (k, p) => {
      for (const [i, value] of values.entries()) {
        k.store(p.out, k.constant('f32', value), 8 * i);
        k.store(p.out, k.vector(value), 8 * i + 4);
      }
    });
    for (const [i, value] of values.entries()) {
      expect(result[8 * i]).toBe(Math.fround(value));
      for (let lane = 0; lane < 4; lane++) expect(result[8 * i + 4 + lane]).toBe(Math.fround(value));
    }
  });

  test('whole numbers divide towards zero', () => {
    const result = run({ ...out, a: 'i32' }, [0, -7], (k, p) => k.store(p.out, p.a.div(2).toFloat()));
    expect(result[0]).toBe(-3);
  });
});

describe('max and comparisons', () => {
  const pairs = [
    [1, 2],
    [2, 1],
    [Number.NaN, 1],
    [1, Number.NaN],
    [Number.NEGATIVE_INFINITY, -5],
  ] as const;

  test('max(a, b) is b where a < b and else a, so that a NaN in a stays', () => {
    for (const [a, b] of pairs) {
      const result = run({ ...out, a: 'f32', b: 'f32' }, [0, a, b], (k, p) => {
        k.store(p.out, p.a.max(p.b), 0);
        k.store(p.out, p.a.splat().max(p.b.splat()), 4);
      });
      const expected = Number.isNaN(b) ? a : Math.max(a, b);
      expect([result[0], result[4], result[7]], `${a}, ${b}`).toEqual([expected, expected, expected]);
    }
    const whole = run({ ...out, a: 'i32', b: 'i32' }, [0, -3, 2], (k, p) => {
      k.store(p.out, p.a.max(p.b).toFloat(), 0);
      k.store(p.out, p.b.max(p.a).toFloat(), 1);
      k.store(p.out, p.a.max(-4).toFloat(), 2);
    });
    expect([...whole.subarray(0, 3)]).toEqual([2, 2, -3]);
  });

  test('greater, unequal, or and select, for one value and for each lane', () => {
    for (const [a, b] of pairs) {
      const result = run({ ...out, a: 'f32', b: 'f32' }, [0, a, b], (k, p) => {
        const [yes, no] = [k.constant('f32', 1), k.constant('f32', 0)];
        k.store(p.out, p.a.greater(p.b).select(yes, no), 0);
        k.store(p.out, p.a.unequal(p.b).select(yes, no), 1);
        k.store(p.out, p.a.greater(p.b).or(p.a.unequal(p.a)).select(yes, no), 2);
        const [va, vb] = [p.a.splat(), p.b.splat()];
        k.store(p.out, va.greater(vb).select(yes.splat(), no.splat()), 4);
        k.store(p.out, va.unequal(vb).select(yes.splat(), no.splat()), 8);
        k.store(p.out, va.greater(vb).or(va.unequal(va)).select(yes.splat(), no.splat()), 12);
      });
      const expected = [a > b, a !== b, a > b || Number.isNaN(a)].map(Number);
      expect([...result.subarray(0, 3)], `${a}, ${b}`).toEqual(expected);
      for (const lane of [0, 3]) {
        expect(
          [4, 8, 12].map((at) => result[at + lane]),
          `${a}, ${b}, lane ${lane}`,
        ).toEqual(expected);
      }
    }
  });

  test('select chooses each lane separately', () => {
    const result = run(
      out,
      [32],
      (k, p) => {
        const zero = k.vector(0);
        const values = k.load(p.out.plus(-8));
        k.store(p.out, values.greater(zero).select(values, k.vector(9)));
      },
      [1, -2, 3, -4],
    );
    expect([...result.subarray(8, 12)]).toEqual([1, 9, 3, 9]);
  });

  test.each([0, 1])('a whole number decides for a whole vector, zeros too: %i', (condition) => {
    const result = run({ ...out, condition: 'i32' }, [0, condition], (k, p) => {
      k.store(p.out, p.condition.select(k.vector(5), k.vector(0)), 4);
    });
    expect([...result.subarray(4, 8)]).toEqual(Array(4).fill(5 * condition));
  });

  test('constants in a branch, and the sign of zero', () => {
    const result = run({ ...out, condition: 'i32' }, [0, 0], (k, p) => {
      const value = k.variable(k.vector(-0));
      k.if(
        p.condition,
        () => value.set(k.vector(7)),
        () => value.set(value.mul(k.vector(2))),
      );
      k.store(p.out, value);
    });
    for (const value of result.subarray(0, 4)) expect(value).toBe(-0);
  });
});

describe('loops and branches', () => {
  test.each([-2, 0, 1, 5])('a loop of %i rounds', (count) => {
    const result = run({ ...out, count: 'i32' }, [0, count], (k, p) => {
      const sum = k.variable(k.integer(100));
      k.loop(p.count, (i) => sum.set(sum.add(i.mul(10)).add(1)));
      k.store(p.out, sum.toFloat());
    });
    let sum = 100;
    for (let i = 0; i < count; i++) sum += 10 * i + 1;
    expect(result[0]).toBe(sum);
  });

  test.each([-2, 0, 1, 5])('a loop of %i rounds without a counter', (count) => {
    const result = run({ ...out, count: 'i32' }, [0, count], (k, p) => {
      const sum = k.variable(k.integer(100));
      k.loop(p.count, () => sum.set(sum.add(1)));
      k.store(p.out, sum.add(p.count.mul(1000)).toFloat());
    });
    expect(result[0]).toBe(100 + Math.max(0, count) + 1000 * count);
  });

  test('a loop keeps the count from its start, and may be nested', () => {
    const result = run({ ...out, count: 'i32' }, [0, 3], (k, p) => {
      const count = k.variable(p.count);
      const rounds = k.variable(k.integer(0));
      k.loop(count, (i) => {
        count.set(100);
        k.loop(i, () => rounds.set(rounds.add(1)));
      });
      k.store(p.out, rounds.toFloat());
    });
    expect(result[0]).toBe(0 + 1 + 2);
  });

  test.each([0, 1, 2, 3])('nested branches, case %i', (number) => {
    const result = run({ ...out, a: 'i32' }, [0, number], (k, p) => {
      const result = k.variable(k.integer(-1));
      k.if(
        p.a.greater(1),
        () =>
          k.if(
            p.a.unequal(2),
            () => result.set(33),
            () => result.set(22),
          ),
        () => k.if(p.a, () => result.set(11)),
      );
      k.store(p.out, result.toFloat());
    });
    expect(result[0]).toBe([-1, 11, 22, 33][number]);
  });

  test('a value does not change when its variable changes', () => {
    const result = run(out, [0], (k, p) => {
      const variable = k.variable(k.integer(1));
      const before = variable.add(10);
      variable.set(5);
      k.store(p.out, before.toFloat(), 0);
      k.store(p.out, variable.add(10).toFloat(), 1);
    });
    expect([...result.subarray(0, 2)]).toEqual([11, 15]);
  });

  test('a loaded value does not change when memory changes', () => {
    const result = run(
      out,
      [0],
      (k, p) => {
        const loaded = k.loadFloat(p.out);
        const doubled = loaded.add(loaded);
        k.store(p.out, k.constant('f32', 0));
        k.store(p.out, doubled, 1);
      },
      [21],
    );
    expect([...result.subarray(0, 2)]).toEqual([0, 42]);
  });
});

describe('memory', () => {
  test('offsets count floats, whether given, computed, scaled or kept in memory', () => {
    const result = run(
      { ...out, offset: 'offset' },
      [0, 3],
      (k, p) => {
        k.store(p.out.plus(p.offset), k.constant('f32', 1));
        k.store(p.out.plus(k.integer(4).toOffset()), k.constant('f32', 2));
        k.store(p.out.plus(p.offset.scale(2)).plus(-1), k.constant('f32', 3));
        k.store(p.out, p.offset.add(p.offset).sub(k.integer(1).toOffset()), 20);
        k.store(p.out.plus(k.loadOffset(p.out, 20)), k.constant('f32', 3.5), 1);
        const pointer = k.variable(p.out);
        pointer.advance(7);
        pointer.advance(p.offset);
        k.store(pointer, k.constant('f32', 4));
      },
      new Array(12).fill(0),
    );
    expect([...result.subarray(0, 12)]).toEqual([0, 0, 0, 1, 2, 3, 3.5, 0, 0, 0, 4, 0]);
  });

  test('words are whole numbers, or the bits of a float', () => {
    const result = run(
      out,
      [0],
      (k, p) => {
        k.store(p.out, k.integer(-5), 1);
        k.store(p.out, k.loadWord(p.out, 1).toFloat(), 0);
        k.store(p.out, k.loadWord(p.out, 2).unequal(0).toFloat(), 3);
        k.store(p.out, k.loadWord(p.out, 2), 4);
      },
      [0, 0, -2.5],
    );
    expect([result[0], ...result.subarray(3, 5)]).toEqual([-5, 1, -2.5]);
  });

  test('bytes are unsigned', () => {
    const result = run(out, [16], (k, p) => {
      // −1 is ff ff ff ff where an offset of −¼ float, one byte back, would be.
      k.store(p.out, k.integer(-1), 0);
      k.store(p.out, k.loadByte(p.out, 3).toFloat(), 1);
      k.store(p.out, k.loadByte(p.out.plusBytes(-1)).toFloat(), 2);
    });
    expect([...result.subarray(5, 7)]).toEqual([255, 0]);
  });

  test.each([
    ['4', wasmTarget],
    ['8', wasmPairsTarget],
  ])('%s lanes are loaded from and stored to bytes, of any value', (_, target) => {
    const values = Array.from({ length: 256 }, (__, i) => (37 * i) % 256);
    const result = run(
      out,
      [0],
      (k, p) => {
        k.vectors(k.integer(256), (at) => {
          k.storeBytes(p.out.plus(256).plusBytes(at), k.load(p.out.plus(at.toOffset())));
        });
        k.vectors(k.integer(256), (at) => {
          k.store(p.out.plus(512).plus(at.toOffset()), k.loadBytes(p.out.plus(256).plusBytes(at)));
        });
      },
      values,
      true,
      target,
    );
    expect([...new Uint8Array(result.buffer, 4 * 256, 257)]).toEqual([...values, 0]);
    expect([...result.subarray(512, 768)]).toEqual(values);
  });

  test('splats, sums of lanes in halves, scattered lanes, multiply-add', () => {
    const result = run(
      { ...out, step: 'offset' },
      [0, 3],
      (k, p) => {
        const vector = k.load(p.out);
        const sum = k.variable(vector);
        sum.multiplyAdd(k.loadSplat(p.out, 1), vector);
        k.store(p.out, sum, 4);
        k.store(p.out, vector.sum(), 8);
        k.scatter(p.out.plus(10), vector, p.step);
        const scalar = k.variable(k.constant('f32', 1));
        scalar.multiplyAdd(k.loadFloat(p.out, 2), k.loadFloat(p.out, 3));
        k.store(p.out, scalar.sqrt(), 9);
        k.store(p.out, vector.div(k.vector(2)).sqrt(), 20);
      },
      [1e8, 2, -1e8, 4],
    );
    expect([...result.subarray(4, 8)]).toEqual([3e8, 6, -3e8, 12]);
    // (1e8 − 1e8) + (2 + 4): in order, the 2 would be lost.
    expect(result[8]).toBe(6);
    expect([10, 13, 16, 19].map((at) => result[at])).toEqual([1e8, 2, -1e8, 4]);
    expect(result[9]).toBeNaN();
    expect(result[21]).toBe(1);
  });
});

describe('fused multiply-adds', () => {
  // (1 + 2⁻¹²)² = 1 + 2⁻¹¹ + 2⁻²⁴, whose last bit a product that is rounded loses.
  const factor = 1 + 2 ** -12;
  const rest = 2 ** -24;
  const rounded = 1 + 2 ** -11;
  /** Sums and differences of a product, each a separate vector. */
  const results = (body: (k: Recorder, product: Value, sum: Value) => Value[], fused: boolean): number[] => {
    const view = run(
      out,
      [64],
      (k, p) => {
        const a = k.load(p.out.plusBytes(-64));
        const sum = k.load(p.out.plusBytes(-48));
        body(k, a.mul(a), sum).forEach((value, i) => void k.store(p.out, value, 4 * i));
      },
      [...Array(4).fill(factor), ...Array(4).fill(-rounded)],
      fused,
    );
    return [0, 1, 2, 3].map((i) => view[16 + 4 * i]!);
  };

  test.each([
    [true, [rest, rest, -rest, 0]],
    [false, [0, 0, 0, 0]],
  ])('a product is fused into all its sums if requested: %s', (fused, expected) => {
    const values = results(
      (k, product, sum) => [sum.add(product), product.add(sum), k.vector(0).sub(sum).sub(product)],
      fused,
    );
    expect(values.map((value) => value + 0)).toEqual(expected);
  });

  test('numbers: a sum with a number is not fused, a product with a number is', () => {
    for (const fused of [true, false]) {
      const values = results((_, product, sum) => [product.add(1), product.sub(1), sum.mul(2).add(3)], fused);
      expect(values).toEqual([rounded + 1, rounded - 1, 3 - 2 * rounded, 0]);
    }
    expect(results((_, product, sum) => [product.mul(2).add(sum)], true)[0]).toBe(rounded);
  });

  test('a product whose sum is in a branch or a loop', () => {
    const values = results((k, product, sum) => {
      const inBranch = k.variable(k.vector(0));
      const inLoop = k.variable(k.vector(0));
      k.if(k.integer(1), () => inBranch.set(sum.add(product)));
      k.loop(k.integer(2), () => inLoop.set(inLoop.add(sum.add(product))));
      return [inBranch, inLoop];
    }, true);
    expect(values.slice(0, 2)).toEqual([rest, 2 * rest]);
  });

  test('a product with another use is rounded for all its uses', () => {
    expect(results((_, product, sum) => [sum.add(product), product], true)).toEqual([0, rounded, 0, 0]);
    expect(results((_, product, sum) => [sum.add(product), product.sub(sum)], true)).toEqual([
      0,
      2 * rounded,
      0,
      0,
    ]);
  });

  test('one of two products in a sum is fused, wherever they are', () => {
    const two = kernel('two', 'two products', out, (k, p) => {
      const [a, b] = [k.load(p.out), k.load(p.out, 4)];
      const [first, second] = [a.mul(a), b.mul(b)];
      k.store(p.out, first.add(second));
      k.store(p.out, second.add(first), 4);
      k.store(p.out, first.add(first), 8);
    });
    const names = formatWat(two.record(wasmTarget), true).match(/f32x4\.\w+/g);
    // The first is needed as it is by the first sum, so that the others take what is left.
    expect(names).toEqual(['f32x4.mul', 'f32x4.relaxed_madd', 'f32x4.relaxed_madd', 'f32x4.add']);
  });

  test('a product whose factor changes before the sum keeps the old one', () => {
    const values = results((k, _, sum) => {
      const changing = k.variable(k.vector(factor));
      const product = changing.mul(changing);
      changing.set(k.vector(3));
      return [sum.add(product)];
    }, true);
    expect(values[0]).toBe(0);
  });
});

describe('modules', () => {
  const sample: KernelDefinition = kernel(
    'double',
    'map[length] = 2 · map',
    { map: 'pointer', length: 'i32', step: 'offset' },
    (k, p) => {
      const two = k.vector(2);
      k.loop(p.length, (i) => {
        const place = p.map.plus(p.step.scale(i));
        k.store(place, k.load(place).mul(two));
      });
    },
  );

  test('the text of a kernel', () => {
    expect(formatWat(sample.record(wasmTarget), true)).toMatchInlineSnapshot(`
      ";; map[length] = 2 · map
      (global (;0;) (mut f32) (f32.const 2))
      (func $double (export "double")
        (param $map i32)
        (param $length i32)
        (param $step i32)
        (local v128 i32 i32 i32 i32 v128)
        global.get 0
        f32x4.splat
        local.set 3
        local.get $step
        i32.const 2
        i32.shl
        local.set $step
        local.get $length
        local.set 4
        i32.const 0
        local.set 5
        local.get 4
        i32.const 0
        i32.gt_s
        if
          loop
            local.get $step
            local.get 5
            i32.mul
            local.set 6
            local.get $map
            local.get 6
            i32.add
            local.set 7
            local.get 7
            v128.load
            local.set 8
            local.get 7
            local.get 8
            local.get 3
            f32x4.mul
            v128.store
            local.get 4
            local.get 5
            i32.const 1
            i32.add
            local.tee 5
            i32.gt_s
            br_if 0
          end
        end)
      "
    `);
  });

  test('infinities and NaN are printed by name', () => {
    const special = kernel('special', 'constants', out, (k, p) => {
      for (const [i, value] of [Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY, Number.NaN].entries()) {
        k.store(p.out, k.vector(value), 4 * i);
      }
    });
    const text = formatWat(special.record(wasmTarget), true);
    for (const name of ['-inf', 'inf', 'nan']) expect(text).toContain(`(mut f32) (f32.const ${name}))\n`);
  });

  test.each([false, true])('all kernels form a valid module, with shared memory: %s', (shared) => {
    const bytes = assembleModule(recordKernels(wasmTarget), { shared, fused: true });
    const memory = new webAssembly.Memory({ initial: 1, maximum: 65_536, shared });
    const { exports } = new webAssembly.Instance(new webAssembly.Module(bytes), { env: { memory } });
    expect(Object.keys(exports)).toEqual([...kernelNames]);
    const other = new webAssembly.Memory({ initial: 1, maximum: 65_536, shared: !shared });
    expect(() => new webAssembly.Instance(new webAssembly.Module(bytes), { env: { memory: other } })).toThrow(
      /shared/,
    );
    expect(assembleModule(recordKernels(wasmTarget), { shared, fused: true })).toEqual(bytes);
  });

  test('wider vectors are adjacent quads, and the last one is stored first', () => {
    const text = formatWat(sample.record(wasmPairsTarget), true);
    expect(text).toMatch(
      /local\.get (\d+)\n\s*v128\.load\n\s*local\.set \d+\n\s*local\.get \1\n\s*v128\.load offset=16\n/,
    );
    expect(text.match(/v128\.store.*/g)?.slice(0, 2)).toEqual(['v128.store offset=16', 'v128.store']);
  });

  test('an error names the operation that a type lacks', () => {
    const wrong = kernel('wrong', 'the root of a whole number', out, (k, p) => {
      k.store(p.out, k.integer(4).sqrt());
    });
    expect(() => formatWat(wrong.record(wasmTarget), true)).toThrow('wasm: no sqrt of i32 (kernel wrong');
  });

  test.each(kernelNames)('%s is printed with its name and parameters', (name) => {
    const text = formatWat(recordKernel(name, wasmTarget), true);
    const parameters = Object.entries(kernelParameters[name]).map(
      ([parameter, type]) => `  (param $${parameter} ${type === 'f32' ? 'f32' : 'i32'})\n`,
    );
    expect(text).toContain(`(func $${name} (export "${name}")\n${parameters.join('')}  (local`);
  });
});
