/**
 * Prints kernels as C with the vector extensions of GCC and Clang. Pointers are byte addresses and offsets are held in
 * bytes, as in WebAssembly, so that both printers' kernels work on the same memory and on each other's data.
 *
 * `formatC` prints one kernel, `formatSources` a library: definitions of this machine's vectors, the kernels, and
 * `vggnet_run`, which runs a list of kernel calls.
 */
import type { Kernel, LoadForm, Operator, Statement, StatementOf, Type, Value } from './language.ts';
import { type Effect, type Print, Printer } from './printer.ts';

const types = { i32: 'int ', f32: 'float ', vector: 'v', mask: 'm', pointer: 'char *', offset: 'intptr_t ' };

const isVector = (type: Type): boolean => type === 'vector' || type === 'mask';

const declaration = ({ type, lanes }: Value, name: string): string =>
  `${types[type]}${isVector(type) ? `${lanes} ` : ''}${name}`;

function literal(type: Type, value: number): string {
  if (type === 'i32') return String(value);
  if (type === 'offset') return String(value * 4);
  if (Number.isNaN(value)) return '__builtin_nanf("")';
  if (!Number.isFinite(value)) return value > 0 ? '__builtin_inff()' : '-__builtin_inff()';
  const digits = Object.is(value, -0) ? '-0' : String(Math.fround(value));
  return /[.e]/.test(digits) ? `${digits}f` : `${digits}.0f`;
}

const signature = ({ name, parameters, parameterNames }: Kernel): string =>
  `void ${name}(${parameters.map((value, i) => declaration(value, parameterNames[i]!)).join(', ')})`;

/** An operator on operands, of which the vectors have `lanes`. */
type Form = (operands: readonly string[], lanes: number) => string;

const infix =
  (sign: string): Form =>
  ([a, b]) =>
    `(${a} ${sign} ${b})`;
const call =
  (name: string): Form =>
  (operands, lanes) =>
    `${name}${lanes}(${operands.join(', ')})`;
const both = (form: Form) => ({ scalar: form, vector: form });

const forms: Partial<Record<Operator, { readonly scalar?: Form; readonly vector?: Form }>> = {
  add: both(infix('+')),
  sub: both(infix('-')),
  mul: both(infix('*')),
  div: both(infix('/')),
  sqrt: { scalar: ([a]) => `__builtin_sqrtf(${a})`, vector: call('sqrt') },
  max: { scalar: ([a, b]) => `(${a} < ${b} ? ${b} : ${a})`, vector: call('max') },
  multiplyAdd: both(([sum, a, b]) => `(${sum} + ${a} * ${b})`),
  greater: { scalar: infix('>'), vector: call('greater') },
  unequal: { scalar: infix('!='), vector: call('unequal') },
  or: { scalar: infix('|'), vector: call('or') },
  select: { scalar: ([condition, yes, no]) => `(${condition} ? ${yes} : ${no})`, vector: call('select') },
  splat: { scalar: call('splat') },
  sum: { vector: call('sum') },
  halve: { vector: call('halve') },
  toFloat: { scalar: ([a]) => `(float)(${a})` },
  toOffset: { scalar: ([a]) => `((intptr_t)(${a}) * 4)` },
  scale: { scalar: infix('*') },
  advance: { scalar: infix('+') },
  advanceBytes: { scalar: infix('+') },
};

const loads: Readonly<Record<LoadForm, (place: string, at: number, lanes: number) => string>> = {
  vector: (place, at, lanes) => `load${lanes}(${place}, ${at})`,
  kept: (place, at, lanes) => `keep${lanes}(load${lanes}(${place}, ${at}))`,
  splat: (place, at, lanes) => `splat${lanes}(load1(${place}, ${at}))`,
  bytes: (place, _, lanes) => `loadBytes${lanes}(${place})`,
  float: (place, at) => `load1(${place}, ${at})`,
  byte: (place, at) => `loadByte(${place}, ${at})`,
  word: (place, at) => `loadWord(${place}, ${at})`,
  offset: (place, at) => `loadOffset(${place}, ${at})`,
};

class CPrinter extends Printer<string, Form> {
  protected readonly language = 'c';
  readonly #names: ReadonlyMap<number, string>;
  readonly #declared = new Set<number>();
  readonly #lines: string[] = [];
  #depth = 0;

