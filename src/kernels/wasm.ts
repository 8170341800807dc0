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
import { analyse } from './analysis.ts';
import { fuseMultiplyAdds } from './fuse.ts';
import type { Kernel, LoadForm, Operand, Operator, Statement, Type, Value } from './language.ts';

/** Instructions: the mnemonic and the immediates of each. Lists of numbers, because a module has many thousands. */
interface Code {
  readonly names: Mnemonic[];
  readonly first: number[];
  readonly second: number[];
}

type Encoding = 'plain' | 'index' | 'blocktype' | 'i32' | 'f32' | 'v128' | 'memory' | 'lane' | 'memory-lane';

const simd = (opcode: number, encoding: Encoding = 'plain'): readonly [number[], Encoding] => [
  opcode < 0x80 ? [0xfd, opcode] : [0xfd, (opcode & 0x7f) | 0x80, opcode >> 7],
  encoding,
];

const instructions = {
  block: [[0x02], 'blocktype'],
  loop: [[0x03], 'blocktype'],
  if: [[0x04], 'blocktype'],
  else: [[0x05], 'plain'],
  end: [[0x0b], 'plain'],
  br_if: [[0x0d], 'index'],
  select: [[0x1b], 'plain'],
  'local.get': [[0x20], 'index'],
  'local.set': [[0x21], 'index'],
  'local.tee': [[0x22], 'index'],
  'global.get': [[0x23], 'index'],
  'f32.load': [[0x2a], 'memory'],
  'i32.load': [[0x28], 'memory'],
  'i32.load8_u': [[0x2d], 'memory'],
  'i32.store': [[0x36], 'memory'],
  'f32.store': [[0x38], 'memory'],
  'i32.const': [[0x41], 'i32'],
  'f32.const': [[0x43], 'f32'],
  'i32.eqz': [[0x45], 'plain'],
  'i32.ne': [[0x47], 'plain'],
  'i32.gt_s': [[0x4a], 'plain'],
  'f32.ne': [[0x5c], 'plain'],
  'f32.lt': [[0x5d], 'plain'],
  'f32.gt': [[0x5e], 'plain'],
  'i32.add': [[0x6a], 'plain'],
  'i32.sub': [[0x6b], 'plain'],
  'i32.mul': [[0x6c], 'plain'],
  'i32.div_s': [[0x6d], 'plain'],
  'i32.or': [[0x72], 'plain'],
  'i32.shl': [[0x74], 'plain'],
  'f32.sqrt': [[0x91], 'plain'],
  'f32.add': [[0x92], 'plain'],
  'f32.sub': [[0x93], 'plain'],
  'f32.mul': [[0x94], 'plain'],
  'f32.div': [[0x95], 'plain'],
  'f32.convert_i32_s': [[0xb2], 'plain'],
  'v128.load': simd(0x00, 'memory'),
  'v128.load8x8_u': simd(0x02, 'memory'),
  'v128.load32_splat': simd(0x09, 'memory'),
  'v128.store': simd(0x0b, 'memory'),
  'v128.const': simd(0x0c, 'v128'),
  'f32x4.splat': simd(0x13),
  'f32x4.extract_lane': simd(0x1f, 'lane'),
  'f32x4.ne': simd(0x42),
  'f32x4.gt': simd(0x44),
  'v128.and': simd(0x4e),
  'v128.or': simd(0x50),
  'v128.bitselect': simd(0x52),
  'v128.store32_lane': simd(0x5a, 'memory-lane'),
  'v128.store64_lane': simd(0x5b, 'memory-lane'),
  'v128.load32_zero': simd(0x5c, 'memory'),
  'i8x16.narrow_i16x8_u': simd(0x66),
  'i16x8.narrow_i32x4_u': simd(0x86),
  'i16x8.extend_low_i8x16_u': simd(0x89),
  'i32x4.extend_low_i16x8_u': simd(0xa9),
  'i32x4.extend_high_i16x8_u': simd(0xaa),
  'i32x4.sub': simd(0xb1),
  'f32x4.convert_i32x4_s': simd(0xfa),
  'f32x4.sqrt': simd(0xe3),
  'f32x4.add': simd(0xe4),
  'f32x4.sub': simd(0xe5),
  'f32x4.mul': simd(0xe6),
  'f32x4.div': simd(0xe7),
  'f32x4.pmax': simd(0xeb),
  'f32x4.relaxed_madd': simd(0x105),
  'f32x4.relaxed_nmadd': simd(0x106),
} as const satisfies Record<string, readonly [readonly number[], Encoding]>;

