/**
 * Kernels against plain loops in float64. A kernel runs on a small memory full of random values; the plain version works
 * on a copy of all of it in float64, and then the two memories are compared place by place: what the plain version
 * changed must agree within rounding, and all else must be untouched to the bit.
 */
import { expect, test } from 'vitest';
import { random } from '../src/data/random.ts';
import { webAssembly } from '../src/engine/cpu/webassembly.ts';
import { type KernelName, kernelParameters, recordKernels, wasmTarget } from '../src/kernels/catalogue.ts';
import { assembleModule } from '../src/kernels/wasm.ts';

/** By name; pointers are counted in floats here. */
export type Arguments = Readonly<Record<string, number>>;

/** Views of one memory. */
export interface Views {
  readonly floats: Float32Array;
  readonly words: Int32Array;
  readonly bytes: Uint8Array;
}

export interface KernelCheck {
  /** In the title beside the kernel's name. */
  readonly title?: string;
  readonly arguments: Arguments;
  /** What the kernel should do, on all of memory. `before` is the memory as the kernel finds it. */
  readonly plain: (memory: Float64Array, a: Arguments, before: Views) => void;
  /** Puts more than random values where they are needed. */
  readonly prepare?: (views: Views, a: Arguments) => void;
  /** Ranges of working memory, [from, to), whose content is no part of the result. */
  readonly ignored?: readonly (readonly [from: number, to: number])[];
  /** What else must hold afterwards. */
  readonly inspect?: (views: Views, a: Arguments, before: Views) => void;
}

const pages = 3;
const memory = new webAssembly.Memory({ initial: pages, maximum: pages, shared: false });
const module = new webAssembly.Module(assembleModule(recordKernels(wasmTarget), false));
const { exports } = new webAssembly.Instance(module, { env: { memory } });

const viewsOf = (buffer: ArrayBuffer): Views => ({
  floats: new Float32Array(buffer),
  words: new Int32Array(buffer),
  bytes: new Uint8Array(buffer),
});
const views = viewsOf(memory.buffer as ArrayBuffer);
const source = random(1, 1200);
const noise = Float32Array.from(views.floats, () => 2 * source.uniform() - 1);

/** Largest difference over the largest value that the kernel should write. */
const tolerance = 2e-6;

function callKernel(name: KernelName, named: Arguments): void {
  const parameters = Object.entries(kernelParameters[name]);
  expect(Object.keys(named).sort(), `arguments of ${name}`).toEqual(parameters.map(([key]) => key).sort());
  const values = parameters.map(([key, type]) => (type === 'pointer' ? 4 * named[key]! : named[key]!));
  (exports[name] as (...values: number[]) => void)(...values);
}

/** Declares a test for each check. Every kernel of the catalogue needs one (`catalogue.test.ts` looks for this call). */
export function checkKernel(name: KernelName, checks: readonly KernelCheck[]): void {
  for (const { title, arguments: named, plain, prepare, ignored = [], inspect } of checks) {
    test(title === undefined ? name : `${name}: ${title}`, () => {
      views.floats.set(noise);
      prepare?.(views, named);
      const before = viewsOf((memory.buffer as ArrayBuffer).slice(0));
      const expected = Float64Array.from(before.floats);
      plain(expected, named, before);
      callKernel(name, named);
      let written = 0;
      let scale = 1e-3;
      expected.forEach((value, at) => {
        if (Object.is(value, before.floats[at])) return;
        written++;
        if (Number.isFinite(value)) scale = Math.max(scale, Math.abs(value));
      });
      expect(written, 'places that the plain version writes').toBeGreaterThan(0);
      for (let at = 0; at < expected.length; at++) {
        const value = expected[at]!;
        const found = views.floats[at]!;
        if (Object.is(value, found) || ignored.some(([from, to]) => at >= from && at < to)) continue;
        const touched = value !== before.floats[at];
        // A difference of NaN is no agreement either.
        if (!(touched && Math.abs(found - value) <= tolerance * scale)) {
          expect.fail(`place ${at}: ${found} instead of ${value}${touched ? '' : ', which was to stay'}`);
        }
      }
      inspect?.(views, named, before);
    });
  }
}

/** All combinations of the values given for each name. */
export function combinations<K extends string>(
  choices: Readonly<Record<K, readonly number[]>>,
): Record<K, number>[] {
  let rows = [{} as Record<K, number>];
  for (const [name, values] of Object.entries(choices) as [K, readonly number[]][]) {
    rows = rows.flatMap((row) => values.map((value) => ({ ...row, [name]: value })));
  }
  return rows;
}

/** A combination in words. */
export const inWords = (named: Arguments): string =>
  Object.entries(named)
    .map(([name, value]) => `${name} ${value}`)
    .join(', ');