  constructor(kernel: Kernel) {
    super(kernel, () => 1);
    this.#names = new Map(kernel.parameters.map(({ id }, i) => [id, kernel.parameterNames[i]!]));
  }

  print(): string {
    this.#line(`/* ${this.kernel.summary} */`);
    this.#braces(signature(this.kernel), this.kernel.body);
    this.#line('}');
    return `${this.#lines.join('\n')}\n`;
  }

  #line(text: string): void {
    this.#lines.push(`${'  '.repeat(this.#depth)}${text}`);
  }

  /** Statements behind an open brace. */
  #braces(head: string, statements: readonly Statement[]): void {
    this.#line(`${head} {`);
    this.#depth++;
    this.block(statements);
    this.#depth--;
  }

  protected formOf(operator: Operator, type: Type): Form | undefined {
    return forms[operator]?.[isVector(type) ? 'vector' : 'scalar'];
  }

  protected apply(
    form: Form,
    operands: readonly Print<string>[],
    { target, operands: [first] }: StatementOf<'define'>,
  ): string {
    return form(
      operands.map((print) => print()),
      Math.max((first as Value).lanes, target.lanes),
    );
  }

  protected number(type: Type, value: number): string {
    return literal(type, value);
  }

  protected read(value: Value): string {
    return this.#names.get(value.id) ?? `x${value.id}`;
  }

  protected load({ target, form, pointer, at }: StatementOf<'load'>): string {
    return loads[form](this.expression(pointer), at, target.lanes);
  }

  /** Declares a value at its first definition. */
  protected set(target: Value, content: (part: number) => string, changes: boolean): void {
    const source = content(0);
    const known = this.#declared.has(target.id);
    this.#declared.add(target.id);
    const left = known ? this.read(target) : declaration(target, this.read(target));
    const constant = `const ${left}`.replace(/^const char \*/, 'char *const ');
    this.#line(`${known || changes ? left : constant} = ${source};`);
  }

  protected setConstant(target: Value, value: number): void {
    this.set(target, () => `splat${target.lanes}(${literal('f32', value)})`, false);
  }

  protected perform(statement: Effect): void {
    switch (statement.kind) {
      case 'store': {
        const { value, pointer, at } = statement;
        const form = value.type === 'vector' ? String(value.lanes) : value.type === 'f32' ? '1' : 'Word';
        this.#line(`store${form}(${this.expression(pointer)}, ${at}, ${this.expression(value)});`);
        break;
      }
      case 'storeBytes': {
        const { value, pointer } = statement;
        this.#line(`storeBytes${value.lanes}(${this.expression(pointer)}, ${this.expression(value)});`);
        break;
      }
      case 'prefetch':
        this.#line(`prefetch(${this.expression(statement.pointer)}, ${statement.at});`);
        break;
      case 'scatter': {
        const { value, pointer, step } = statement;
        const operands = [pointer, step, value].map((operand) => this.expression(operand));
        this.#line(`scatter${value.lanes}(${operands.join(', ')});`);
        break;
      }
      case 'loop': {
        const counter = this.read(statement.counter);
        const count = `n${counter}`;
        this.#braces(
          `for (int ${counter} = 0, ${count} = ${this.expression(statement.count)}; ${counter} < ${count}; ${counter}++)`,
          statement.body,
        );
        this.#line('}');
        break;
      }
      case 'if':
        this.#braces(`if (${this.expression(statement.condition)})`, statement.yes);
        if (statement.no.length > 0) this.#braces('} else', statement.no);
        this.#line('}');
        break;
      default:
        statement satisfies never;
    }
  }
}

/** One kernel as a C function. */
export const formatC = (kernel: Kernel): string => new CPrinter(kernel).print();