type Mnemonic = keyof typeof instructions;

const arithmetic = {
  add: { i32: 'i32.add', f32: 'f32.add', vector: 'f32x4.add' },
  sub: { i32: 'i32.sub', f32: 'f32.sub', vector: 'f32x4.sub' },
  mul: { i32: 'i32.mul', f32: 'f32.mul', vector: 'f32x4.mul' },
  div: { i32: 'i32.div_s', f32: 'f32.div', vector: 'f32x4.div' },
  sqrt: { f32: 'f32.sqrt', vector: 'f32x4.sqrt' },
  max: { vector: 'f32x4.pmax' },
  greater: { i32: 'i32.gt_s', f32: 'f32.gt', vector: 'f32x4.gt' },
  unequal: { i32: 'i32.ne', f32: 'f32.ne', vector: 'f32x4.ne' },
} as const satisfies Partial<Record<Operator, Partial<Record<Type, Mnemonic>>>>;

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

const wasmType = (type: Type): 'i32' | 'f32' | 'v128' =>
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

interface Assembly {
  readonly code: Code;
  /** Types of the locals after the parameters. */
  readonly locals: readonly ('i32' | 'f32' | 'v128')[];
}

/** Turns the recorded program into instructions. */
function assemble(recorded: Kernel, fused: boolean, constants: Constants): Assembly {
  const kernel = fused ? fuseMultiplyAdds(recorded) : recorded;
  const { inline, uniform, uses } = analyse(kernel, quadsOf);
  const start: Code = { names: [], first: [], second: [] };
  const body: Code = { names: [], first: [], second: [] };
  const locals: ('i32' | 'f32' | 'v128')[] = [];
  /** The first local of each value; its quads have adjacent locals. */
  const slot = new Map<number, number>(kernel.parameters.map((value, i) => [value.id, i]));
  const emitTo = (code: Code, name: Mnemonic, first: number, second = 0): void => {
    code.names.push(name);
    code.first.push(first);
    code.second.push(second);
  };
  const emit = (name: Mnemonic, first = 0, second = 0): void => emitTo(body, name, first, second);
  const newLocal = (type: Type): number => {
    locals.push(wasmType(type));
    return kernel.parameters.length + locals.length - 1;
  };
  /** Number of quads with a local each. */
  const quadCount = (value: Value): number => (uniform[value.id] ? 1 : quadsOf(value));
  const localOf = (value: Value, quad: number): number => {
    let first = slot.get(value.id);
    if (first === undefined) {
      first = newLocal(value.type);
      for (let i = 1; i < quadCount(value); i++) newLocal(value.type);
      slot.set(value.id, first);
    }
    return uniform[value.id] ? first : first + quad;
  };
  const quads = (value: Value, each: (quad: number) => void): void => {
    for (let quad = 0; quad < quadCount(value); quad++) each(quad);
  };
  /** Locals that hold constant vectors for the whole call, by the global. */
  const constantLocals = new Map<number, number>();
  const constantLocal = (value: number): number => {
    const global = constants.indexOf(value);
    let local = constantLocals.get(global);
    if (local === undefined) {
      local = newLocal('vector');
      constantLocals.set(global, local);
      emitTo(start, 'global.get', global);
      emitTo(start, 'f32x4.splat', 0);
      emitTo(start, 'local.set', local);
    }
    return local;
  };
  const constant = (type: Type, value: number): void => {
    const kind = wasmType(type);
    if (kind === 'v128' && !Object.is(value, 0)) emit('local.get', constantLocal(value));
    else if (kind === 'v128') emit('v128.const', 0);
    else if (kind === 'f32') emit('f32.const', value);
    else emit('i32.const', type === 'offset' ? value * 4 : value);
  };
  /** Vectors of zeros. */
  const zeros = new Set<number>();
  const isZero = (operand: Operand | undefined): boolean =>
    typeof operand === 'object' && zeros.has(operand.id);
  const pushQuad = (value: Value, quad: number): void => {
    const definition = inline[value.id];
    if (definition?.kind === 'constant') constant(value.type, definition.value);
    else if (definition?.kind === 'define')
      operation(definition.operator, definition.target, definition.operands, quad);
    else emit('local.get', localOf(value, quad));
  };

  const operation = (operator: Operator, target: Value, operands: readonly Operand[], quad: number): void => {
    const [first, second, third] = operands as readonly [Value, Operand, Operand?];
    const type = first.type;
    const push = (value: Value): void => pushQuad(value, quad);
    const pushAs = (operand: Operand, of: Type): void =>
      typeof operand === 'number' ? constant(of, operand) : push(operand);
    switch (operator) {
      case 'multiplyAdd':
        if (type === 'vector' && fused) {
          push(second as Value);
          pushAs(third!, type);
          push(first);
          emit('f32x4.relaxed_madd');
          return;
        }
        push(first);
        push(second as Value);
        pushAs(third!, type);
        emit(type === 'vector' ? 'f32x4.mul' : 'f32.mul');
        emit(type === 'vector' ? 'f32x4.add' : 'f32.add');
        return;
      case 'multiplySubtract':
        push(second as Value);
        pushAs(third!, type);
        push(first);
        emit('f32x4.relaxed_nmadd');
        return;
      case 'or':
        push(first);
        push(second as Value);
        emit(type === 'mask' ? 'v128.or' : 'i32.or');
        return;
      case 'select':
        if (type === 'mask' && isZero(third)) {
          push(second as Value);
          push(first);
          emit('v128.and');
          return;
        }
        push(second as Value);
        push(third as Value);
        push(first);
        emit(type === 'mask' ? 'v128.bitselect' : 'select');
        return;
      case 'splat':
        push(first);
        emit('f32x4.splat');
        return;
      case 'halve':
        pushQuad(first, quad);
        pushQuad(first, quad + quadsOf(target));
        emit('f32x4.add');
        return;
      case 'sum':
        if (first.lanes !== 4) throw new TypeError(`wasm: sum of ${first.lanes} lanes; halve them first`);
        for (const half of [0, 1]) {
          for (const lane of [half, half + 2]) {
            push(first);
            emit('f32x4.extract_lane', lane);
          }
          emit('f32.add');
        }
        emit('f32.add');
        return;
      case 'toFloat':
        push(first);
        emit('f32.convert_i32_s');
        return;
      case 'toOffset':
        push(first);
        emit('i32.const', 2);
        emit('i32.shl');
        return;
      case 'scale':
        push(first);
        pushAs(second, 'i32');
        emit('i32.mul');
        return;
      case 'advance':
        push(first);
        pushAs(second, 'offset');
        emit('i32.add');
        return;
      case 'advanceBytes':
        push(first);
        pushAs(second, 'i32');
        emit('i32.add');
        return;
      case 'max':
        if (type !== 'vector') {
          pushAs(second, type);
          push(first);
          if (type === 'f32') {
            push(first);
            pushAs(second, type);
            emit('f32.lt');
          } else {
            pushAs(second, type);
            push(first);
            emit('i32.gt_s');
          }
          emit('select');
          return;
        }
        break;
      case 'add':
      case 'sub':
        if (type === 'offset') {
          push(first);
          pushAs(second, 'offset');
          emit(operator === 'add' ? 'i32.add' : 'i32.sub');
          return;
        }
        break;
      default:
    }
    const mnemonic = (arithmetic as Partial<Record<Operator, Partial<Record<Type, Mnemonic>>>>)[operator]?.[
      type
    ];
    if (!mnemonic)
      throw new TypeError(`wasm: no ${operator} of ${type} (kernel ${kernel.name}, value ${target.id})`);
    push(first);
    if (operands.length > 1) pushAs(second, type);
    emit(mnemonic);
  };

  const push = (value: Value): void => pushQuad(value, 0);
  /** Two quads are extended from one load: halves of a vector, which V8 pairs. */
  const loadBytes = (target: Value, pointer: Value): void => {
    push(pointer);
    if (quadsOf(target) === 1) {
      emit('v128.load32_zero');
      emit('i16x8.extend_low_i8x16_u');
    } else emit('v128.load8x8_u');
    const words = newLocal('vector');
    emit('local.set', words);
    quads(target, (quad) => {
      emit('local.get', words);
      emit(quad === 0 ? 'i32x4.extend_low_i16x8_u' : 'i32x4.extend_high_i16x8_u');
      emit('f32x4.convert_i32x4_s');
      emit('local.set', localOf(target, quad));
    });
  };
  const storeBytes = (value: Value, pointer: Value): void => {
    // At 2²³ a float's last bits are whole numbers; a conversion would take several instructions.
    const shift = constantLocal(2 ** 23);
    const packed = newLocal('vector');
    push(pointer);
    for (let quad = 0; quad < quadsOf(value); quad++) {
      pushQuad(value, quad);
      emit('local.get', shift);
      emit('f32x4.add');
      emit('local.get', shift);
      emit('i32x4.sub');
    }
    const twice = (): void => {
      emit('local.tee', packed);
      emit('local.get', packed);
    };
    if (quadsOf(value) === 1) twice();
    emit('i16x8.narrow_i32x4_u');
    twice();
    emit('i8x16.narrow_i16x8_u');
    emit(quadsOf(value) === 1 ? 'v128.store32_lane' : 'v128.store64_lane');
  };
  const block = (statements: readonly Statement[]): void => {
    for (const statement of statements) {
      switch (statement.kind) {
        case 'define':
          if (inline[statement.target.id]) break;
          quads(statement.target, (quad) => {
            operation(statement.operator, statement.target, statement.operands, quad);
            emit('local.set', localOf(statement.target, quad));
          });
          break;
        case 'constant':
          if (inline[statement.target.id]) break;
          if (Object.is(statement.value, 0)) {
            zeros.add(statement.target.id);
            emit('v128.const', 0);
            emit('local.set', localOf(statement.target, 0));
          } else slot.set(statement.target.id, constantLocal(statement.value));
          break;
        case 'load': {
          const { target, form, pointer, at } = statement;
          if (form === 'bytes') loadBytes(target, pointer);
          else {
            quads(target, (quad) => {
              push(pointer);
              emit(loads[form], form === 'byte' ? at : at * 4 + quad * 16);
              emit('local.set', localOf(target, quad));
            });
          }
          break;
        }
        case 'store':
          for (let quad = quadsOf(statement.value) - 1; quad >= 0; quad--) {
            push(statement.pointer);
            pushQuad(statement.value, quad);
            emit(stores[wasmType(statement.value.type)], statement.at * 4 + quad * 16);
          }
          break;
        case 'storeBytes':
          storeBytes(statement.value, statement.pointer);
          break;
        case 'prefetch':
          throw new TypeError(`wasm: no prefetch (kernel ${kernel.name})`);
        case 'scatter': {
          const pointer = newLocal('pointer');
          push(statement.pointer);
          emit('local.set', pointer);
          for (let lane = 0; lane < statement.value.lanes; lane++) {
            if (lane > 0) {
              emit('local.get', pointer);
              push(statement.step);
              emit('i32.add');
              emit('local.set', pointer);
            }
            emit('local.get', pointer);
            pushQuad(statement.value, lane >> 2);
            emit('v128.store32_lane', 0, lane & 3);
          }
          break;
        }
        case 'assign':
          quads(statement.target, (quad) => {
            pushQuad(statement.value, quad);
            emit('local.set', localOf(statement.target, quad));
          });
          break;
        case 'loop': {
          const count = newLocal('i32');
          // If the counter is unused, count down instead.
          const counter = uses[statement.counter.id]! > 0 ? localOf(statement.counter, 0) : undefined;
          push(statement.count);
          emit('local.set', count);
          if (counter !== undefined) {
            emit('i32.const', 0);
            emit('local.set', counter);
          }
          emit('local.get', count);
          emit('i32.const', 0);
          emit('i32.gt_s');
          emit('if');
          emit('loop');
          block(statement.body);
          if (counter !== undefined) {
            emit('local.get', count);
            emit('local.get', counter);
            emit('i32.const', 1);
            emit('i32.add');
            emit('local.tee', counter);
            emit('i32.gt_s');
          } else {
            emit('local.get', count);
            emit('i32.const', 1);
            emit('i32.sub');
            emit('local.tee', count);
          }
          emit('br_if', 0);
          emit('end');
          emit('end');
          break;
        }
        case 'if':
          push(statement.condition);
          emit('if');
          block(statement.yes);
          if (statement.no.length > 0) {
            emit('else');
            block(statement.no);
          }
          emit('end');
          break;
        default:
          statement satisfies never;
      }
    }
  };
  kernel.parameters.forEach((parameter, index) => {
    if (parameter.type !== 'offset') return;
    emit('local.get', index);
    emit('i32.const', 2);
    emit('i32.shl');
    emit('local.set', index);
  });
  block(kernel.body);
  return {
    code: {
      names: [...start.names, ...body.names],
      first: [...start.first, ...body.first],
      second: [...start.second, ...body.second],
    },
    locals,
  };
}

