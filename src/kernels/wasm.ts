/**
 * Prints kernels as WebAssembly with 128-bit SIMD and, optionally, the fused multiply-adds of relaxed SIMD:
 * `assembleModule` returns the bytes of a module, `formatWat` the same instructions as text. A module imports one memory
 * (`env.memory`) and exports each kernel by name; pointers arrive in bytes; offsets arrive in floats and are converted
 * to bytes on entry.
 *
 * A vector of more than four lanes is printed as adjacent quads, each operation once per quad: the form in which V8's
 * `--experimental-wasm-revectorize` finds pairs for 256-bit instructions. The last quad of a vector is stored first:
 * otherwise V8 stores the first quad twice, in case the second store traps.
 *
 * A value that is used once, in the block that defines it, and whose operands never change is printed at its use, which
 * gives nested expressions and few locals; all other values get a local.
 */
import { fuseMultiplyAdds } from './fuse.ts';
import type { Kernel, LoadForm, Operator, StatementOf, Type, Value } from './language.ts';
import { type Effect, type Print, Printer } from './printer.ts';
import {
  Code,
  encodeModule,
  formatFunction,
  type Mnemonic,
  type WasmFunction,
  type WasmType,
} from './wasm-assembler.ts';

/** The code of an operator: positions of operands to push, and instructions. */
type Form = readonly (number | Mnemonic | readonly [Mnemonic, number])[];

const unary = (name: Mnemonic): Form => [0, name];
const binary = (name: Mnemonic): Form => [0, 1, name];
const sumOrDifference = (name: 'add' | 'sub'): Partial<Record<Type, Form>> => ({
  ...{ i32: binary(`i32.${name}`), offset: binary(`i32.${name}`) },
  ...{ f32: binary(`f32.${name}`), vector: binary(`f32x4.${name}`) },
});
const fusedMultiplyAdd: Form = [1, 2, 0, 'f32x4.relaxed_madd'];
const selectLanes: Form = [1, 2, 0, 'v128.bitselect'];
/** If the other operand is 0. */
const selectOrZero: Form = [1, 0, 'v128.and'];
const lane = (index: number): Form => [0, ['f32x4.extract_lane', index]];

const forms: Partial<Record<Operator, Partial<Record<Type, Form>>>> = {
  add: sumOrDifference('add'),
  sub: sumOrDifference('sub'),
  mul: { i32: binary('i32.mul'), f32: binary('f32.mul'), vector: binary('f32x4.mul') },
  div: { i32: binary('i32.div_s'), f32: binary('f32.div'), vector: binary('f32x4.div') },
  sqrt: { f32: unary('f32.sqrt'), vector: unary('f32x4.sqrt') },
  max: {
    i32: [1, 0, 1, 0, 'i32.gt_s', 'select'],
    f32: [1, 0, 0, 1, 'f32.lt', 'select'],
    vector: binary('f32x4.pmax'),
  },
  multiplyAdd: { f32: [0, 1, 2, 'f32.mul', 'f32.add'], vector: [0, 1, 2, 'f32x4.mul', 'f32x4.add'] },
  multiplySubtract: { vector: [1, 2, 0, 'f32x4.relaxed_nmadd'] },
  greater: { i32: binary('i32.gt_s'), f32: binary('f32.gt'), vector: binary('f32x4.gt') },
  unequal: { i32: binary('i32.ne'), f32: binary('f32.ne'), vector: binary('f32x4.ne') },
  or: { i32: binary('i32.or'), mask: binary('v128.or') },
  select: { i32: [1, 2, 0, 'select'], mask: selectLanes },
  splat: { f32: unary('f32x4.splat') },
  sum: { vector: [...lane(0), ...lane(2), 'f32.add', ...lane(1), ...lane(3), 'f32.add', 'f32.add'] },
  halve: { vector: binary('f32x4.add') },
  toFloat: { i32: unary('f32.convert_i32_s') },
  toOffset: { i32: [0, ['i32.const', 2], 'i32.shl'] },
  scale: { offset: binary('i32.mul') },
  advance: { pointer: binary('i32.add') },
  advanceBytes: { pointer: binary('i32.add') },
};

const loads = {
  vector: 'v128.load',
  kept: 'v128.load',
  splat: 'v128.load32_splat',
  float: 'f32.load',
  byte: 'i32.load8_u',
  word: 'i32.load',
  offset: 'i32.load',
} as const satisfies Record<Exclude<LoadForm, 'bytes'>, Mnemonic>;

const stores = { v128: 'v128.store', f32: 'f32.store', i32: 'i32.store' } as const;

/** Quads of a vector or mask; 1 for scalars. */
const quadsOf = ({ lanes }: Value): number => Math.max(1, lanes / 4);

const wasmType = (type: Type): Exclude<WasmType, 'i64'> =>
  type === 'f32' ? 'f32' : type === 'vector' || type === 'mask' ? 'v128' : 'i32';

/** The module's globals: numbers to splat into vectors, which V8 would otherwise compute again at each use. */
class Constants {
  readonly values: number[] = [];

