/** Writes WebAssembly functions by hand, for the few that work with whole numbers and so are no kernels of the language. */
import { Code, type Mnemonic, type WasmFunction } from './wasm-assembler.ts';

export type Step = readonly [name: Mnemonic, first?: number, second?: number] | Mnemonic;

/** Builds a function's code: parameters and locals are known by name. */
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
    for (const name of names) this.#code.add('local.get', this.#names.indexOf(name));
    return this;
  }

  set(name: string): this {
    this.#code.add('local.set', this.#names.indexOf(name));
    return this;
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
}

/** A function whose parameters and counters are i32 and whose other locals are vectors. */
export const functionOf = (
  name: string,
  summary: string,
  parameters: readonly string[],
  counters: readonly string[],
  vectors: readonly string[],
  build: (code: Builder) => void,
): WasmFunction => {
  const code = new Builder([...parameters, ...counters, ...vectors]);
  build(code);
  return {
    name,
    summary,
    parameters: parameters.map((parameter) => ({ name: parameter, type: 'i32' })),
    locals: [...counters.map(() => 'i32' as const), ...vectors.map(() => 'v128' as const)],
    code: [code.code],
  };
};
