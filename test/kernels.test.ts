/** Every kernel against plain float64 loops (`src/kernels/checks/`), through each printer and at each width of vector. */
import { describe, expect, test } from 'vitest';
import { type KernelLibrary, openModule } from '../src/engine/cpu/library.ts';
import { openNative } from '../src/engine/cpu/native-library-node.ts';
import { nativeKernels } from '../src/engine/cpu/native-node.ts';
import { revectorizedModule } from '../src/engine/cpu/revectorize-node.ts';
import { checkMemory } from '../src/engine/cpu/self-test.ts';
import { type WasmMemory, webAssembly } from '../src/engine/cpu/webassembly.ts';
import {
  kernelNames,
  kernelParameters,
  nativeTargets,
  recordKernels,
  wasmPairsTarget,
  wasmTarget,
} from '../src/kernels/catalogue.ts';
import { kernelChecks } from '../src/kernels/checks/all.ts';
import { runCheck, viewsOf } from '../src/kernels/checks/check.ts';
import { assembleModule } from '../src/kernels/wasm.ts';
import { targetsHere } from './native.ts';

interface Printed {
  readonly name: string;
  readonly lanes: number;
  open(memory: WasmMemory): Promise<KernelLibrary>;
}

const revectorized = revectorizedModule(false);
const printed: readonly Printed[] = [
  ...[wasmTarget, wasmPairsTarget].map((target) => ({
    name: `wasm, ${target.widths[0]!.lanes} lanes`,
    lanes: target.widths[0]!.lanes,
    open: async (memory: WasmMemory) =>
      openModule(new webAssembly.Module(assembleModule(recordKernels(target), false)), memory),
  })),
  ...('module' in revectorized
    ? [
        {
          name: 'wasm, revectorised',
          lanes: 8,
          open: async (memory: WasmMemory) => openModule(revectorized.module, memory),
        },
      ]
    : []),
  ...targetsHere.map((target) => ({
    name: `native, ${target}`,
    lanes: nativeTargets[target].widths[0]!.lanes,
    async open(memory: WasmMemory) {
      const source = await nativeKernels({ target });
      if (source.kind !== 'native') throw new TypeError('not native');
      return openNative(source.file, memory);
    },
  })),
];

describe.each(printed)('$name', ({ lanes, open }) => {
  const memory = checkMemory(false);
  const library = open(memory);

  test.each(kernelNames)('%s', async (name) => {
    const kernels = await library;
    const complaints: string[] = [];
    for (const check of kernelChecks[name]) {
      const run = (values: readonly number[]): void => kernels.call(name, values);
      const { complaint } = runCheck(check, kernelParameters[name], viewsOf(memory.buffer), lanes, run);
      if (complaint !== undefined) complaints.push(complaint);
    }
    expect(complaints).toEqual([]);
  });
});

test.skipIf('module' in revectorized)('wasm, revectorised', () => {});
test.skipIf(targetsHere.length > 0)('native', () => {});
