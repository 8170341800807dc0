/**
 * The kernel language: loops, scalars, vectors of `lanes` floats, loads, stores and multiply-adds. A kernel is a
 * TypeScript function that runs once and records its operations. TypeScript's loops unroll (register tiles, transforms);
 * `k.loop` loops when the kernel runs. The result is a small typed program (`Kernel`), which printers turn into
 * WebAssembly (`wasm.ts`) or C (`c.ts`).
 *
 * Lengths in memory are multiples of `granule` floats, however wide a target's vectors are. `k.vectors` walks a length
 * with the widest vectors and its tail with narrower ones: its body is recorded once for each width.
 *
 * Every operation is recorded immediately and returns an immutable value; `k.variable` creates a mutable one. Memory is
 * one flat space of float32. A pointer is a position in it, an `offset` a distance in floats; printers may hold either
 * in bytes. Callers count both in floats.
 */

export type Type = 'i32' | 'f32' | 'vector' | 'mask' | 'pointer' | 'offset';

/** Types of a kernel's parameters, in order. */
export type ParameterTypes = Readonly<Record<string, 'i32' | 'f32' | 'pointer' | 'offset'>>;

export type Operator =
  | 'add'
  | 'sub'
  | 'mul'
  | 'div'
  | 'sqrt'
  | 'max' // i32, f32, vector; max(a, b) is a < b ? b : a
  | 'multiplyAdd' // (sum, a, b) → sum + a · b; fused if the target does so
  | 'multiplySubtract' // (sum, a, b) → sum − a · b; created only by printers that fuse
  | 'greater'
  | 'unequal'
  | 'or'
  | 'select' // masks; i32 truth values are 0 and 1
  | 'splat'
  | 'sum'
  | 'halve' // a vector's lower half + its upper half
  | 'toFloat'
  | 'toOffset'
  | 'scale'
  | 'advance'
  | 'advanceBytes';

export type Operand = Value | number;

export type Statement =
  | {
      readonly kind: 'define';
      readonly target: Value;
      readonly operator: Operator;
      readonly operands: readonly Operand[];
    }
  | { readonly kind: 'constant'; readonly target: Value; readonly value: number }
  | {
      readonly kind: 'load';
      readonly target: Value;
      readonly form: LoadForm;
      readonly pointer: Value;
      readonly at: number;
    }
  | { readonly kind: 'store'; readonly value: Value; readonly pointer: Value; readonly at: number }
  | { readonly kind: 'storeBytes'; readonly value: Value; readonly pointer: Value }
  | { readonly kind: 'scatter'; readonly value: Value; readonly pointer: Value; readonly step: Value }
  | { readonly kind: 'prefetch'; readonly pointer: Value; readonly at: number }
  | { readonly kind: 'assign'; readonly target: Value; readonly value: Value }
  | {
      readonly kind: 'loop';
      readonly counter: Value;
      readonly count: Value;
      readonly body: readonly Statement[];
    }
  | {
      readonly kind: 'if';
      readonly condition: Value;
      readonly yes: readonly Statement[];
      readonly no: readonly Statement[];
    };

/** A statement of a kind. */
export type StatementOf<K extends Statement['kind']> = Extract<Statement, { kind: K }>;

/**
 * `vector`: `lanes` adjacent floats; `kept`: the same, in a register for all uses; `splat`: one float in every lane;
 * `bytes`: `lanes` adjacent unsigned bytes, as floats; `float`: one float; `byte`: one unsigned byte; `word`: 32 bits of
 * any type; `offset`: an offset that a kernel stored.
 */
export type LoadForm = 'vector' | 'kept' | 'splat' | 'bytes' | 'float' | 'byte' | 'word' | 'offset';

/** A recorded program. */
export interface Kernel {
  readonly name: string;
  /** One line of documentation. */
  readonly summary: string;
  readonly parameters: readonly Value[];
  readonly parameterNames: readonly string[];
  readonly body: readonly Statement[];
  /** Number of values, including parameters; their ids are 0 … count − 1. */
  readonly valueCount: number;
  readonly types: readonly Type[];
}

/** A kernel file exports definitions, which are recorded for a target's vectors. */
export interface KernelDefinition {
  readonly name: string;
  readonly summary: string;
  readonly parameters: ParameterTypes;
  record(target: Target): Kernel;
}

