/**
 * WebAssembly with 256-bit vectors. V8 has an experimental pass that pairs adjacent 128-bit operations
 * (`--experimental-wasm-revectorize`); kernels are printed in pairs for it. Since it is experimental, its code must give
 * the same bits as V8's plain code for the same module, kernel by kernel, before it is used.
 */
import { setFlagsFromString } from 'node:v8';
import { Script } from 'node:vm';
import { recordKernels, wasmPairsTarget } from '../../../kernels/catalogue.ts';
import { assembleModule } from '../../../kernels/wasm.ts';
import { processorFeatures } from '../run/processor-node.ts';
import { type KernelSource, openModule, vectorsOf } from './library.ts';
import { checkMemory, testAgainstEachOther } from './self-test.ts';
import { hasFusedMultiplyAdds, webAssembly } from './webassembly.ts';

export type Revectorized =
  | { readonly source: KernelSource }
  /** Why plain WebAssembly is used instead; `failed` if that is unexpected. */
  | { readonly reason: string; readonly failed: boolean };

/** The environment variable that turns it off. */
export const revectorizeVariable = 'VGGNET_REVECTORIZE';

const kept = new Map<boolean, Revectorized>();

/** All kernels, for shared or unshared memory. Compiled and tested once per process. */
export function revectorizedKernels(shared: boolean): Revectorized {
  let result = kept.get(shared);
  if (!result) {
    result = make(shared);
    kept.set(shared, result);
  }
  return result;
}

function make(shared: boolean): Revectorized {
  if (/^(0|off|false|no)$/i.test(process.env[revectorizeVariable] ?? '')) {
    return { reason: `turned off by ${revectorizeVariable}`, failed: false };
  }
  if (process.arch !== 'x64') {
    return { reason: `V8 revectorizes only on x64, not on ${process.arch}`, failed: false };
  }
  if (!processorFeatures().has('avx2')) {
    return { reason: 'the system reports no AVX2 on this processor', failed: false };
  }
  const bytes = assembleModule(recordKernels(wasmPairsTarget), {
    shared,
    fused: hasFusedMultiplyAdds(),
  });
  const plain = new webAssembly.Module(bytes);
  // V8 caches compiled code by a module's bytes; an extra custom section makes them different.
  const marked = new Uint8Array(bytes.length + 4);
  marked.set(bytes);
  marked.set([0, 2, 1, 'r'.charCodeAt(0)], bytes.length);
  const module = new webAssembly.Module(marked);
  const memories = [checkMemory(shared), checkMemory(shared)] as const;
  const kernels = new webAssembly.Instance(module, { env: { memory: memories[1] } }).exports;
  setFlagsFromString('--experimental-wasm-revectorize');
  setFlagsFromString('--allow-natives-syntax');
  try {
    // Skip the baseline compiler, which does not pair operations.
    const optimize = new Script('(kernel) => %WasmTierUpFunction(kernel)').runInThisContext();
    for (const kernel of Object.values(kernels)) optimize(kernel);
  } catch (error) {
    return { reason: `V8 cannot optimize the kernels: ${(error as Error).message}`, failed: true };
  } finally {
    setFlagsFromString('--no-allow-natives-syntax');
    setFlagsFromString('--no-experimental-wasm-revectorize');
  }
  const complaint = testAgainstEachOther(
    [openModule(plain, memories[0]), memories[0]],
    [openModule(module, memories[1]), memories[1]],
  );
  return complaint === undefined
    ? { source: { kind: 'wasm', variant: 'revectorized', ...vectorsOf(wasmPairsTarget), module } }
    : { reason: `its self-test failed: ${complaint}`, failed: true };
}
