/**
 * Reads the pickles in PyTorch's files as data (protocols 2 to 5). A pickle is a program for a stack machine; this one
 * runs a closed list of opcodes, without recursion, within the limits below. Source: Python's `pickletools`.
 */
import { calledWith, globalOf, stateIsDropped, storageOf } from './globals.ts';
import { Inert, invalid, PickleDict, type PickleValue, type StorageRecord } from './values.ts';

/** The most bytes of a pickle, opcodes, entries of the memo, open marks, bytes of a text, and of all kept ones. */
export const pickleLimits: Readonly<
  Record<'bytes' | 'opcodes' | 'memo' | 'marks' | 'text' | 'texts', number>
> = {
  bytes: 64 * 2 ** 20,
  opcodes: 1_000_000,
  memo: 1_000_000,
  marks: 256,
  text: 65_536,
  texts: 8 * 2 ** 20,
};
/** Longer texts are not kept: no name or key of ours is that long. */
const longestKept = 1024;
const longestName = 256;
/** Bytes of a whole number; PyTorch's magic number has 10. */
const longestNumber = 64;

/** The bytes ended before the pickle did: there may be more in the file. */
export class OutOfBytes extends Error {
  override name = 'OutOfBytes';
}

/** What pickles of one file have in common: what is left of limits, and the storages that they name. */
export class PickleContext {
  opcodesLeft: number = pickleLimits.opcodes;
  textLeft: number = pickleLimits.texts;
  readonly storages: Map<string, StorageRecord> = new Map();
}

class PickleMachine {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly context: PickleContext;
  readonly #stack: PickleValue[] = [];
  /** Heights of the stack. */
  readonly #marks: number[] = [];
  readonly #memo: PickleValue[] = [];
  #at: number;