/** Every length in memory is a multiple of this number of floats, the narrowest vector. */
export const granule = 4;

/** Floats of a cache line. */
export const lineFloats = 16;

/** Of a register tile. */
export type TileSize = readonly [rows: number, vectors: number];

/** A kind of vector. */
export interface Width {
  /** Floats in a vector. */
  readonly lanes: number;
  /** Register tiles of the matrix products, rows × vectors: the widest first, each of half as many vectors down to 1. */
  readonly tiles: readonly TileSize[];
  /** Tiles of products whose left matrix is transposed, which need one pointer for all rows; by default the same. */
  readonly transposedTiles?: readonly TileSize[];
}

/** What kernels know about the machine: its vectors, the widest first, each half as wide as the last, down to `granule`. */
export interface Target {
  /** Whether it can prefetch memory. */
  readonly prefetches?: boolean;
  readonly widths: readonly Width[];
  /** The widths that dot products use; by default all. */
  readonly dotWidths?: readonly Width[];
}

/** A value of the recorded program. Arithmetic with plain numbers is allowed wherever the type is scalar or vector. */
export class Value {
  readonly recorder: Recorder;
  readonly type: Type;
  readonly id: number;
  /** Floats (or truth values) of a vector or mask; 1 for all other types. */
  readonly lanes: number;

  constructor(recorder: Recorder, type: Type, id: number, lanes: number) {
    this.recorder = recorder;
    this.type = type;
    this.id = id;
    this.lanes = lanes;
  }

  add(other: Operand): Value {
    return this.recorder.define('add', this.type, [this, other]);
  }
  sub(other: Operand): Value {
    return this.recorder.define('sub', this.type, [this, other]);
  }
  mul(other: Operand): Value {
    return this.recorder.define('mul', this.type, [this, other]);
  }
  div(other: Operand): Value {
    return this.recorder.define('div', this.type, [this, other]);
  }
  sqrt(): Value {
    return this.recorder.define('sqrt', this.type, [this]);
  }
  /** this < other ? other : this, so that a NaN in `this` stays. */
  max(other: Operand): Value {
    return this.recorder.define('max', this.type, [this, other]);
  }
  /** A mask for vectors, 0 or 1 for i32. */
  greater(other: Operand): Value {
    return this.recorder.define('greater', this.type === 'vector' ? 'mask' : 'i32', [this, other]);
  }
  unequal(other: Operand): Value {
    return this.recorder.define('unequal', this.type === 'vector' ? 'mask' : 'i32', [this, other]);
  }
  or(other: Value): Value {
    return this.recorder.define('or', this.type, [this, other]);
  }
  /** For masks and i32 truth values: this ? yes : no, lane by lane. */
  select(yes: Value, no: Value): Value {
    return this.recorder.define('select', yes.type, [this, yes, no]);
  }
  /** One float in every lane. */
  splat(): Value {
    return this.recorder.define('splat', 'vector', [this]);
  }
  /** A vector of half as many lanes: the lower half + the upper half. */
  halve(): Value {
    return this.recorder.define('halve', 'vector', [this], this.lanes / 2);
  }
  /** The sum of four lanes, by adding halves until one lane is left; wider vectors are halved before. */
  sum(): Value {
    if (this.lanes !== granule) throw new TypeError(`sum of ${this.lanes} lanes; halve them first`);
    return this.recorder.define('sum', 'f32', [this]);
  }
  toFloat(): Value {
    return this.recorder.define('toFloat', 'f32', [this]);
  }
  /** i32 number of floats → offset. */
  toOffset(): Value {
    return this.recorder.define('toOffset', 'offset', [this]);
  }
  /** offset · i32. */
  scale(count: Operand): Value {
    return this.recorder.define('scale', 'offset', [this, count]);
  }
  /** pointer + offset; a plain number counts floats. */
  plus(offset: Operand): Value {
    return offset === 0 ? this : this.recorder.define('advance', 'pointer', [this, offset]);
  }

  /** pointer + i32 bytes. */
  plusBytes(bytes: Operand): Value {
    return this.recorder.define('advanceBytes', 'pointer', [this, bytes]);
  }