  /** The global that holds a number. */
  indexOf(value: number): number {
    const known = this.values.findIndex((other) => Object.is(other, value));
    return known < 0 ? this.values.push(value) - 1 : known;
  }
}

/** Turns a kernel into instructions, part by part: a part of a vector is a quad. */
class WasmPrinter extends Printer<void, Form> {
  protected readonly language = 'wasm';
  readonly #fused: boolean;
  readonly #constants: Constants;
  readonly #start = new Code();
  readonly #body = new Code();
  readonly #locals: WasmType[] = [];
  /** The first local of each value; its quads have adjacent locals. */
  readonly #slots: Map<number, number>;
  /** Locals that hold constant vectors for the whole call, by the global. */
  readonly #constantLocals = new Map<number, number>();
  /** Vectors of zeros. */
  readonly #zeros = new Set<number>();
  /** The local of the bytes that are being loaded. */
  #bytes = 0;

  constructor(kernel: Kernel, fused: boolean, constants: Constants) {
    super(fused ? fuseMultiplyAdds(kernel) : kernel, quadsOf);
    this.#fused = fused;
    this.#constants = constants;
    this.#slots = new Map(kernel.parameters.map((value, i) => [value.id, i]));
  }

  print(): WasmFunction {
    const { name, summary, parameters, parameterNames, body } = this.kernel;
    parameters.forEach(({ type }, index) => {
      if (type !== 'offset') return;
      this.#emit('local.get', index);
      this.#emit('i32.const', 2);
      this.#emit('i32.shl');
      this.#emit('local.set', index);
    });
    this.block(body);
    return {
      name,
      summary,
      parameters: parameters.map(({ type }, i) => ({ name: parameterNames[i]!, type: wasmType(type) })),
      locals: this.#locals,
      code: [this.#start, this.#body],
    };
  }

  #emit(name: Mnemonic, first = 0, second = 0): void {
    this.#body.add(name, first, second);
  }

