/**
 * WebAssembly's instructions, encoded as the bytes of a module and as text. It knows nothing of kernels: `wasm.ts` chooses
 * the instructions.
 */

export type WasmType = 'i32' | 'f32' | 'v128';

/** How an instruction's immediates are written: as bytes, and as words of text. */
interface Encoding {
  write(bytes: Bytes, first: number, second: number): void;
  words(first: number, second: number): string[];
}

/** A number in the text format. */
const number = (value: number): string =>
  Object.is(value, -0) ? '-0' : String(value).replace('Infinity', 'inf').replace('NaN', 'nan');

/** The octal digits of four lanes: 0o0415 are lanes 0 and 1 of each of two vectors, by turns. */
const lanesOf = (digits: number): number[] => [9, 6, 3, 0].map((shift) => (digits >> shift) & 7);

const offsetWords = (offset: number): string[] => (offset === 0 ? [] : [`offset=${offset}`]);

const encodings = {
  plain: { write: () => {}, words: () => [] },
  index: { write: (bytes, index) => bytes.unsigned(index), words: (index) => [number(index)] },
  block: { write: (bytes) => bytes.push(0x40), words: () => [] },
  i32: { write: (bytes, value) => bytes.signed(value | 0), words: (value) => [number(value)] },
  f32: { write: (bytes, value) => bytes.float(value), words: (value) => [number(value)] },
  // One float in all lanes.
  v128: {
    write: (bytes, value) => [0, 1, 2, 3].forEach(() => void bytes.float(value)),
    words: (value) => ['f32x4', ...[0, 1, 2, 3].map(() => number(value))],
  },
  memory: { write: (bytes, offset) => bytes.append([0]).unsigned(offset), words: offsetWords },
  // Four of the eight 32-bit lanes of two vectors, an octal digit each.
  lanes: {
    write: (bytes, digits) =>
      bytes.append(lanesOf(digits).flatMap((lane) => [0, 1, 2, 3].map((i) => 4 * lane + i))),
    words: (digits) => lanesOf(digits).flatMap((lane) => [0, 1, 2, 3].map((i) => number(4 * lane + i))),
  },
  lane: { write: (bytes, lane) => bytes.push(lane), words: (lane) => [number(lane)] },
  memoryLane: {
    write: (bytes, offset, lane) => bytes.append([0]).unsigned(offset).push(lane),
    words: (offset, lane) => [...offsetWords(offset), number(lane)],
  },
} satisfies Record<string, Encoding>;