/** Bytes to and from floats, by the number of lanes: compilers turn a plain conversion into dozens of instructions. */
const byteHeaders: Readonly<Record<number, string>> = {
  16: `
inline_ v16 loadBytes16(const char *place) {
  return (v16)_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)place)));
}
inline_ void storeBytes16(char *place, v16 x) {
  _mm_storeu_si128((__m128i *)place, _mm512_cvtepi32_epi8(_mm512_cvttps_epi32((__m512)x)));
}`,
  8: `
inline_ v8 loadBytes8(const char *place) {
  return (v8)_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)place)));
}
inline_ void storeBytes8(char *place, v8 x) {
  __m256i whole = _mm256_cvttps_epi32((__m256)x);
  __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(whole), _mm256_extracti128_si256(whole, 1));
  _mm_storel_epi64((__m128i *)place, _mm_packus_epi16(words, words));
}`,
  4: `
#if defined(__SSE2__)
inline_ v4 loadBytes4(const char *place) {
  __m128i bytes = _mm_cvtsi32_si128(loadWord(place, 0)), zero = _mm_setzero_si128();
  return (v4)_mm_cvtepi32_ps(_mm_unpacklo_epi16(_mm_unpacklo_epi8(bytes, zero), zero));
}
inline_ void storeBytes4(char *place, v4 x) {
  __m128i words = _mm_cvttps_epi32((__m128)x);
  words = _mm_packs_epi32(words, words);
  storeWord(place, 0, _mm_cvtsi128_si32(_mm_packus_epi16(words, words)));
}
#else
inline_ v4 loadBytes4(const char *place) {
  int word = loadWord(place, 0);
  return __builtin_convertvector(((i4){word, word, word, word} >> (i4){0, 8, 16, 24}) & 255, v4);
}
inline_ void storeBytes4(char *place, v4 x) {
  i4 words = __builtin_convertvector(x, i4) << (i4){0, 8, 16, 24};
  storeWord(place, 0, words[0] | words[1] | words[2] | words[3]);
}
#endif`,
};

/** Definitions for vectors of a width: portable, with x86 instructions where the compiler has no portable form. */
const vectorHeader = (lanes: number): string => {
  const all = (item: (lane: number) => string, separator = ', '): string =>
    Array.from({ length: lanes }, (_, lane) => item(lane)).join(separator);
  const [prefix, feature, register] =
    lanes === 16
      ? ['_mm512', '__AVX512F__', '__m512']
      : lanes === 8
        ? ['_mm256', '__AVX__', '__m256']
        : ['_mm', '__SSE2__', '__m128'];
  // AVX-512 has separate mask registers; with AVX512VL, for narrower vectors too.
  const maskFeature = lanes === 16 ? '__AVX512F__' : '__AVX512VL__';
  return `
typedef float v${lanes} __attribute__((vector_size(${lanes * 4})));
typedef float u${lanes} __attribute__((vector_size(${lanes * 4}), aligned(4), may_alias));
typedef int i${lanes} __attribute__((vector_size(${lanes * 4})));
#define load${lanes}(place, at) ((v${lanes}) * (const u${lanes} *)((place) + 4 * (at)))
#define store${lanes}(place, at, value) (*(u${lanes} *)((place) + 4 * (at)) = (value))
inline_ v${lanes} splat${lanes}(float x) { return (v${lanes}){${all(() => 'x')}}; }
inline_ v${lanes} keep${lanes}(v${lanes} x) { inRegister(x); return x; }
static __attribute__((noinline)) void scatter${lanes}(char *place, intptr_t step, v${lanes} x) {
  ${all((lane) => `store1(place + ${lane} * step, 0, x[${lane}]);`, '\n  ')}
}
#if defined(${maskFeature})
typedef __mmask${Math.max(8, lanes)} m${lanes};
inline_ m${lanes} greater${lanes}(v${lanes} a, v${lanes} b) { return ${prefix}_cmp_ps_mask((${register})a, (${register})b, _CMP_GT_OQ); }
inline_ m${lanes} unequal${lanes}(v${lanes} a, v${lanes} b) { return ${prefix}_cmp_ps_mask((${register})a, (${register})b, _CMP_NEQ_UQ); }
inline_ m${lanes} or${lanes}(m${lanes} a, m${lanes} b) { return a | b; }
inline_ v${lanes} select${lanes}(m${lanes} mask, v${lanes} yes, v${lanes} no) { return (v${lanes})${prefix}_mask_blend_ps(mask, (${register})no, (${register})yes); }
#else
typedef i${lanes} m${lanes};
inline_ m${lanes} greater${lanes}(v${lanes} a, v${lanes} b) { return (m${lanes})(a > b); }
inline_ m${lanes} unequal${lanes}(v${lanes} a, v${lanes} b) { return (m${lanes})(a != b); }
inline_ m${lanes} or${lanes}(m${lanes} a, m${lanes} b) { return a | b; }
inline_ v${lanes} select${lanes}(m${lanes} mask, v${lanes} yes, v${lanes} no) { return (v${lanes})((mask & (i${lanes})yes) | (~mask & (i${lanes})no)); }
#endif
/* a < b ? b : a, so that a NaN in a stays. */
#if defined(${feature})
inline_ v${lanes} max${lanes}(v${lanes} a, v${lanes} b) { return (v${lanes})${prefix}_max_ps((${register})b, (${register})a); }
inline_ v${lanes} sqrt${lanes}(v${lanes} a) { return (v${lanes})${prefix}_sqrt_ps((${register})a); }
#else
inline_ v${lanes} max${lanes}(v${lanes} a, v${lanes} b) { return select${lanes}(greater${lanes}(b, a), b, a); }
inline_ v${lanes} sqrt${lanes}(v${lanes} a) { return (v${lanes}){${all((lane) => `__builtin_sqrtf(a[${lane}])`)}}; }
#endif
${
  lanes === 4
    ? 'inline_ float sum4(v4 a) { return (a[0] + a[2]) + (a[1] + a[3]); }'
    : `inline_ v${lanes / 2} halve${lanes}(v${lanes} a) {
  union { v${lanes} whole; v${lanes / 2} halves[2]; } both = {a};
  return both.halves[0] + both.halves[1];
}`
}${byteHeaders[lanes]}
`;
};