  #newLocal(type: Type): number {
    this.#locals.push(wasmType(type));
    return this.kernel.parameters.length + this.#locals.length - 1;
  }

  /** Number of quads with a local each. */
  #quadCount(value: Value): number {
    return this.analysis.uniform[value.id] ? 1 : quadsOf(value);
  }

  #localOf(value: Value, quad: number): number {
    let first = this.#slots.get(value.id);
    if (first === undefined) {
      first = this.#newLocal(value.type);
      for (let i = 1; i < this.#quadCount(value); i++) this.#newLocal(value.type);
      this.#slots.set(value.id, first);
    }
    return this.analysis.uniform[value.id] ? first : first + quad;
  }

  #constantLocal(value: number): number {
    const global = this.#constants.indexOf(value);
    let local = this.#constantLocals.get(global);
    if (local === undefined) {
      local = this.#newLocal('vector');
      this.#constantLocals.set(global, local);
      this.#start.add('global.get', global);
      this.#start.add('f32x4.splat');
      this.#start.add('local.set', local);
    }
    return local;
  }

  protected number(type: Type, value: number): void {
    const kind = wasmType(type);
    if (kind === 'v128' && !Object.is(value, 0)) this.#emit('local.get', this.#constantLocal(value));
    else if (kind === 'v128') this.#emit('v128.const', 0);
    else if (kind === 'f32') this.#emit('f32.const', value);
    else this.#emit('i32.const', type === 'offset' ? value * 4 : value);
  }

  protected read(value: Value, quad: number): void {
    this.#emit('local.get', this.#localOf(value, quad));
  }

  protected formOf(operator: Operator, type: Type): Form | undefined {
    const fuses = operator === 'multiplyAdd' && type === 'vector' && this.#fused;
    return fuses ? fusedMultiplyAdd : forms[operator]?.[type];
  }

  protected apply(
    form: Form,
    operands: readonly Print<void>[],
    { operator, target, operands: values }: StatementOf<'define'>,
    quad: number,
  ): void {
    const last = values[2];
    const masksOut = form === selectLanes && typeof last === 'object' && this.#zeros.has(last.id);
    const [whole] = operands;
    const pushed = operator === 'halve' ? [whole!, () => whole!(quad + quadsOf(target))] : operands;
    for (const step of masksOut ? selectOrZero : form) {
      if (typeof step === 'number') pushed[step]!();
      else if (typeof step === 'string') this.#emit(step);
      else this.#emit(...step);
    }
  }

  protected set(target: Value, content: (quad: number) => void): void {
    for (let quad = 0; quad < this.#quadCount(target); quad++) {
      content(quad);
      this.#emit('local.set', this.#localOf(target, quad));
    }
  }

  protected setConstant(target: Value, value: number): void {
    if (Object.is(value, 0)) {
      this.#zeros.add(target.id);
      this.set(target, () => this.#emit('v128.const', 0));
    } else this.#slots.set(target.id, this.#constantLocal(value));
  }

  protected load({ target, form, pointer, at }: StatementOf<'load'>, quad: number): void {
    if (form === 'bytes') {
      this.#loadBytes(target, pointer, quad);
      return;
    }
    this.expression(pointer);
    this.#emit(loads[form], form === 'byte' ? at : at * 4 + quad * 16);
  }

  /** Two quads are extended from one load: halves of a vector, which V8 pairs. */
  #loadBytes(target: Value, pointer: Value, quad: number): void {
    if (quad === 0) {
      this.expression(pointer);
      if (quadsOf(target) === 1) {
        this.#emit('v128.load32_zero');
        this.#emit('i16x8.extend_low_i8x16_u');
      } else this.#emit('v128.load8x8_u');
      this.#bytes = this.#newLocal('vector');
      this.#emit('local.set', this.#bytes);
    }
    this.#emit('local.get', this.#bytes);
    this.#emit(quad === 0 ? 'i32x4.extend_low_i16x8_u' : 'i32x4.extend_high_i16x8_u');
    this.#emit('f32x4.convert_i32x4_s');
  }

  protected perform(statement: Effect): void {
    switch (statement.kind) {
      case 'store':
        for (let quad = quadsOf(statement.value) - 1; quad >= 0; quad--) {
          this.expression(statement.pointer);
          this.expression(statement.value, quad);
          this.#emit(stores[wasmType(statement.value.type)], statement.at * 4 + quad * 16);
        }
        break;
      case 'storeBytes':
        this.#storeBytes(statement);
        break;
      case 'prefetch':
        throw new TypeError(`wasm: no prefetch (kernel ${this.kernel.name})`);
      case 'scatter':
        this.#scatter(statement);
        break;
      case 'loop':
        this.#loop(statement);
        break;
      case 'if':
        this.expression(statement.condition);
        this.#emit('if');
        this.block(statement.yes);
        if (statement.no.length > 0) {
          this.#emit('else');
          this.block(statement.no);
        }
        this.#emit('end');
        break;
      default:
        statement satisfies never;
    }
  }

  #storeBytes({ value, pointer }: StatementOf<'storeBytes'>): void {
    // At 2²³ a float's last bits are whole numbers; a conversion would take several instructions.
    const shift = this.#constantLocal(2 ** 23);
    const packed = this.#newLocal('vector');
    const twice = (): void => {
      this.#emit('local.tee', packed);
      this.#emit('local.get', packed);
    };
    const single = quadsOf(value) === 1;
    this.expression(pointer);
    for (let quad = 0; quad < quadsOf(value); quad++) {
      this.expression(value, quad);
      this.#emit('local.get', shift);
      this.#emit('f32x4.add');
      this.#emit('local.get', shift);
      this.#emit('i32x4.sub');
    }
    if (single) twice();
    this.#emit('i16x8.narrow_i32x4_u');
    twice();
    this.#emit('i8x16.narrow_i16x8_u');
    this.#emit(single ? 'v128.store32_lane' : 'v128.store64_lane');
  }

  #scatter({ value, pointer, step }: StatementOf<'scatter'>): void {
    const place = this.#newLocal('pointer');
    this.expression(pointer);
    this.#emit('local.set', place);
    for (let lane = 0; lane < value.lanes; lane++) {
      if (lane > 0) {
        this.#emit('local.get', place);
        this.expression(step);
        this.#emit('i32.add');
        this.#emit('local.set', place);
      }
      this.#emit('local.get', place);
      this.expression(value, lane >> 2);
      this.#emit('v128.store32_lane', 0, lane & 3);
    }
  }

  #loop({ counter, count: times, body }: StatementOf<'loop'>): void {
    const count = this.#newLocal('i32');
    // If the counter is unused, count down instead.
    const up = this.analysis.uses[counter.id]! > 0 ? this.#localOf(counter, 0) : undefined;
    this.expression(times);
    this.#emit('local.set', count);
    if (up !== undefined) {
      this.#emit('i32.const', 0);
      this.#emit('local.set', up);
    }
    this.#emit('local.get', count);
    this.#emit('i32.const', 0);
    this.#emit('i32.gt_s');
    this.#emit('if');
    this.#emit('loop');
    this.block(body);
    this.#emit('local.get', count);
    if (up !== undefined) this.#emit('local.get', up);
    this.#emit('i32.const', 1);
    this.#emit(up === undefined ? 'i32.sub' : 'i32.add');
    this.#emit('local.tee', up ?? count);
    if (up !== undefined) this.#emit('i32.gt_s');
    this.#emit('br_if');
    this.#emit('end');
    this.#emit('end');
  }
}

export interface ModuleOptions {
  /** Whether the imported memory is shared. */
  readonly shared: boolean;
  /** Whether to use the fused multiply-adds of relaxed SIMD, which not all engines have. */
  readonly fused: boolean;
}

/** The bytes of a module with these kernels. */
export function assembleModule(
  kernels: readonly Kernel[],
  { shared, fused }: ModuleOptions,
): Uint8Array<ArrayBuffer> {
  const constants = new Constants();
  const functions = kernels.map((kernel) => new WasmPrinter(kernel, fused, constants).print());
  return encodeModule(functions, constants.values, shared);
}

/** A kernel's code in WebAssembly's text format, one instruction per line. */
export function formatWat(kernel: Kernel, fused: boolean): string {
  const constants = new Constants();
  return formatFunction(new WasmPrinter(kernel, fused, constants).print(), constants.values);
}
