/** Kernels of a compiled library, called through koffi; `native-node.ts` compiles the library. Node only. */
import { VggError } from '../../../errors.ts';
import { type KernelName, kernelNames, kernelParameters } from '../../../kernels/catalogue.ts';
import { loadKoffi } from '../../../koffi-node.ts';
import type { Call } from '../plan/code.ts';
import type { KernelLibrary } from './library.ts';
import type { EngineMemory } from './memory.ts';

const kernelNumbers = new Map(kernelNames.map((name, number) => [name, number]));
const floatPlaces = new Map(
  kernelNames.map((name) => [name, Object.values(kernelParameters[name]).map((type) => type === 'f32')]),
);

/** Encodes a call for `vggnet_run`; returns the index after it. */
function encode(
  words: Int32Array,
  floats: Float32Array,
  at: number,
  kernel: KernelName,
  values: readonly number[],
): number {
  words[at++] = kernelNumbers.get(kernel)!;
  const isFloat = floatPlaces.get(kernel)!;
  for (let i = 0; i < values.length; i++, at++) {
    if (isFloat[i]) floats[at] = values[i]!;
    else words[at] = values[i]!;
  }
  return at;
}

/** Opens a compiled library. koffi is resolved from `url`. @throws VggError if it cannot be loaded. */
export function openNative(file: string, memory: EngineMemory, url?: string): KernelLibrary {
  const koffi = loadKoffi(url);
  let run: (...values: unknown[]) => void;
  try {
    run = koffi.load(file).func('void vggnet_run(void *memory, void *program, int32_t calls)');
  } catch (error) {
    throw new VggError(`cannot load ${file}: ${(error as Error).message}`);
  }
  let { buffer } = memory;
  let bytes = new Uint8Array(buffer);
  /** The whole memory, which may have grown. */
  const base = (): Uint8Array => {
    if (memory.buffer !== buffer) {
      buffer = memory.buffer;
      bytes = new Uint8Array(buffer);
    }
    return bytes;
  };
  const single = new Int32Array(64);
  const singleFloats = new Float32Array(single.buffer);
  return {
    bind(calls: readonly Call[]) {
      const program = new Int32Array(calls.reduce((sum, call) => sum + 1 + call.arguments.length, 0));
      const floats = new Float32Array(program.buffer);
      let at = 0;
      for (const { kernel, arguments: values } of calls) at = encode(program, floats, at, kernel, values);
      return () => run(base(), program, calls.length);
    },
    call(kernel, values) {
      encode(single, singleFloats, 0, kernel, values);
      run(base(), single, 1);
    },
  };
}
