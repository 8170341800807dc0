/**
 * The text of WebGPU's kernels. A kernel's code reads the numbers of its shape as `s.name`, and what depends on the
 * number of images as `d.count` and `d.first`. On GPUs `s` is a constant, so that the driver's compiler unrolls loops and
 * divides by multiplying. On software adapters, which take seconds to compile a kernel, `s` is a uniform: one pipeline
 * serves all shapes.
 *
 * Rules that all kernels keep, because WGSL allows compilers to assume that there is no NaN: `max` drops it, and
 * `x != x` may be false. Decisions that must let NaN pass test bits (`relu`, `positive`, `beats`, `isBroken`).
 */

/** A number of a kernel's shape: a whole one (u32), or a float. */
export type ShapeNumber = number | { readonly float: number };

export interface Kernel {
  readonly name: string;
  /** As in `input: array<vec4f>` to read, or `output: array<vec4f>, read_write`; in the order of a dispatch's buffers. */
  readonly bindings: readonly string[];
  readonly shape: Readonly<Record<string, ShapeNumber>>;
  /** Functions; the entry is `main`. */
  readonly code: string;
}

/** Invocations of a workgroup of kernels that compute cells, one for each value or vec4. */
export const cellsInGroup = 64;

/** What the kernels of a training pass share; written by the host before it, and by the loss of each step. */
export const runStruct = `
struct Run {
  // The step of the pass, the one behind the last that was applied, and the first one of this command.
  step: u32, stopped: u32, base: u32,
  epoch: u32, key: vec2u,
  // Images of a step and of the whole pass.
  batch: u32, total: u32,
}`;
/** Words of `Run`. */
export const runWords = 8;

/** Numbers of a step, computed on the host: a row of the table for each rate of the layers. */
export const stepNumbers = 16;

export const decisions = `
fn relu(v: vec4f) -> vec4f {
  let b = bitcast<vec4u>(v);
  return select(v, vec4f(), (b > vec4u(0x80000000u)) & (b <= vec4u(0xff800000u)));
}
// Above 0, or NaN.
fn positive(v: vec4f) -> vec4<bool> {
  let b = bitcast<vec4u>(v);
  return ((b > vec4u()) & (b < vec4u(0x80000000u))) | (b > vec4u(0xff800000u));
}
// Larger than the best value of a window so far, or NaN.
fn beats(v: vec4f, best: vec4f) -> vec4<bool> {
  return (v > best) | ((bitcast<vec4u>(v) & vec4u(0x7fffffffu)) > vec4u(0x7f800000u));
}`;

/** Philox 4×32-10, as in `data/random.ts`. */
export const philox = `
fn mulHigh(a: u32, b: u32) -> u32 {
  let al = a & 0xffffu; let ah = a >> 16u; let bl = b & 0xffffu; let bh = b >> 16u;
  let m = ah * bl + ((al * bl) >> 16u); let m2 = al * bh + (m & 0xffffu);
  return ah * bh + (m >> 16u) + (m2 >> 16u);
}
fn philox(counter: vec4u, seed: vec2u) -> vec4u {
  var c = counter; var k = seed;
  for (var i = 0u; i < 10u; i++) {
    c = vec4u(mulHigh(0xcd9e8d57u, c.z) ^ c.y ^ k.x, 0xcd9e8d57u * c.z,
              mulHigh(0xd2511f53u, c.x) ^ c.w ^ k.y, 0xd2511f53u * c.x);
    k += vec2u(0x9e3779b9u, 0xbb67ae85u);
  }
  return c;
}`;

/** The head of a kernel that computes a cell per invocation, for `d.count` images of `perImage` cells: `cell`. */
export const eachCell = (perImage: string): string => `
@compute @workgroup_size(${cellsInGroup})
fn main(
  @builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let cell = (group.y * groups.x + group.x) * ${cellsInGroup}u + local;
  if (cell >= d.count * ${perImage}) { return; }`;

/**
 * How a kernel writes an input's gradient. Where the input is the output of a ReLU, what its zeros get is not passed on,
 * so that a ReLU needs no pass of its own; `input` is bound then.
 */
export const writeGradient = (masked: boolean): string =>
  masked
    ? 'fn passed(at: u32, value: vec4f) -> vec4f { return select(vec4f(), value, positive(input[at])); }'
    : 'fn passed(at: u32, value: vec4f) -> vec4f { return value; }';

export const inputBinding = (masked: boolean): readonly string[] => (masked ? ['input: array<vec4f>'] : []);

function structOf(shape: Kernel['shape']): string {
  const fields = Object.entries(shape).map(
    ([name, value]) => `${name}: ${typeof value === 'number' ? 'u32' : 'f32'}`,
  );
  return `struct Shape { ${fields.join(', ')} }`;
}

const literal = (value: ShapeNumber): string =>
  typeof value === 'number' ? `${value}u` : `${Math.fround(value.float)}f`;

/** The module of a kernel. Binding 0 is `d`; the last one is `s`, if it is a uniform. */
export function moduleText({ bindings, shape, code }: Kernel, constants: boolean): string {
  const lines = [
    'struct Dynamic { count: u32, first: u32 }',
    '@group(0) @binding(0) var<uniform> d: Dynamic;',
    structOf(shape),
  ];
  for (const [i, binding] of bindings.entries()) {
    const { name, type, access } = parsed(binding);
    lines.push(`@group(0) @binding(${i + 1}) var<storage, ${access}> ${name}: ${type};`);
  }
  lines.push(
    constants
      ? `const s = Shape(${Object.values(shape).map(literal).join(', ')});`
      : `@group(0) @binding(${bindings.length + 1}) var<uniform> s: Shape;`,
  );
  return `${lines.join('\n')}\n${code}`;
}

/** The numbers of a shape as a uniform holds them. */
export function shapeWords(shape: Kernel['shape']): Uint32Array<ArrayBuffer> {
  const values = Object.values(shape);
  const words = new Uint32Array(values.length);
  const floats = new Float32Array(words.buffer);
  values.forEach((value, i) => {
    if (typeof value === 'number') words[i] = value;
    else floats[i] = value.float;
  });
  return words;
}

export function parsed(binding: string): {
  readonly name: string;
  readonly type: string;
  readonly access: 'read' | 'read_write';
} {
  const [, name = '', type = '', access = 'read'] = /^(\w+): (.*?)(?:, (read_write))?$/.exec(binding) ?? [];
  return { name, type, access: access as 'read' | 'read_write' };
}
