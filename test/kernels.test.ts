/** Every kernel against plain float64 loops (`src/kernels/checks/`), with each printer and vector width. */
import { describe, expect, test } from 'vitest';
import { type KernelSource, openLibrary, vectorsOf } from '../src/engine/cpu/kernels/library.ts';
import { nativeKernels } from '../src/engine/cpu/kernels/native-node.ts';
import { plainWasmKernels } from '../src/engine/cpu/kernels/provider.ts';
import { revectorizedKernels } from '../src/engine/cpu/kernels/revectorize-node.ts';
import { checkMemory } from '../src/engine/cpu/kernels/self-test.ts';
import { webAssembly } from '../src/engine/cpu/kernels/webassembly.ts';
import {
  kernelNames,
  kernelParameters,
  recordKernels,
  wasmPairsTarget,
  wasmTarget,
} from '../src/kernels/catalogue.ts';
import { checksOf } from '../src/kernels/checks/all.ts';
import { runCheck, viewsOf } from '../src/kernels/checks/check.ts';
import { assembleModule } from '../src/kernels/wasm.ts';
import { noNative, targetsHere } from './native.ts';

const options = { shared: false, fused: true };
const pairs = new webAssembly.Module(assembleModule(recordKernels(wasmPairsTarget), options));
const unfused = new webAssembly.Module(
  assembleModule(recordKernels(wasmTarget), { ...options, fused: false }),
);
const revectorized = await revectorizedKernels(false);
const sources: readonly (readonly [name: string, source: () => Promise<KernelSource>])[] = [
  ['wasm', () => plainWasmKernels(false, () => {})],
  [
    'wasm, unfused',
    async () => ({ kind: 'wasm', variant: 'unfused', ...vectorsOf(wasmTarget), module: unfused }),
  ],
  [
    'wasm, in pairs',
    async () => ({ kind: 'wasm', variant: 'pairs', ...vectorsOf(wasmPairsTarget), module: pairs }),
  ],
  ...('source' in revectorized ? [['wasm, revectorized', async () => revectorized.source] as const] : []),
  ...targetsHere.map((target) => [`native, ${target}`, () => nativeKernels({ target })] as const),
];

describe.each(sources)('%s', (_name, find) => {
  const memory = checkMemory(false);
  const opened = find().then(async (source) => ({ ...source, library: await openLibrary(source, memory) }));

  test.each(kernelNames)('%s', async (name) => {
    const { lanes, library } = await opened;
    const complaints: string[] = [];
    for (const check of checksOf(name, lanes)) {
      const run = (values: readonly number[]): void => library.call(name, values);
      const { complaint } = runCheck(check, kernelParameters[name], viewsOf(memory.buffer), lanes, run);
      if (complaint !== undefined) complaints.push(complaint);
    }
    expect(complaints).toEqual([]);
  });
});

// A kind that is not available here is a skipped test with the reason; a failure of our code fails.
if ('reason' in revectorized) {
  test.skipIf(!revectorized.failed)(`wasm, revectorized: ${revectorized.reason}`, () => {
    expect.fail(revectorized.reason);
  });
}
if (noNative !== undefined) test.skip(`native: ${noNative}`, () => expect.fail(noNative));