  /** For variables: assigns a new value. */
  set(value: Operand): void {
    this.recorder.assign(this, value);
  }
  /** For pointer variables: moves by an offset; a plain number counts floats. */
  advance(offset: Operand): void {
    this.set(this.plus(offset));
  }
  /** For variables: this += a · b. */
  multiplyAdd(a: Value, b: Value): void {
    this.set(this.recorder.define('multiplyAdd', this.type, [this, a, b]));
  }
}

const isVector = (type: Type): boolean => type === 'vector' || type === 'mask';

/** Records a kernel's operations; `k` in the kernels. */
export class Recorder {
  readonly prefetches: boolean;
  readonly widths: readonly Width[];
  readonly dotWidths: readonly Width[];
  #width: Width;
  /** Of each value, by its id. */
  readonly types: Type[] = [];
  block: Statement[] = [];

  constructor({ prefetches = false, widths, dotWidths = widths }: Target) {
    const [widest] = widths;
    if (!widest || widths.some(({ lanes }, i) => lanes !== granule * 2 ** (widths.length - 1 - i))) {
      throw new RangeError(
        `a target's vectors halve down to ${granule} lanes, not ${widths.map(({ lanes }) => lanes).join(', ')}`,
      );
    }
    this.prefetches = prefetches;
    this.widths = widths;
    this.dotWidths = dotWidths;
    this.#width = widest;
  }

  /** Floats of the vectors being recorded. */
  get lanes(): number {
    return this.#width.lanes;
  }

  fresh(type: Type, lanes: number = this.lanes): Value {
    this.types.push(type);
    return new Value(this, type, this.types.length - 1, isVector(type) ? lanes : 1);
  }

  define(operator: Operator, type: Type, operands: readonly Operand[], lanes?: number): Value {
    const vectors = operands.filter((o): o is Value => typeof o !== 'number' && isVector(o.type));
    const width = vectors[0]?.lanes ?? this.lanes;
    if (vectors.some((vector) => vector.lanes !== width)) {
      throw new TypeError(
        `${operator} of vectors of ${vectors.map((vector) => vector.lanes).join(' and ')} lanes`,
      );
    }
    const target = this.fresh(type, lanes ?? width);
    this.block.push({ kind: 'define', target, operator, operands });
    return target;
  }

  constant(type: Type, value: number, lanes: number = this.lanes): Value {
    const target = this.fresh(type, lanes);
    this.block.push({ kind: 'constant', target, value });
    return target;
  }

  integer(value: number): Value {
    return this.constant('i32', value);
  }

  /** A vector with one number in every lane. */
  vector(value: number, lanes: number = this.lanes): Value {
    return this.constant('vector', value, lanes);
  }

  /** A mutable value that starts as `initial`. */
  variable(initial: Value): Value {
    const target = this.fresh(initial.type, initial.lanes);
    this.assign(target, initial);
    return target;
  }

  assign(target: Value, value: Operand): void {
    const source = typeof value === 'number' ? this.constant(target.type, value, target.lanes) : value;
    if (source.lanes !== target.lanes) {
      throw new TypeError(`a variable of ${target.lanes} lanes cannot hold ${source.lanes}`);
    }
    this.block.push({ kind: 'assign', target, value: source });
  }

