/**
 * A session's memory. WebAssembly's kernels need a memory of WebAssembly, with addresses of 32 bits; native kernels work
 * on any shared memory, up to 16 GiB, because they count addresses in floats.
 */
import { webAssembly } from './webassembly.ts';

export interface EngineMemory {
  readonly buffer: ArrayBuffer | SharedArrayBuffer;
}

/** Memory that can grow, by pages; only on the thread that created it. */
export interface GrowableMemory extends EngineMemory {
  /** What workers receive. */
  readonly shared: EngineMemory;
  readonly limitBytes: number;
  /** Grows to at least this size. @throws RangeError if the machine cannot provide it. */
  growTo(bytes: number): void;
}

const pageBytes = 65_536;
/** The limit of 32-bit addresses. */
export const wasmBytes: number = 2 ** 32;
/** The limit of addresses that count floats. */
export const nativeBytes: number = 2 ** 34;

export const limitOf = (kind: 'wasm' | 'native', shared: boolean): number =>
  kind === 'native' && shared ? nativeBytes : wasmBytes;

const pagesOf = (bytes: number): number => Math.ceil(bytes / pageBytes);

/** Bytes that a session's memory takes: whole pages. */
export const wholePages = (bytes: number): number => pagesOf(bytes) * pageBytes;

/** Creates memory. @throws RangeError if the machine cannot provide it. */
export function createMemory(kind: 'wasm' | 'native', shared: boolean, bytes: number): GrowableMemory {
  // Memory that is not shared moves when it grows, which WebAssembly's memory hides.
  if (kind === 'wasm' || !shared) {
    const memory = new webAssembly.Memory({
      initial: pagesOf(bytes),
      maximum: wasmBytes / pageBytes,
      shared,
    });
    return {
      get buffer() {
        return memory.buffer;
      },
      shared: memory,
      limitBytes: wasmBytes,
      growTo(size) {
        const missing = pagesOf(size) - memory.buffer.byteLength / pageBytes;
        if (missing > 0) memory.grow(missing);
      },
    };
  }
  const buffer = new SharedArrayBuffer(wholePages(bytes), { maxByteLength: nativeBytes });
  return {
    buffer,
    shared: { buffer },
    limitBytes: nativeBytes,
    growTo(size) {
      if (size > buffer.byteLength) buffer.grow(wholePages(size));
    },
  };
}
