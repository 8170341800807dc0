/** Chooses a session's kernels: native ones if there is a compiler, otherwise the fastest WebAssembly that V8 offers. */
import { MachineError, VggError } from '../../../errors.ts';
import { recordKernels, wasmTarget } from '../../../kernels/catalogue.ts';
import { assembleModule } from '../../../kernels/wasm.ts';
import { inNode } from '../../../platform.ts';
import { type KernelSource, vectorsOf } from './library.ts';
import { hasFusedMultiplyAdds, webAssembly } from './webassembly.ts';

/** Finds kernels for shared or unshared memory. `notice` receives lines for the user; `signal` cancels. */
export type KernelProvider = (
  shared: boolean,
  notice: (line: string) => void,
  signal?: AbortSignal,
) => Promise<KernelSource>;

const plainModules = new Map<boolean, KernelSource>();

/** WebAssembly for every engine. */
export const plainWasmKernels: KernelProvider = async (shared) => {
  let source = plainModules.get(shared);
  if (!source) {
    const fused = hasFusedMultiplyAdds();
    const module = new webAssembly.Module(assembleModule(recordKernels(wasmTarget), { shared, fused }));
    source = { kind: 'wasm', variant: fused ? '' : 'unfused', ...vectorsOf(wasmTarget), module };
    plainModules.set(shared, source);
  }
  return source;
};

/** WebAssembly, revectorized if V8 and the processor support it and a self-test passes. */
export const wasmKernels: KernelProvider = async (shared, notice) => {
  if (inNode()) {
    const { revectorizedKernels } = await import('./revectorize-node.ts');
    const result = await revectorizedKernels(shared, notice);
    if ('source' in result) return result.source;
    if (result.failed) notice(`WebAssembly is not revectorized: ${result.reason}`);
  }
  return plainWasmKernels(shared, notice);
};

/** Native kernels. @throws VggError with the reason if they are not available. */
export const nativeKernels: KernelProvider = async (_, notice, signal) => {
  if (!inNode()) throw new VggError("native kernels need Node; use device 'wasm' in a browser");
  const native = await import('./native-node.ts');
  try {
    return await native.nativeKernels({ onNotice: notice, signal });
  } catch (error) {
    if (signal?.aborted || !(error instanceof VggError)) throw error;
    throw new MachineError(`--device native: ${error.message}; --device wasm needs no compiler`);
  }
};

/** Native kernels if available, otherwise WebAssembly. */
export const anyKernels: KernelProvider = async (shared, notice, signal) => {
  if (inNode() && process.env.VGGNET_CC?.trim() !== '') {
    const native = await import('./native-node.ts');
    try {
      return await native.nativeKernels({ onNotice: notice, signal });
    } catch (error) {
      if (signal?.aborted || !(error instanceof VggError)) throw error;
      notice(`native kernels are not available, using WebAssembly: ${error.message}`);
    }
  }
  return wasmKernels(shared, notice);
};
