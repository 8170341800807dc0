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

/**
 * Reads a pickle. Its only string of 256 bytes or more must have `target`'s length and is written to it.
 * @throws DataError that names `file`.
 */
export function* unpickle(target: Uint8Array, file: string): Parser<PickleValue> {
  const stack: StackValue[] = [];
  const memo = new Map<number, PickleValue>();
  let targetUsed = false;

  const corrupt = (what: string): DataError =>
    new DataError(`${file} is not a pickle of the official python archive: ${what}; download it again`);
  const pop = (): PickleValue => {
    const value = stack.pop();
    if (value === undefined || value === mark) throw corrupt('its stack is empty');
    return value;
  };
  const popToMark = (): PickleValue[] => {
    const start = stack.lastIndexOf(mark);
    if (start < 0) throw corrupt('a mark is missing');
    return (stack.splice(start) as (typeof mark | PickleValue)[]).slice(1) as PickleValue[];
  };
  const top = (): PickleValue => {
    const value = pop();
    stack.push(value);
    return value;
  };
  const append = (values: readonly PickleValue[]): void => {
    const list = top();
    if (!Array.isArray(list)) throw corrupt('it appends to something that is not a list');
    for (const value of values) (list as PickleValue[]).push(value);
  };
  const setItems = (items: readonly PickleValue[]): void => {
    const map = top();
    if (!(map instanceof Map) || items.length % 2 !== 0)
      throw corrupt('it sets items of something that is not a dictionary');
    for (let i = 0; i < items.length; i += 2) {
      const key = items[i];
      if (typeof key !== 'string') throw corrupt('a dictionary key is not a string');
      (map as Map<string, PickleValue>).set(key, items[i + 1]!);
    }
  };
  const recall = (index: number): PickleValue => {
    const value = memo.get(index);
    if (value === undefined) throw corrupt(`it recalls value ${index}, which it never stored`);
    return value;
  };
  const pairOf = (): [PickleValue, PickleValue] => {
    const second = pop();
    return [pop(), second];
  };

  for (;;) {
    const opcode = (yield 1)[0]!;
    switch (String.fromCharCode(opcode)) {
      case '\x80': {
        const protocol = (yield 1)[0]!;
        if (protocol !== 2) throw corrupt(`its protocol is ${protocol}, not 2`);
        break;
      }
      case '.': {
        const value = pop();
        if (stack.length > 0) throw corrupt('it ends with unused values');
        return value;
      }
      case '(':
        stack.push(mark);
        break;
      case 'N':
        stack.push(null);
        break;
      case '\x88':
        stack.push(true);
        break;
      case '\x89':
        stack.push(false);
        break;
      case 'K':
        stack.push((yield 1)[0]!);
        break;
      case 'M':
        stack.push(unsigned(yield 2));
        break;
      case 'J':
        stack.push(unsigned(yield 4) | 0);
        break;
      case 'U':
        stack.push(latin1(yield (yield 1)[0]!));
        break;
      case 'X': {
        const length = unsigned(yield 4);
        if (length > 4096) throw corrupt(`it contains a string of ${length} bytes`);
        stack.push(new TextDecoder().decode(yield length));
        break;
      }
      case 'T': {
        const length = unsigned(yield 4);
        if (targetUsed || length !== target.length) {
          throw corrupt(
            `it contains ${targetUsed ? 'a second string' : 'a string'} of ${length} bytes; ` +
              (target.length === 0 ? 'expected none' : `expected one of ${target.length} bytes of pixels`),
          );
        }
        targetUsed = true;
        yield target;
        stack.push(target);
        break;
      }
      case ']':
        stack.push([]);
        break;
      case '}':
        stack.push(new Map());
        break;
      case ')':
        stack.push([]);
        break;
      case 't':
        stack.push(popToMark());
        break;
      case '\x85':
        stack.push([pop()]);
        break;
      case '\x86':
        stack.push(pairOf());
        break;
      case '\x87': {
        const [second, third] = pairOf();
        stack.push([pop(), second, third]);
        break;
      }
      case 'a':
        append([pop()]);
        break;
      case 'e':
        append(popToMark());
        break;
      case 's':
        setItems(pairOf());
        break;
      case 'u':
        setItems(popToMark());
        break;
      case 'q':
        memo.set((yield 1)[0]!, top());
        break;
      case 'r':
        memo.set(unsigned(yield 4), top());
        break;
      case 'h':
        stack.push(recall((yield 1)[0]!));
        break;
      case 'j':
        stack.push(recall(unsigned(yield 4)));
        break;
      case 'c': {
        const name = `${yield* line()} ${yield* line()}`;
        if (!knownNames.has(name)) {
          throw corrupt(`it refers to "${name}", which is not allowed`);
        }
        stack.push(new PickleObject(name));
        break;
      }
      case 'R': {
        const [callee, args] = pairOf();
        if (!(callee instanceof PickleObject) || callee.args !== undefined) throw corrupt('it calls a value');
        stack.push(new PickleObject(callee.name, args));
        break;
      }
      case 'b': {
        const [object, state] = pairOf();
        if (!(object instanceof PickleObject)) throw corrupt('it sets the state of a value');
        object.state = state;
        stack.push(object);
        break;
      }
      default:
        throw corrupt(`it contains the opcode 0x${opcode.toString(16).padStart(2, '0')}`);
    }
  }

  /** Reads a name up to the end of its line. */
  function* line(): Parser<string> {
    let name = '';
    for (;;) {
      const byte = (yield 1)[0]!;
      if (byte === 10) return name;
      if (name.length === 256) throw corrupt('a name is longer than 256 bytes');
      name += String.fromCharCode(byte);
    }
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
