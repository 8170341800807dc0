/** Which kernels a session uses: native ones where there is a compiler, otherwise WebAssembly, as fast as V8 makes it. */
import { VggError } from '../../errors.ts';
import { recordKernels, wasmTarget } from '../../kernels/catalogue.ts';
import { assembleModule } from '../../kernels/wasm.ts';
import { type KernelSource, vectorsOf } from './library.ts';
import { inNode } from './threads.ts';
import { hasFusedMultiplyAdds, webAssembly } from './webassembly.ts';

/** Finds kernels for memory that is shared or not; tells `notice` what a user should know, and gives up at `signal`. */
export type KernelProvider = (
  shared: boolean,
  notice: (line: string) => void,
  signal?: AbortSignal,
) => Promise<KernelSource>;

const plainModules = new Map<boolean, KernelSource>();

/** WebAssembly as every engine runs it. */
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

/** WebAssembly, revectorized where V8 and the processor can and a self-test agrees. */
export const wasmKernels: KernelProvider = async (shared, notice) => {
  if (inNode()) {
    const { revectorizedKernels } = await import('./revectorize-node.ts');
    const result = revectorizedKernels(shared);
    if ('source' in result) return result.source;
    if (result.failed) notice(`WebAssembly is not revectorized: ${result.reason}`);
  }
  return plainWasmKernels(shared, notice);
};

/** Native kernels. @throws VggError where there can be none, with the reason. */
export const nativeKernels: KernelProvider = async (_, notice, signal) => {
  if (!inNode()) throw new VggError('native kernels need Node; a browser runs WebAssembly');
  const native = await import('./native-node.ts');
  try {
    return await native.nativeKernels({ onNotice: notice, signal });
  } catch (error) {
    if (signal?.aborted || !(error instanceof VggError)) throw error;
    throw new VggError(`--device native: ${error.message}; --device wasm needs nothing`);
  }
};

/** Native kernels where they can be had, otherwise WebAssembly. */
export const anyKernels: KernelProvider = async (shared, notice, signal) => {
  if (inNode() && process.env.VGGNET_CC?.trim() !== '') {
    const native = await import('./native-node.ts');
    try {
      return await native.nativeKernels({ onNotice: notice, signal });
    } catch (error) {
      if (signal?.aborted || !(error instanceof VggError)) throw error;
      notice(`no native kernels, so WebAssembly runs: ${error.message}`);
    }
  }
  return wasmKernels(shared, notice);
};
