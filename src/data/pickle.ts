/**
 * Reads the pickles of CIFAR's python archives: protocol 2, as Python 2 wrote dictionaries of strings, lists and one
 * NumPy array of bytes. Builds plain data and executes nothing: the three names that a NumPy array needs are tokens;
 * all other names and opcodes are errors.
 * Opcodes: Python's `pickletools`; arrays: NumPy's `_reconstruct` with state (version, shape, dtype, order, bytes).
 */
import { DataError } from '../errors.ts';
import type { Parser } from './byte-parser.ts';

/** A name in the pickle with its call arguments and state, as data. */
export class PickleObject {
  readonly name: string;
  readonly args: PickleValue | undefined;
  state: PickleValue | undefined;
  constructor(name: string, args?: PickleValue) {
    this.name = name;
    this.args = args;
  }
}

/** Lists and tuples become arrays. A Uint8Array is the target that received the pickle's large string. */
export type PickleValue =
  | null
  | boolean
  | number
  | string
  | Uint8Array
  | readonly PickleValue[]
  | ReadonlyMap<string, PickleValue>
  | PickleObject;

const knownNames: ReadonlySet<string> = new Set([
  'numpy.core.multiarray _reconstruct',
  'numpy._core.multiarray _reconstruct',
  'numpy ndarray',
  'numpy dtype',
]);

const mark: unique symbol = Symbol('mark');
type StackValue = PickleValue | typeof mark;

/** The machine that a pickle is a program for: opcodes push values, combine those on the stack, and fill the memo. */
class PickleMachine {
  readonly #target: Uint8Array;
  readonly #file: string;
  readonly #stack: StackValue[] = [];
  readonly #memo = new Map<number, PickleValue>();
  #targetUsed = false;

  constructor(target: Uint8Array, file: string) {
    this.#target = target;
    this.#file = file;
  }

  corrupt(what: string): DataError {
    return new DataError(
      `${this.#file} is not a pickle of the official python archive: ${what}; download it again`,
    );
  }

  push(value: StackValue): void {
    this.#stack.push(value);
  }

  pop(): PickleValue {
    const value = this.#stack.pop();
    if (value === undefined || value === mark) throw this.corrupt('its stack is empty');
    return value;
  }

  popPair(): [PickleValue, PickleValue] {
    const second = this.pop();
    return [this.pop(), second];
  }

  popToMark(): PickleValue[] {
    const start = this.#stack.lastIndexOf(mark);
    if (start < 0) throw this.corrupt('a mark is missing');
    return this.#stack.splice(start).slice(1) as PickleValue[];
  }

  #top(): PickleValue {
    const value = this.pop();
    this.push(value);
    return value;
  }

  append(values: readonly PickleValue[]): void {
    const list = this.#top();
    if (!Array.isArray(list)) throw this.corrupt('it appends to something that is not a list');
    for (const value of values) (list as PickleValue[]).push(value);
  }

  setItems(items: readonly PickleValue[]): void {
    const map = this.#top();
    if (!(map instanceof Map) || items.length % 2 !== 0)
      throw this.corrupt('it sets items of something that is not a dictionary');
    for (let i = 0; i < items.length; i += 2) {
      const key = items[i];
      if (typeof key !== 'string') throw this.corrupt('a dictionary key is not a string');
      (map as Map<string, PickleValue>).set(key, items[i + 1]!);
    }
  }

  memoize(index: number): void {
    this.#memo.set(index, this.#top());
  }

  recall(index: number): void {
    const value = this.#memo.get(index);
    if (value === undefined) throw this.corrupt(`it recalls value ${index}, which it never stored`);
    this.push(value);
  }

  /** The target, if it can receive a string of this length: only once, and only one that fills it. */
  claimTarget(length: number): Uint8Array {
    const expected = this.#target.length;
    if (this.#targetUsed || length !== expected) {
      throw this.corrupt(
        `it contains ${this.#targetUsed ? 'a second string' : 'a string'} of ${length} bytes; ` +
          (expected === 0 ? 'expected none' : `expected one of ${expected} bytes of pixels`),
      );
    }
    this.#targetUsed = true;
    return this.#target;
  }

  call(): void {
    const [callee, args] = this.popPair();
    if (!(callee instanceof PickleObject) || callee.args !== undefined)
      throw this.corrupt('it calls a value');
    this.push(new PickleObject(callee.name, args));
  }

  setState(): void {
    const [object, state] = this.popPair();
    if (!(object instanceof PickleObject)) throw this.corrupt('it sets the state of a value');
    object.state = state;
    this.push(object);
  }

  result(): PickleValue {
    const value = this.pop();
    if (this.#stack.length > 0) throw this.corrupt('it ends with unused values');
    return value;
  }
}

/** Opcodes that use only the stack. */
const stackOpcodes = new Map<string, (machine: PickleMachine) => void>([
  ['(', (machine) => machine.push(mark)],
  ['N', (machine) => machine.push(null)],
  ['\x88', (machine) => machine.push(true)],
  ['\x89', (machine) => machine.push(false)],
  [']', (machine) => machine.push([])],
  ['}', (machine) => machine.push(new Map())],
  [')', (machine) => machine.push([])],
  ['t', (machine) => machine.push(machine.popToMark())],
  ['\x85', (machine) => machine.push([machine.pop()])],
  ['\x86', (machine) => machine.push(machine.popPair())],
  [
    '\x87',
    (machine) => {
      const [second, third] = machine.popPair();
      machine.push([machine.pop(), second, third]);
    },
  ],
  ['a', (machine) => machine.append([machine.pop()])],
  ['e', (machine) => machine.append(machine.popToMark())],
  ['s', (machine) => machine.setItems(machine.popPair())],
  ['u', (machine) => machine.setItems(machine.popToMark())],
  ['R', (machine) => machine.call()],
  ['b', (machine) => machine.setState()],
]);