/** Opcodes by the encoding of their immediates; those of SIMD follow the prefix fd. */
// biome-ignore format: a table
const opcodes = {
  plain: {
    else: 0x05, end: 0x0b, select: 0x1b,
    'i32.ne': 0x47, 'i32.gt_s': 0x4a, 'i32.add': 0x6a, 'i32.sub': 0x6b, 'i32.mul': 0x6c, 'i32.div_s': 0x6d,
    'i32.or': 0x72, 'i32.shl': 0x74,
    'f32.ne': 0x5c, 'f32.lt': 0x5d, 'f32.gt': 0x5e, 'f32.sqrt': 0x91, 'f32.add': 0x92, 'f32.sub': 0x93,
    'f32.mul': 0x94, 'f32.div': 0x95, 'f32.convert_i32_s': 0xb2,
    'v128.and': 0xfd_04e, 'v128.or': 0xfd_050, 'v128.xor': 0xfd_051, 'v128.bitselect': 0xfd_052,
    'i8x16.narrow_i16x8_u': 0xfd_066, 'i16x8.narrow_i32x4_u': 0xfd_086, 'i16x8.extend_low_i8x16_u': 0xfd_089,
    'i16x8.extend_high_i8x16_u': 0xfd_08a, 'i32x4.extend_low_i16x8_u': 0xfd_0a9,
    'i32x4.extend_high_i16x8_u': 0xfd_0aa, 'i32x4.splat': 0xfd_011, 'i32x4.shr_s': 0xfd_0ac, 'i32x4.add': 0xfd_0ae,
    'i32x4.sub': 0xfd_0b1, 'i32x4.mul': 0xfd_0b5, 'i32x4.dot_i16x8_s': 0xfd_0ba,
    'f32x4.splat': 0xfd_013, 'f32x4.ne': 0xfd_042, 'f32x4.gt': 0xfd_044, 'f32x4.sqrt': 0xfd_0e3,
    'f32x4.add': 0xfd_0e4, 'f32x4.sub': 0xfd_0e5, 'f32x4.mul': 0xfd_0e6, 'f32x4.div': 0xfd_0e7,
    'i64x2.extmul_low_i32x4_u': 0xfd_0de, 'i64x2.extmul_high_i32x4_u': 0xfd_0df,
    'f64x2.add': 0xfd_0f0, 'f64x2.mul': 0xfd_0f2, 'f64x2.convert_low_i32x4_u': 0xfd_0ff,
    'f32x4.demote_f64x2_zero': 0xfd_05e,
    'f32x4.pmax': 0xfd_0eb, 'f32x4.convert_i32x4_s': 0xfd_0fa,
    'f32x4.relaxed_madd': 0xfd_105, 'f32x4.relaxed_nmadd': 0xfd_106,
  },
  block: { loop: 0x03, if: 0x04 },
  index: { br_if: 0x0d, 'local.get': 0x20, 'local.set': 0x21, 'local.tee': 0x22, 'global.get': 0x23 },
  i32: { 'i32.const': 0x41 },
  f32: { 'f32.const': 0x43 },
  v128: { 'v128.const': 0xfd_00c },
  memory: {
    'i32.load': 0x28, 'f32.load': 0x2a, 'i32.load8_u': 0x2d, 'i32.store': 0x36, 'f32.store': 0x38,
    'v128.load': 0xfd_000, 'v128.load8x8_u': 0xfd_002, 'v128.load32_splat': 0xfd_009, 'v128.load32_zero': 0xfd_05c, 'v128.load64_splat': 0xfd_00a,
    'v128.store': 0xfd_00b,
  },
  lane: { 'f32x4.extract_lane': 0xfd_01f },
  lanes: { 'i8x16.shuffle': 0xfd_00d },
  memoryLane: { 'v128.store8_lane': 0xfd_058, 'v128.store32_lane': 0xfd_05a, 'v128.store64_lane': 0xfd_05b },
} as const;

type Opcodes = typeof opcodes;
export type Mnemonic = { [E in keyof Opcodes]: keyof Opcodes[E] }[keyof Opcodes];

const instructions = Object.fromEntries(
  (Object.keys(opcodes) as (keyof Opcodes)[]).flatMap((encoding) =>
    Object.entries(opcodes[encoding]).map(([name, opcode]) => [
      name,
      { opcode, encoding: encodings[encoding] },
    ]),
  ),
) as Readonly<Record<Mnemonic, { readonly opcode: number; readonly encoding: Encoding }>>;

/** Instructions: the mnemonic and the immediates of each. Lists of numbers, because a module has many thousands. */
export class Code {
  readonly #names: Mnemonic[] = [];
  readonly #immediates: number[] = [];

  add(name: Mnemonic, first = 0, second = 0): void {
    this.#names.push(name);
    this.#immediates.push(first, second);
  }

  forEach(body: (name: Mnemonic, first: number, second: number) => void): void {
    this.#names.forEach((name, i) => void body(name, this.#immediates[2 * i]!, this.#immediates[2 * i + 1]!));
  }
}

/** An exported function without results. */
export interface WasmFunction {
  readonly name: string;
  readonly summary: string;
  readonly parameters: readonly { readonly name: string; readonly type: WasmType }[];
  /** The types of the locals after the parameters. */
  readonly locals: readonly WasmType[];
  /** In parts, one after the other. */
  readonly code: readonly Code[];
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