  constructor(bytes: Uint8Array, at: number, context: PickleContext) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#at = at;
    this.context = context;
  }

  get at(): number {
    return this.#at;
  }

  /** Counts work like opcodes. */
  readonly #spend = (steps: number): void => {
    this.context.opcodesLeft -= steps;
    if (this.context.opcodesLeft < 0)
      throw invalid(`its pickle has more than ${pickleLimits.opcodes} opcodes`);
  };

  #spendText(length: number): void {
    this.context.textLeft -= length;
    if (this.context.textLeft < 0)
      throw invalid(`its pickle has more than ${pickleLimits.texts} bytes of text`);
  }

  /** Moves behind the next `count` bytes and returns where they begin. */
  skip(count: number): number {
    const at = this.#at;
    if (at + count > this.#bytes.length) throw new OutOfBytes();
    this.#at = at + count;
    return at;
  }

  byte = (): number => this.#bytes[this.skip(1)]!;
  uint16 = (): number => this.#view.getUint16(this.skip(2), true);
  int32 = (): number => this.#view.getInt32(this.skip(4), true);
  uint32 = (): number => this.#view.getUint32(this.skip(4), true);
  float64 = (): number => this.#view.getFloat64(this.skip(8), false);
  /** A length; one beyond all limits is Infinity. */
  uint64 = (): number => {
    const value = this.#view.getBigUint64(this.skip(8), true);
    return value > BigInt(2 ** 32) ? Number.POSITIVE_INFINITY : Number(value);
  };

  #text(length: number, most: number, decoder: TextDecoder): string {
    if (length > most) throw invalid(`its pickle has a text of ${length} bytes, above the limit of ${most}`);
    const at = this.skip(length);
    this.#spendText(length);
    try {
      return decoder.decode(this.#bytes.subarray(at, at + length));
    } catch {
      throw invalid('its pickle has a text that is not UTF-8');
    }
  }

  /** Pushes a text, or bytes. */
  pushText(length: number, decoder: TextDecoder): void {
    if (length > longestKept && length <= pickleLimits.text) {
      this.skip(length);
      this.push(new Inert('str'));
    } else this.push(this.#text(length, pickleLimits.text, decoder));
  }

  /** The text up to the end of the line. */
  line(): string {
    const end = this.#bytes.subarray(this.#at, this.#at + longestName + 1).indexOf(10);
    if (end >= 0) {
      const text = this.#text(end, longestName, utf8);
      this.skip(1);
      return text;
    }
    if (this.#bytes.length - this.#at <= longestName) throw new OutOfBytes();
    throw invalid(`its pickle has a name of more than ${longestName} bytes`);
  }

  /** A signed whole number of `length` bytes, little-endian. */
  whole(length: number): number | bigint {
    if (length > longestNumber) throw invalid(`its pickle has a number of ${length} bytes`);
    const at = this.skip(length);
    let value = 0n;
    for (let i = length - 1; i >= 0; i--) value = (value << 8n) | BigInt(this.#bytes[at + i]!);
    value = BigInt.asIntN(8 * length, value);
    return Number.isSafeInteger(Number(value)) ? Number(value) : value;
  }

  push(value: PickleValue): void {
    this.#stack.push(value);
  }

  pop(): PickleValue {
    if (this.#stack.length <= (this.#marks.at(-1) ?? 0))
      throw invalid('its pickle takes a value that is not there');
    return this.#stack.pop()!;
  }

  top(): PickleValue {
    const value = this.pop();
    this.push(value);
    return value;
  }

  mark(): void {
    if (this.#marks.length === pickleLimits.marks)
      throw invalid(`its pickle is nested more than ${pickleLimits.marks} deep`);
    this.#marks.push(this.#stack.length);
  }

  popToMark(): PickleValue[] {
    const start = this.#marks.pop();
    if (start === undefined) throw invalid('its pickle has no mark where one is needed');
    return this.#stack.splice(start);
  }

  popTuple(length: number): PickleValue[] {
    const values = Array.from({ length }, () => this.pop());
    return values.reverse();
  }

  append(values: readonly PickleValue[]): void {
    const list = this.top();
    if (list instanceof Inert) return;
    if (!Array.isArray(list)) throw invalid('its pickle appends to something that is not a list');
    for (const value of values) list.push(value);
  }

  setItems(items: readonly PickleValue[]): void {
    const dict = this.top();
    if (items.length % 2 !== 0) throw invalid('its pickle has a key without a value');
    if (dict instanceof Inert) return;
    if (!(dict instanceof PickleDict))
      throw invalid('its pickle sets items of something that is not a dictionary');
    dict.add(items);
  }

  memoize(index: number = this.#memo.length): void {
    if (index >= pickleLimits.memo)
      throw invalid(`its pickle has memo ${index}, above the limit of ${pickleLimits.memo}`);
    this.#memo[index] = this.top();
  }

  recall(index: number): void {
    const value = this.#memo[index];
    if (value === undefined) throw invalid(`its pickle recalls value ${index}, which it never stored`);
    this.push(value);
  }

  call(): void {
    const [callee, args] = this.popTuple(2) as [PickleValue, PickleValue];
    this.push(calledWith(callee, args, this.#spend));
  }

  build(): void {
    this.pop();
    if (!stateIsDropped(this.top())) throw invalid('its pickle sets the state of a value');
  }

  pushGlobal(module: PickleValue, name: PickleValue): void {
    if (typeof module !== 'string' || typeof name !== 'string')
      throw invalid('its pickle has a name that is no text');
    // Joined anew each time, also from texts that are stored once.
    this.#spendText(module.length + name.length);
    this.push(globalOf(module, name));
  }

  run(): PickleValue {
    for (;;) {
      const opcode = this.byte();
      this.#spend(1);
      if (opcode === stop) break;
      const step = opcodes[opcode];
      if (!step) throw invalid(`its pickle has the opcode 0x${opcode.toString(16).padStart(2, '0')}`);
      step(this);
    }
    const value = this.pop();
    if (this.#stack.length > 0 || this.#marks.length > 0) throw invalid('its pickle ends with unused values');
    return value;
  }
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
const latin1 = new TextDecoder('latin1');
const stop = 0x2e;

type Step = (machine: PickleMachine) => void;
const table: Readonly<Record<number, Step>> = {
  // PROTO, FRAME: a frame only says how many bytes to read at a time.
  128: (m) => {
    const protocol = m.byte();
    if (protocol > 5) throw invalid(`its pickle has protocol ${protocol}`);
  },
  149: (m) => void m.skip(8),
  // MARK, POP, POP_MARK, DUP
  40: (m) => m.mark(),
  48: (m) => void m.pop(),
  49: (m) => void m.popToMark(),
  50: (m) => m.push(m.top()),
  // NONE, NEWTRUE, NEWFALSE
  78: (m) => m.push(null),
  136: (m) => m.push(true),
  137: (m) => m.push(false),
  // BININT, BININT1, BININT2, LONG1, LONG4, BINFLOAT
  74: (m) => m.push(m.int32()),
  75: (m) => m.push(m.byte()),
  77: (m) => m.push(m.uint16()),
  138: (m) => m.push(m.whole(m.byte())),
  139: (m) => m.push(m.whole(m.uint32())),
  71: (m) => m.push(m.float64()),
  // BINUNICODE, SHORT_BINUNICODE, BINUNICODE8
  88: (m) => m.pushText(m.uint32(), utf8),
  140: (m) => m.pushText(m.byte(), utf8),
  141: (m) => m.pushText(m.uint64(), utf8),
  // BINSTRING and SHORT_BINSTRING (Python 2), BINBYTES, SHORT_BINBYTES, BINBYTES8
  84: (m) => m.pushText(m.uint32(), latin1),
  85: (m) => m.pushText(m.byte(), latin1),
  66: (m) => m.pushText(m.uint32(), latin1),
  67: (m) => m.pushText(m.byte(), latin1),
  142: (m) => m.pushText(m.uint64(), latin1),
  // EMPTY_LIST, EMPTY_TUPLE, EMPTY_DICT, EMPTY_SET
  93: (m) => m.push([]),
  41: (m) => m.push([]),
  125: (m) => m.push(new PickleDict()),
  143: (m) => m.push([]),
  // LIST, TUPLE, TUPLE1, TUPLE2, TUPLE3, FROZENSET
  108: (m) => m.push(m.popToMark()),
  116: (m) => m.push(m.popToMark()),
  133: (m) => m.push(m.popTuple(1)),
  134: (m) => m.push(m.popTuple(2)),
  135: (m) => m.push(m.popTuple(3)),
  145: (m) => m.push(m.popToMark()),
  // APPEND, APPENDS, ADDITEMS, SETITEM, SETITEMS
  97: (m) => m.append([m.pop()]),
  101: (m) => m.append(m.popToMark()),
  144: (m) => m.append(m.popToMark()),
  115: (m) => m.setItems(m.popTuple(2)),
  117: (m) => m.setItems(m.popToMark()),
  // BINPUT, LONG_BINPUT, MEMOIZE, BINGET, LONG_BINGET
  113: (m) => m.memoize(m.byte()),
  114: (m) => m.memoize(m.uint32()),
  148: (m) => m.memoize(),
  104: (m) => m.recall(m.byte()),
  106: (m) => m.recall(m.uint32()),
  // GLOBAL, STACK_GLOBAL
  99: (m) => m.pushGlobal(m.line(), m.line()),
  147: (m) => {
    const [module, name] = m.popTuple(2) as [PickleValue, PickleValue];
    m.pushGlobal(module, name);
  },
  // REDUCE, NEWOBJ, NEWOBJ_EX, BUILD, BINPERSID
  82: (m) => m.call(),
  129: (m) => m.call(),
  146: (m) => {
    m.pop();
    m.call();
  },
  98: (m) => m.build(),
  81: (m) => m.push(storageOf(m.pop(), m.context.storages)),
};
const opcodes: readonly (Step | undefined)[] = Array.from({ length: 256 }, (_, opcode) => table[opcode]);

/**
 * Reads the pickle that begins at `at`; `end` is the byte behind it.
 * @throws OutOfBytes if `bytes` end first, DataError that names the problem.
 */
export function unpickle(
  bytes: Uint8Array,
  at: number,
  context: PickleContext,
): { readonly value: PickleValue; readonly end: number } {
  const machine = new PickleMachine(bytes, at, context);
  const value = machine.run();
  return { value, end: machine.at };
}