/** Builds a list of bytes. */
class Bytes {
  length = 0;
  #bytes = new Uint8Array(4096);
  readonly #scratch = new DataView(new ArrayBuffer(4));

  get view(): Uint8Array<ArrayBuffer> {
    return this.#bytes.subarray(0, this.length);
  }

  push(byte: number): void {
    if (this.length === this.#bytes.length) this.#grow(1);
    this.#bytes[this.length++] = byte;
  }

  append(bytes: ArrayLike<number>): void {
    if (this.length + bytes.length > this.#bytes.length) this.#grow(bytes.length);
    this.#bytes.set(bytes, this.length);
    this.length += bytes.length;
  }

  /** Variable-length integers (LEB128). */
  unsigned(value: number): void {
    for (; value > 0x7f; value >>>= 7) this.push((value & 0x7f) | 0x80);
    this.push(value);
  }

  signed(value: number): void {
    for (;;) {
      const low = value & 0x7f;
      value >>= 7;
      if ((value === 0 && !(low & 0x40)) || (value === -1 && low & 0x40)) {
        this.push(low);
        return;
      }
      this.push(low | 0x80);
    }
  }

  float(value: number): void {
    this.#scratch.setFloat32(0, value, true);
    for (let i = 0; i < 4; i++) this.push(this.#scratch.getUint8(i));
  }

  text(string: string): void {
    this.sized(new TextEncoder().encode(string));
  }

  /** Behind their number. */
  sized(bytes: Uint8Array): void {
    this.unsigned(bytes.length);
    this.append(bytes);
  }

  instruction(name: Mnemonic, first: number, second: number): void {
    const [opcode, encoding] = instructions[name];
    this.append(opcode);
    switch (encoding as Encoding) {
      case 'plain':
        return;
      case 'index':
        this.unsigned(first);
        return;
      case 'blocktype':
        this.push(0x40);
        return;
      case 'i32':
        this.signed(first | 0);
        return;
      case 'f32':
        this.float(first);
        return;
      case 'v128':
        for (let lane = 0; lane < 4; lane++) this.float(first);
        return;
      case 'memory':
        this.push(0);
        this.unsigned(first);
        return;
      case 'lane':
        this.push(first);
        return;
      case 'memory-lane':
        this.push(0);
        this.unsigned(first);
        this.push(second);
        return;
    }
  }

  #grow(room: number): void {
    const larger = new Uint8Array(2 * (this.length + room));
    larger.set(this.view);
    this.#bytes = larger;
  }
}

const typeCode = { i32: 0x7f, f32: 0x7d, v128: 0x7b } as const;

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
  const maximumPages = 65_536;
  const constants = new Constants();
  const assemblies = kernels.map((kernel) => assemble(kernel, fused, constants));
  const module = new Bytes();
  const section = (id: number, items: number, write: (bytes: Bytes) => void): void => {
    const content = new Bytes();
    content.unsigned(items);
    write(content);
    module.push(id);
    module.sized(content.view);
  };
  module.append([0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00]);
  // Types, one for each kernel.
  section(1, kernels.length, (bytes) => {
    for (const { parameters } of kernels) {
      bytes.push(0x60);
      bytes.unsigned(parameters.length);
      for (const parameter of parameters) bytes.push(typeCode[wasmType(parameter.type)]);
      bytes.push(0);
    }
  });
  // The imported memory.
  section(2, 1, (bytes) => {
    bytes.text('env');
    bytes.text('memory');
    bytes.append([0x02, shared ? 0x03 : 0x01, 0]);
    bytes.unsigned(maximumPages);
  });
  // Functions, by their types; globals, mutable so that engines do not turn them back into constants; exports; code.
  section(3, kernels.length, (bytes) => {
    kernels.forEach((_, i) => void bytes.unsigned(i));
  });
  section(6, constants.values.length, (bytes) => {
    for (const value of constants.values) {
      bytes.append([typeCode.f32, 0x01]);
      bytes.instruction('f32.const', value, 0);
      bytes.instruction('end', 0, 0);
    }
  });
  section(7, kernels.length, (bytes) => {
    kernels.forEach(({ name }, i) => {
      bytes.text(name);
      bytes.push(0x00);
      bytes.unsigned(i);
    });
  });
  section(10, kernels.length, (bytes) => {
    for (const { code, locals } of assemblies) {
      const body = new Bytes();
      body.unsigned(locals.length);
      for (const type of locals) body.append([1, typeCode[type]]);
      const { names, first, second } = code;
      for (let i = 0; i < names.length; i++) body.instruction(names[i]!, first[i]!, second[i]!);
      body.push(0x0b);
      bytes.sized(body.view);
    }
  });
  return module.view.slice();
}

/** A number in WebAssembly's text format. */
const number = (value: number): string =>
  Object.is(value, -0) ? '-0' : String(value).replace('Infinity', 'inf').replace('NaN', 'nan');

function immediateWords(encoding: Encoding, first: number, second: number): string[] {
  const offset = first === 0 ? [] : [`offset=${first}`];
  switch (encoding) {
    case 'plain':
    case 'blocktype':
      return [];
    case 'v128':
      return ['f32x4', ...[0, 1, 2, 3].map(() => number(first))];
    case 'memory':
      return offset;
    case 'memory-lane':
      return [...offset, String(second)];
    default:
      return [number(first)];
  }
}

/** A kernel's code in WebAssembly's text format, one instruction per line. */
export function formatWat(kernel: Kernel, fused: boolean): string {
  const constants = new Constants();
  const { code, locals } = assemble(kernel, fused, constants);
  const lines = [
    `;; ${kernel.summary}`,
    ...constants.values.map((value, i) => `(global (;${i};) (mut f32) (f32.const ${number(value)}))`),
    `(func $${kernel.name} (export "${kernel.name}")`,
    ...kernel.parameters.map(({ type }, i) => `  (param $${kernel.parameterNames[i]} ${wasmType(type)})`),
    `  (local ${locals.join(' ')})`,
  ];
  const isLocal = (name: Mnemonic): boolean => name.startsWith('local.');
  let depth = 1;
  code.names.forEach((name, i) => {
    if (name === 'end' || name === 'else') depth--;
    const [first, second] = [code.first[i]!, code.second[i]!];
    const parameter = isLocal(name) ? kernel.parameterNames[first] : undefined;
    const immediates =
      parameter === undefined ? immediateWords(instructions[name][1], first, second) : [`$${parameter}`];
    const words = [name, ...immediates];
    lines.push(`${'  '.repeat(depth)}${words.join(' ')}`);
    if (name === 'block' || name === 'loop' || name === 'if' || name === 'else') depth++;
  });
  return `${lines.join('\n')})\n`;
}