/**
 * Reads a pickle. Its only string of 256 bytes or more must have `target`'s length and is written to it.
 * @throws DataError that names `file`.
 */
export function* unpickle(target: Uint8Array, file: string): Parser<PickleValue> {
  const machine = new PickleMachine(target, file);
  for (;;) {
    const opcode = String.fromCharCode((yield 1)[0]!);
    if (opcode === '.') return machine.result();
    const step = stackOpcodes.get(opcode);
    if (step) step(machine);
    else yield* stepWithArgument(opcode, machine);
  }
}

/** Runs an opcode that is followed by bytes. */
function* stepWithArgument(opcode: string, machine: PickleMachine): Parser<void> {
  switch (opcode) {
    case '\x80': {
      const protocol = (yield 1)[0]!;
      if (protocol !== 2) throw machine.corrupt(`its protocol is ${protocol}, not 2`);
      break;
    }
    case 'K':
      machine.push((yield 1)[0]!);
      break;
    case 'M':
      machine.push(unsigned(yield 2));
      break;
    case 'J':
      machine.push(unsigned(yield 4) | 0);
      break;
    case 'U':
      machine.push(latin1(yield (yield 1)[0]!));
      break;
    case 'X': {
      const length = unsigned(yield 4);
      if (length > 4096) throw machine.corrupt(`it contains a string of ${length} bytes`);
      machine.push(new TextDecoder().decode(yield length));
      break;
    }
    case 'T': {
      const target = machine.claimTarget(unsigned(yield 4));
      yield target;
      machine.push(target);
      break;
    }
    case 'q':
      machine.memoize((yield 1)[0]!);
      break;
    case 'r':
      machine.memoize(unsigned(yield 4));
      break;
    case 'h':
      machine.recall((yield 1)[0]!);
      break;
    case 'j':
      machine.recall(unsigned(yield 4));
      break;
    case 'c': {
      const name = `${yield* line(machine)} ${yield* line(machine)}`;
      if (!knownNames.has(name)) {
        throw machine.corrupt(`it refers to "${name}", which is not allowed`);
      }
      machine.push(new PickleObject(name));
      break;
    }
    default: {
      const code = opcode.charCodeAt(0).toString(16).padStart(2, '0');
      throw machine.corrupt(`it contains the opcode 0x${code}`);
    }
  }
}

/** Reads a name up to the end of its line. */
function* line(machine: PickleMachine): Parser<string> {
  let name = '';
  for (;;) {
    const byte = (yield 1)[0]!;
    if (byte === 10) return name;
    if (name.length === 256) throw machine.corrupt('a name is longer than 256 bytes');
    name += String.fromCharCode(byte);
  }
}

/** Requires a dictionary, the top-level value of every CIFAR pickle. */
export function dictionary(value: PickleValue, file: string): ReadonlyMap<string, PickleValue> {
  if (value instanceof Map) return value as ReadonlyMap<string, PickleValue>;
  throw new DataError(`${file} is not a dictionary, as in the official python archive; download it again`);
}

/**
 * Checks that `value` is a NumPy array of bytes with `shape` whose bytes are `target`. Reorders them to row-major order
 * if the array is in column-major (Fortran) order.
 */
export function checkByteArray(
  value: PickleValue | undefined,
  target: Uint8Array,
  shape: readonly [rows: number, columns: number],
  file: string,
): void {
  const expected = `a NumPy array of uint8 [${shape.join(', ')}]`;
  const state =
    value instanceof PickleObject && value.name.endsWith('_reconstruct') ? value.state : undefined;
  if (!Array.isArray(state) || state.length !== 5) {
    throw new DataError(`${file}: "data" is not a NumPy array; expected ${expected}`);
  }
  const [, stored, dtype, fortran, bytes] = state as readonly PickleValue[];
  const code =
    dtype instanceof PickleObject && dtype.name === 'numpy dtype' && Array.isArray(dtype.args)
      ? (dtype.args[0] as PickleValue | undefined)
      : undefined;
  const type = typeof code === 'string' ? code : 'unknown';
  // Only lists of numbers: the text of a list that contains itself would be unbounded.
  const sides =
    Array.isArray(stored) && stored.every((side) => typeof side === 'number') ? stored.join(', ') : 'unknown';
  if (type !== 'u1' || sides !== shape.join(', ') || bytes !== target) {
    throw new DataError(
      `${file}: "data" is a NumPy array of type ${type} and shape [${sides}]; expected ${expected}`,
    );
  }
  if (fortran === true) {
    const [rows, columns] = shape;
    const columnMajor = target.slice();
    for (let row = 0; row < rows; row++) {
      for (let column = 0; column < columns; column++) {
        target[row * columns + column] = columnMajor[column * rows + row]!;
      }
    }
  }
}

function latin1(bytes: Uint8Array): string {
  let result = '';
  for (const byte of bytes) result += String.fromCharCode(byte);
  return result;
}

/** Little-endian, up to 4 bytes. */
function unsigned(bytes: Uint8Array): number {
  return bytes.reduceRight((value, byte) => value * 256 + byte, 0);
}