/** Source files of a library, compiled in parallel. */
const sourceFiles = 4;

/**
 * A library as files that are compiled and linked together: the kernels, and `vggnet_run`, which identifies a kernel by
 * its index in the list.
 */
export function formatSources(kernels: readonly Kernel[], lanes: readonly number[]): string[] {
  // Neighbors take equally long to compile; dealing them out balances the files.
  const dealt = Array.from({ length: sourceFiles }, (_, file) =>
    kernels.filter((__, i) => i % sourceFiles === file),
  );
  return [...dealt.map((own) => formatKernels(own, lanes)), formatRun(kernels)];
}

const formatKernels = (kernels: readonly Kernel[], lanes: readonly number[]): string => `\
/* Kernels for vectors of ${lanes.join(', ')} floats. */
#include <stdint.h>
#if defined(__SSE2__)
#include <immintrin.h>
#endif
#define inline_ static inline __attribute__((always_inline))
#if defined(__SSE2__)
#define inRegister(x) __asm__("" : "+v"(x))
#elif defined(__ARM_NEON)
#define inRegister(x) __asm__("" : "+w"(x))
#else
#define inRegister(x)
#endif
#define prefetch(place, at) __builtin_prefetch((place) + 4 * (at), 0, 2)
#define load1(place, at) (*(const float *)((place) + 4 * (at)))
#define store1(place, at, value) (*(float *)((place) + 4 * (at)) = (value))
#define storeWord(place, at, value) (*(int32_t *)((place) + 4 * (at)) = (int32_t)(value))
#define loadByte(place, at) ((int)*(const unsigned char *)((place) + (at)))
#define loadWord(place, at) (*(const int32_t *)((place) + 4 * (at)))
#define loadOffset(place, at) ((intptr_t) * (const int32_t *)((place) + 4 * (at)))
${lanes.toReversed().map(vectorHeader).join('')}
${kernels.map(formatC).join('\n')}`;

function formatRun(kernels: readonly Kernel[]): string {
  const cases = kernels.map(({ name, parameters }, number) => {
    const values = parameters.map(({ type }, i) => {
      switch (type) {
        case 'pointer':
          return `memory + (uintptr_t)(uint32_t)p[${i}] * 4`;
        case 'offset':
          return `(intptr_t)p[${i}] * 4`;
        case 'f32':
          return `*(const float *)(p + ${i})`;
        default:
          return `p[${i}]`;
      }
    });
    return `    case ${number}: ${name}(${values.join(', ')}); p += ${parameters.length}; break;`;
  });
  return `/* Kernel calls from a list. */
#include <stdint.h>

${kernels.map((kernel) => `${signature(kernel)};`).join('\n')}

/* Makes \`calls\` kernel calls: each is a kernel's number and its arguments, one word each. */
__attribute__((visibility("default"))) void vggnet_run(char *memory, const int32_t *p, int32_t calls) {
  while (calls-- > 0) {
    switch (*p++) {
${cases.join('\n')}
    }
  }
}
`;
}
