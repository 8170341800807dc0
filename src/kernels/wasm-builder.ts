/**
 * Builds WebAssembly functions by hand, for kernels on whole numbers that the kernel language has no words for: the
 * resize and the decoding of JPEG. Parameters and locals are known by name; everything else is the stack machine's.
 */
import { type WasmMemory, webAssembly } from '../engine/cpu/kernels/webassembly.ts';
import { Code, encodeModule, lanes, type Mnemonic, type WasmFunction } from './wasm-assembler.ts';

export type Step = readonly [name: Mnemonic, first?: number, second?: number] | Mnemonic;

export class Builder {
  readonly #code = new Code();
  readonly #names: readonly string[];

  constructor(names: readonly string[]) {
    this.#names = names;
  }

  get code(): Code {
    return this.#code;
  }

  /** Pushes the values of locals. */
  get(...names: readonly string[]): this {
    for (const name of names) this.#code.add('local.get', this.#place(name));
    return this;
  }

  set(name: string): this {
    this.#code.add('local.set', this.#place(name));
    return this;
  }

  #place(name: string): number {
    const place = this.#names.indexOf(name);
    if (place === -1) throw new Error(`there is no local ${name}`);
    return place;
  }

  run(...steps: readonly Step[]): this {
    for (const step of steps) {
      if (typeof step === 'string') this.#code.add(step);
      else this.#code.add(...step);
    }
    return this;
  }

  /** Adds a local or a number to a local. */
  increase(name: string, by: string | number): this {
    this.get(name);
    if (typeof by === 'string') this.get(by);
    else this.run(['i32.const', by]);
    return this.run('i32.add').set(name);
  }

  /** Runs `body`, and again until `counter`, which is decreased, is 0. */
  repeat(counter: string, body: () => void): this {
    this.run('loop');
    body();
    return this.increase(counter, -1).get(counter).run(['br_if', 0], 'end');
  }

  /** Runs `body` if the number on the stack is not 0, `otherwise` if it is. */
  when(body: () => void, otherwise?: () => void): this {
    this.run('if');
    body();
    if (otherwise) {
      this.run('else');
      otherwise();
    }
    return this.run('end');
  }

  /** Takes two vectors from the stack: units of `bytes` of their low or high halves by turns. */
  interleave(bytes: 1 | 2 | 4 | 8, half: 'low' | 'high'): this {
    const from = half === 'low' ? 0 : 8;
    const list = Array.from({ length: 16 }, (_, i) => {
      const unit = Math.floor(i / bytes);
      return from + (unit >> 1) * bytes + (i % bytes) + (unit % 2) * 16;
    });
    return this.run(['i8x16.shuffle', ...lanes(list)]);
  }
}

/** A function whose parameters are i32. Vectors and integers of 64 bits are 0 until they are set. */
export function functionOf(
  name: string,
  summary: string,
  parameters: readonly string[],
  counters: readonly string[],
  vectors: readonly string[],
  build: (code: Builder) => void,
  longs: readonly string[] = [],
): WasmFunction {
  const code = new Builder([...parameters, ...counters, ...vectors, ...longs]);
  build(code);
  return {
    name,
    summary,
    parameters: parameters.map((parameter) => ({ name: parameter, type: 'i32' })),
    locals: [
      ...counters.map(() => 'i32' as const),
      ...vectors.map(() => 'v128' as const),
      ...longs.map(() => 'i64' as const),
    ],
    code: [code.code],
  };
}

export type Kernel = (...parameters: readonly number[]) => void;

const pageBytes = 65_536;
/** A vector may be read or written beyond the end. */
const slack = 16;

/** Functions and the memory they work on, which is given out from its start, 16 bytes apart, and grows. */
export interface Kernels<Name extends string> {
  readonly call: Readonly<Record<Name, Kernel>>;
  readonly memory: WasmMemory;
  /** The start of so many bytes. Views of the memory from before may be detached. */
  readonly place: (size: number) => number;
  /** Everything from `end` on is free again. */
  readonly free: (end: number) => void;
}

export function openKernels<Name extends string>(functions: readonly WasmFunction[]): Kernels<Name> {
  const bytes = encodeModule(functions, [], false);
  const memory = new webAssembly.Memory({ initial: 1, maximum: 65_536, shared: false });
  const { exports } = new webAssembly.Instance(new webAssembly.Module(bytes), { env: { memory } });
  let end = 0;
  return {
    call: exports as Record<Name, Kernel>,
    memory,
    place: (size) => {
      const at = end;
      end = Math.ceil((at + size + slack) / 16) * 16;
      const missing = end - memory.buffer.byteLength;
      if (missing > 0) memory.grow(Math.ceil(missing / pageBytes));
      return at;
    },
    free: (from) => {
      end = from;
    },
  };
}