  append(bytes: ArrayLike<number>): this {
    if (this.length + bytes.length > this.#bytes.length) this.#grow(bytes.length);
    this.#bytes.set(bytes, this.length);
    this.length += bytes.length;
    return this;
  }

  /** Variable-length integers (LEB128). */
  unsigned(value: number): this {
    for (; value > 0x7f; value >>>= 7) this.push((value & 0x7f) | 0x80);
    this.push(value);
    return this;
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

  instruction(name: Mnemonic, first = 0, second = 0): void {
    const { opcode, encoding } = instructions[name];
    if (opcode > 0xff) this.append([0xfd]).unsigned(opcode & 0xfff);
    else this.push(opcode);
    encoding.write(this, first, second);
  }

  #grow(room: number): void {
    const larger = new Uint8Array(2 * (this.length + room));
    larger.set(this.view);
    this.#bytes = larger;
  }
}

const typeCode = { i32: 0x7f, f32: 0x7d, v128: 0x7b } as const;

/** Pages of 64 KiB in 4 GiB. */
const maximumPages = 65_536;

/**
 * The bytes of a module that imports a memory (`env.memory`) and exports each function by its name. Its globals are floats
 * with these values, mutable so that engines do not turn them back into constants.
 */
export function encodeModule(
  functions: readonly WasmFunction[],
  globals: readonly number[],
  shared: boolean,
): Uint8Array<ArrayBuffer> {
  const module = new Bytes();
  const section = <T>(
    id: number,
    items: readonly T[],
    write: (bytes: Bytes, item: T, i: number) => void,
  ): void => {
    const content = new Bytes();
    content.unsigned(items.length);
    items.forEach((item, i) => void write(content, item, i));
    module.push(id);
    module.sized(content.view);
  };
  module.append([0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00]);
  // Types, one for each function; the imported memory.
  section(1, functions, (bytes, { parameters }) => {
    bytes.push(0x60);
    bytes.unsigned(parameters.length);
    for (const { type } of parameters) bytes.push(typeCode[type]);
    bytes.push(0);
  });
  section(2, [maximumPages], (bytes, pages) => {
    bytes.text('env');
    bytes.text('memory');
    bytes.append([0x02, shared ? 0x03 : 0x01, 0]);
    bytes.unsigned(pages);
  });
  // Functions, by their types; globals; exports; code.
  section(3, functions, (bytes, _, i) => void bytes.unsigned(i));
  section(6, globals, (bytes, value) => {
    bytes.append([typeCode.f32, 0x01]);
    bytes.instruction('f32.const', value);
    bytes.instruction('end');
  });
  section(7, functions, (bytes, { name }, i) => {
    bytes.text(name);
    bytes.push(0x00);
    bytes.unsigned(i);
  });
  section(10, functions, (bytes, { locals, code }) => {
    const body = new Bytes();
    body.unsigned(locals.length);
    for (const type of locals) body.append([1, typeCode[type]]);
    for (const part of code)
      part.forEach((name, first, second) => void body.instruction(name, first, second));
    body.instruction('end');
    bytes.sized(body.view);
  });
  return module.view.slice();
}

/** A function in the text format, one instruction per line, behind the globals. */
export function formatFunction(
  { name, summary, parameters, locals, code }: WasmFunction,
  globals: readonly number[],
): string {
  const lines = [
    `;; ${summary}`,
    ...globals.map((value, i) => `(global (;${i};) (mut f32) (f32.const ${number(value)}))`),
    `(func $${name} (export "${name}")`,
    ...parameters.map((parameter) => `  (param $${parameter.name} ${parameter.type})`),
    `  (local ${locals.join(' ')})`,
  ];
  let depth = 1;
  for (const part of code) {
    part.forEach((mnemonic, first, second) => {
      if (mnemonic === 'end' || mnemonic === 'else') depth--;
      const parameter = mnemonic.startsWith('local.') ? parameters[first] : undefined;
      const words = parameter ? [`$${parameter.name}`] : instructions[mnemonic].encoding.words(first, second);
      lines.push(`${'  '.repeat(depth)}${[mnemonic, ...words].join(' ')}`);
      if (/^(loop|if|else)$/.test(mnemonic)) depth++;
    });
  }
  return `${lines.join('\n')})\n`;
}
