/**
 * Kernels against plain loops, at sizes with a remainder in every direction, through the printed module itself. The
 * larger ones (Winograd, sparse gradients, pools) are tested through the layers they make up: `test/conformance`.
 */
import { describe, expect, test } from 'vitest';
import { webAssembly } from '../engine/cpu/webassembly.ts';
import { type KernelName, kernelNames, kernelParameters, recordKernel, wasmTarget } from './catalogue.ts';
import { adamSettings } from './optimizer.ts';
import { assembleModule, formatWat } from './wasm.ts';

const memory = new webAssembly.Memory({ initial: 4, maximum: 4, shared: false });
const floats = new Float32Array(memory.buffer);

/** Runs one kernel. Arguments by name; pointers are counted in floats here. */
function run(name: KernelName, named: Readonly<Record<string, number>>): void {
  const module = new webAssembly.Module(assembleModule([recordKernel(name, wasmTarget)], false));
  const { exports } = new webAssembly.Instance(module, { env: { memory } });
  const parameters = Object.entries(kernelParameters[name]);
  expect(Object.keys(named).sort()).toEqual(parameters.map(([key]) => key).sort());
  const values = parameters.map(([key, type]) => (type === 'pointer' ? 4 * named[key]! : named[key]!));
  (exports[name] as (...values: number[]) => void)(...values);
}

/** Repeatable values around 0, written at `at`. */
function put(at: number, count: number): number[] {
  const values = Array.from({ length: count }, (_, i) => Math.fround(Math.sin(at + 7.3 * i)));
  floats.set(values, at);
  return values;
}

const read = (at: number, count: number): number[] => [...floats.subarray(at, at + count)];

test('relu works on each row and leaves what lies between the rows', () => {
  const map = put(100, 3 * 10);
  const before = put(200, 3 * 12);
  run('relu', { out: 200, outRow: 12, map: 100, mapRow: 10, rows: 3, length: 8, floor: 0 });
  const expected = before.map((value, i) => {
    const [row, column] = [Math.floor(i / 12), i % 12];
    return column < 8 ? Math.max(0, map[row * 10 + column]!) : value;
  });
  expect(read(200, 36)).toEqual(expected);
});

describe('matrix products', () => {
  // Rows and columns that are no multiple of the register tile of 4 × 8; strides with a gap.
  const [rows, columns, depth] = [7, 20, 12];
  const [left, right, out, outStride] = [100, 600, 1200, 23];
  for (const name of ['gemmNN', 'gemmTN', 'gemmNT'] as const) {
    test.for([0, 1])(`${name}, accumulate %i`, (accumulate) => {
      const transposeLeft = name === 'gemmTN';
      const transposeRight = name === 'gemmNT';
      const leftStride = (transposeLeft ? rows : depth) + 1;
      const rightStride = (transposeRight ? depth : columns) + 4;
      const a = put(left, (transposeLeft ? depth : rows) * leftStride);
      const b = put(right, (transposeRight ? columns : depth) * rightStride);
      const before = put(out, rows * outStride);
      const planes = { planes: 1, leftPlane: 0, rightPlane: 0, outPlane: 0 };
      const strides = { leftStride, rightStride, outStride };
      run(name, { left, right, out, rows, columns, depth, accumulate, ...planes, ...strides });
      for (let i = 0; i < rows; i++) {
        for (let j = 0; j < outStride; j++) {
          let sum = j < columns && accumulate === 0 ? 0 : before[i * outStride + j]!;
          for (let d = 0; j < columns && d < depth; d++) {
            const x = a[transposeLeft ? d * leftStride + i : i * leftStride + d]!;
            const y = b[transposeRight ? j * rightStride + d : d * rightStride + j]!;
            sum += x * y;
          }
          expect(floats[out + i * outStride + j]).toBeCloseTo(sum, 5);
        }
      }
    });
  }
});

test("reduceSlots adds the slots in their order, to the bit of float32's sum", () => {
  const slots = [100, 140, 180].map((at) => put(at, 16));
  run('reduceSlots', { gradient: 300, slots: 100, slotStride: 40, slotCount: 3, length: 16 });
  const [a, b, c] = slots as [number[], number[], number[]];
  expect(read(300, 16)).toEqual(a.map((value, i) => Math.fround(Math.fround(value + b[i]!) + c[i]!)));
});

test("adam takes Adam's step", () => {
  const [parameters, gradient] = [put(100, 8), put(140, 8)];
  const [first, second] = [put(180, 8), put(220, 8).map(Math.abs)];
  floats.set(second, 220);
  const [lr, beta1, beta2, epsilon, step] = [0.001, 0.9, 0.999, 1e-8, 3];
  const settings: Record<(typeof adamSettings)[number], number> = {
    stepSize: lr / (1 - beta1 ** step),
    beta1,
    oneMinusBeta1: 1 - beta1,
    beta2,
    oneMinusBeta2: 1 - beta2,
    rootCorrection2: Math.sqrt(1 - beta2 ** step),
    epsilon,
  };
  floats.set(
    adamSettings.map((name) => settings[name]),
    300,
  );
  run('adam', {
    parameters: 100,
    gradient: 140,
    firstMoment: 180,
    secondMoment: 220,
    length: 8,
    settings: 300,
  });
  for (let i = 0; i < 8; i++) {
    const m = beta1 * first[i]! + (1 - beta1) * gradient[i]!;
    const v = beta2 * second[i]! + (1 - beta2) * gradient[i]! ** 2;
    const denominator = Math.sqrt(v) / settings.rootCorrection2 + epsilon;
    expect(floats[180 + i]).toBeCloseTo(m, 6);
    expect(floats[220 + i]).toBeCloseTo(v, 6);
    expect(floats[100 + i]).toBeCloseTo(parameters[i]! - (settings.stepSize * m) / denominator, 6);
  }
});

test.for(kernelNames)('%s is printed as text with its parameters', (name) => {
  const text = formatWat(recordKernel(name, wasmTarget));
  expect(text).toContain(`(func $${name} (export "${name}")`);
  const wasmTypes = Object.values(kernelParameters[name]).map((type) => (type === 'f32' ? 'f32' : 'i32'));
  expect(text).toContain(`(param ${wasmTypes.join(' ')})`);
});
