/**
 * Runs kernel calls: a WebAssembly module or a native library, bound to one memory. Both have the same kernels with the
 * same arguments; a session chooses one when it opens.
 */
import { type KernelName, kernelNames, kernelParameters } from '../../../kernels/catalogue.ts';
import { panelColumnsFor } from '../../../kernels/gemm.ts';
import type { Target, TileSize } from '../../../kernels/language.ts';
import type { Call } from '../plan/code.ts';
import type { EngineMemory } from './memory.ts';
import { type WasmMemory, type WasmModule, webAssembly } from './webassembly.ts';

/** The source of kernels; it can be sent to workers. */
export type KernelSource = KernelVectors &
  (
    | {
        readonly kind: 'wasm';
        /** `revectorized`, `''` for 128-bit vectors, or `unfused` for 128-bit vectors without fused multiply-adds. */
        readonly variant: string;
        readonly module: WasmModule;
      }
    | {
        readonly kind: 'native';
        /** Its vectors: for instance `AVX-512`. */
        readonly variant: string;
        /** The shared library, in the cache. */
        readonly file: string;
        /** The path to load: the open file whose content was checked, if the system supports that. */
        readonly path: string;
        /** URL from which koffi is resolved. */
        readonly program: string;
      }
  );

interface KernelVectors {
  /** Floats of the widest vectors. */
  readonly lanes: number;
  /** Register tiles of its matrix products, in such vectors. */
  readonly tiles: readonly TileSize[];
}

/** The vectors and tiles of a target's kernels. */
export const vectorsOf = ({ widths: [widest] }: Target): KernelVectors => ({
  lanes: widest!.lanes,
  tiles: widest!.tiles,
});

/** Columns of a panel of weights, in which its matrix products read them. */
export const panelColumnsOf = ({ lanes, tiles: [widest] }: KernelVectors): number =>
  panelColumnsFor(lanes, widest!);

/** In words: `wasm`, `wasm (revectorized)`, `native (AVX-512)`. */
export const describeKernels = ({ kind, variant }: KernelSource): string =>
  variant === '' ? kind : `${kind} (${variant})`;

export interface KernelLibrary {
  /** Prepares calls; the returned function runs them in order. */
  bind(calls: readonly Call[]): () => void;
  /** Runs one call; pointers and offsets count floats. */
  call(kernel: KernelName, values: readonly number[]): void;
}

/** Binds kernels to a memory. */
export async function openLibrary(source: KernelSource, memory: EngineMemory): Promise<KernelLibrary> {
  if (source.kind === 'native')
    return (await import('./native-library-node.ts')).openNative(source.path, memory, source.program);
  return openModule(source.module, memory as WasmMemory);
}

/** A kernel ignores arguments beyond its parameters. */
type WasmKernel = (...values: readonly (number | undefined)[]) => void;

/** Of a kernel; see `prepare`. */
export const mostArguments = 24;

const pointerPlaces = new Map(
  kernelNames.map((name) => [name, Object.values(kernelParameters[name]).map((type) => type === 'pointer')]),
);

/** A call's arguments as the module takes them: pointers in bytes, modulo 2³². */
function inBytes(kernel: KernelName, values: readonly number[]): number[] {
  const isPointer = pointerPlaces.get(kernel)!;
  // V8 passes a word with a sign as it is, and a number of 2³¹ or more as an object.
  return values.map((value, i) => (isPointer[i] ? (value * 4) | 0 : value));
}

/**
 * Prepares a call. The arguments are written out: V8 takes 130 ns to spread a list, four times as long as reading it, and
 * a step makes more than a thousand calls.
 */
function prepare(run: WasmKernel, values: readonly number[]): () => void {
  if (values.length > mostArguments) throw new RangeError(`a kernel with ${values.length} arguments`);
  const a = [...values, ...new Array<number>(mostArguments - values.length).fill(0)];
  // biome-ignore format: a list
  return () => run(
    a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], a[8], a[9], a[10], a[11],
    a[12], a[13], a[14], a[15], a[16], a[17], a[18], a[19], a[20], a[21], a[22], a[23],
  );
}

/** Kernels of a WebAssembly module. */
export function openModule(module: WasmModule, memory: WasmMemory): KernelLibrary {
  const { exports } = new webAssembly.Instance(module, { env: { memory } });
  const kernels = exports as Readonly<Record<KernelName, WasmKernel>>;
  return {
    bind(calls) {
      const bound = calls.map(({ kernel, arguments: values }) =>
        prepare(kernels[kernel], inBytes(kernel, values)),
      );
      return () => {
        for (const call of bound) call();
      };
    },
    call: (kernel, values) => kernels[kernel](...inBytes(kernel, values)),
  };
}