  #load(form: LoadForm, type: Type, pointer: Value, at: number): Value {
    const target = this.fresh(type);
    this.block.push({ kind: 'load', target, form, pointer, at });
    return target;
  }

  /** `lanes` floats, starting `at` floats after the pointer. */
  load(pointer: Value, at = 0): Value {
    return this.#load('vector', 'vector', pointer, at);
  }
  /** The same for a value with several uses: a C compiler may not read it from memory again for each. */
  loadKept(pointer: Value, at = 0): Value {
    return this.#load('kept', 'vector', pointer, at);
  }
  /** The float `at` floats after the pointer, in every lane. */
  loadSplat(pointer: Value, at = 0): Value {
    return this.#load('splat', 'vector', pointer, at);
  }
  /** `lanes` unsigned bytes as floats. */
  loadBytes(pointer: Value): Value {
    return this.#load('bytes', 'vector', pointer, 0);
  }
  loadFloat(pointer: Value, at = 0): Value {
    return this.#load('float', 'f32', pointer, at);
  }
  /** The unsigned byte `at` BYTES after the pointer. */
  loadByte(pointer: Value, at = 0): Value {
    return this.#load('byte', 'i32', pointer, at);
  }
  /** The word `at` words after the pointer: a whole number, or a float's bits. */
  loadWord(pointer: Value, at = 0): Value {
    return this.#load('word', 'i32', pointer, at);
  }
  /** The offset that a kernel stored `at` words after the pointer. */
  loadOffset(pointer: Value, at = 0): Value {
    return this.#load('offset', 'offset', pointer, at);
  }
  /** Stores a vector, a float or (one word long) a whole number or an offset. */
  store(pointer: Value, value: Value, at = 0): void {
    this.block.push({ kind: 'store', value, pointer, at });
  }
  /** Stores a vector of whole numbers from 0 to 255 as `lanes` bytes. */
  storeBytes(pointer: Value, value: Value): void {
    this.block.push({ kind: 'storeBytes', value, pointer });
  }
  /** Prefetches the cache line `at` floats after the pointer, which need not exist; only if `prefetches` is true. */
  prefetch(pointer: Value, at = 0): void {
    this.block.push({ kind: 'prefetch', pointer, at });
  }
  /** Stores lane l of a vector at pointer + l · step. */
  scatter(pointer: Value, value: Value, step: Value): void {
    this.block.push({ kind: 'scatter', value, pointer, step });
  }

  #record(body: () => void): Statement[] {
    const outer = this.block;
    this.block = [];
    body();
    const recorded = this.block;
    this.block = outer;
    return recorded;
  }

  /** Runs the body `count` times, with a counter 0, 1, … count − 1. */
  loop(count: Value, body: (counter: Value) => void): void {
    const counter = this.fresh('i32');
    this.block.push({ kind: 'loop', counter, count, body: this.#record(() => body(counter)) });
  }

  /**
   * Walks `length` floats, a multiple of `granule`. The body is recorded for each width: `vectors` is its number of whole
   * vectors, `from` the position of the first in floats.
   */
  forWidths(
    length: Value,
    body: (vectors: Value, from: Value, width: Width) => void,
    widths: readonly Width[] = this.widths,
  ): void {
    const before = this.#width;
    let from = this.integer(0);
    widths.forEach((width, i) => {
      this.#width = width;
      const vectors = (i === 0 ? length : length.sub(from)).div(width.lanes);
      body(vectors, from, width);
      if (i < widths.length - 1) from = from.add(vectors.mul(width.lanes));
    });
    this.#width = before;
  }

  /** Calls `body` for each vector of `length` floats, a multiple of `granule`, with its position in floats. */
  vectors(length: Value, body: (at: Value) => void): void {
    this.forWidths(length, (vectors, from, { lanes }) => {
      const first = lanes === this.widths[0]!.lanes;
      this.loop(vectors, (i) => body(first ? i.mul(lanes) : from.add(i.mul(lanes))));
    });
  }

  if(condition: Value, yes: () => void, no: () => void = () => {}): void {
    this.block.push({ kind: 'if', condition, yes: this.#record(yes), no: this.#record(no) });
  }
}

/** Declares a kernel. The body runs once per target, to record it. */
export function kernel<P extends ParameterTypes>(
  name: string,
  summary: string,
  parameters: P,
  body: (k: Recorder, parameters: { readonly [K in keyof P]: Value }) => void,
): KernelDefinition {
  return {
    name,
    summary,
    parameters,
    record(target) {
      const recorder = new Recorder(target);
      const values = Object.fromEntries(
        Object.entries(parameters).map(([key, type]) => [key, recorder.fresh(type)]),
      ) as { readonly [K in keyof P]: Value };
      body(recorder, values);
      return {
        name,
        summary,
        parameters: Object.values(values),
        parameterNames: Object.keys(values),
        body: recorder.block,
        valueCount: recorder.types.length,
        types: recorder.types,
      };
    },
  };
}

/** 0, 1, … count − 1. */
export const range = (count: number): number[] => Array.from({ length: count }, (_, i) => i);

/** A table of values, for register tiles. */
export const grid = <T>(rows: number, columns: number, cell: (row: number, column: number) => T): T[][] =>
  range(rows).map((row) => range(columns).map((column) => cell(row, column)));
