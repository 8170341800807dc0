import { expect, test } from 'vitest';
import { noNative, targetsHere } from '../../../../test/native.ts';
import { kernelParameters } from '../../../kernels/catalogue.ts';
import { type KernelSource, openLibrary } from './library.ts';
import { nativeKernels } from './native-node.ts';
import { plainWasmKernels } from './provider.ts';
import { type WasmMemory, webAssembly } from './webassembly.ts';

/** Fills 4 floats with 7, by a single call, and the next 4 with 8, by a bound one. */
async function fillAt(source: KernelSource, memory: WasmMemory, at: number): Promise<void> {
  const library = await openLibrary(source, memory);
  const named = (out: number, value: number): Record<string, number> => ({
    ...{ out, outRow: 4, rows: 1, length: 4 },
    value,
  });
  const values = (out: number, value: number): number[] =>
    Object.keys(kernelParameters.fill).map((name) => named(out, value)[name]!);
  library.call('fill', values(at, 7));
  library.bind([{ kernel: 'fill', arguments: values(at + 4, 8), operation: undefined }])();
  const floats = new Float32Array(memory.buffer, (at - 4) * 4, 12);
  expect([...floats]).toEqual([0, 0, 0, 0, 7, 7, 7, 7, 8, 8, 8, 8]);
}

test('WebAssembly kernels reach the last float of 4 GiB', async () => {
  const memory = new webAssembly.Memory({ initial: 65_536, maximum: 65_536, shared: false });
  await fillAt(await plainWasmKernels(false, () => {}), memory, 2 ** 30 - 8);
});

test.skipIf(noNative !== undefined)('native kernels reach floats beyond 4 GiB', async () => {
  // Pages that are never touched need no memory.
  const memory: WasmMemory = { buffer: new ArrayBuffer(5 * 2 ** 30), grow: () => 0 };
  await fillAt(await nativeKernels({ target: targetsHere.at(-1)! }), memory, 1.25 * 2 ** 30 - 8);
});
