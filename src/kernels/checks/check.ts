/**
 * Compares kernels with plain loops in float64. A kernel runs on a small memory of random values, the plain version on a
 * float64 copy of it. Then all values are compared: those that the plain version changed must agree within rounding, all
 * others must be unchanged to the bit. Bytes that a kernel writes are expected in a copy of their own, and are exact.
 */
import { random } from '../../data/random.ts';
import type { ParameterTypes } from '../language.ts';

/** By name; pointers and offsets count floats. */
export type Arguments = Readonly<Record<string, number>>;

/** Views of one memory. */
export interface Views {
  readonly floats: Float32Array;
  readonly words: Int32Array;
  readonly bytes: Uint8Array;
}

export interface KernelCheck {
  /** Describes the arguments. */
  readonly title: string;
  readonly arguments: Arguments;
  /** The widest vectors, in floats, for which the arguments are valid; by default any. */
  readonly mostLanes?: number;
  /**
   * The expected effect on memory, and on its bytes if the kernel writes bytes. `before` is the memory before the kernel
   * runs, `lanes` its widest vector.
   */
  readonly plain: (
    memory: Float64Array,
    a: Arguments,
    before: Views,
    lanes: number,
    bytes: Uint8Array,
  ) => void;
  /** Writes values that must not be random. */
  readonly prepare?: (views: Views, a: Arguments) => void;
  /** Ranges of working memory, [from, to), whose content is not part of the result. */
  readonly ignored?: readonly (readonly [from: number, to: number])[];
  /** Further checks of the result; returns a complaint if one fails. */
  readonly inspect?: (views: Views, a: Arguments, before: Views) => string | undefined;
}

/** Floats of the memory that checks work on. */
export const checkFloats = 65_536;
/** Largest difference over the largest value that the kernel should write. */
export const tolerance = 2e-6;

let noise: Float32Array | undefined;

export const viewsOf = (buffer: ArrayBufferLike, floats: number = checkFloats): Views => ({
  floats: new Float32Array(buffer, 0, floats),
  words: new Int32Array(buffer, 0, floats),
  bytes: new Uint8Array(buffer, 0, 4 * floats),
});

/** Fills memory for a check. */
export function prepareCheck(check: KernelCheck, views: Views): void {
  if (!noise) {
    const source = random(1, 1200);
    noise = Float32Array.from({ length: checkFloats }, () => 2 * source.uniform() - 1);
  }
  views.floats.set(noise);
  check.prepare?.(views, check.arguments);
}

/** A check's arguments in the kernel's order. @throws TypeError if names do not fit the kernel. */
export function argumentsOf(check: KernelCheck, parameters: ParameterTypes): number[] {
  const names = Object.keys(parameters);
  const unknown = Object.keys(check.arguments).filter((name) => !names.includes(name));
  if (unknown.length > 0)
    throw new TypeError(`${check.title}: the kernel has no argument ${unknown.join(', ')}`);
  return names.map((name) => {
    const value = check.arguments[name];
    if (value === undefined) throw new TypeError(`${check.title}: argument ${name} is missing`);
    return value;
  });
}

export interface CheckResult {
  /** Largest difference over the largest value. */
  readonly error: number;
  /** What is wrong, if anything. */
  readonly complaint?: string;
}

/** Runs a kernel through `call` on the memory of `views` and compares. */
export function runCheck(
  check: KernelCheck,
  parameters: ParameterTypes,
  views: Views,
  lanes: number,
  call: (values: readonly number[]) => void,
): CheckResult {
  const { arguments: named, plain, ignored = [], inspect } = check;
  const values = argumentsOf(check, parameters);
  prepareCheck(check, views);
  const before = viewsOf(views.floats.slice().buffer);
  const expected = Float64Array.from(before.floats);
  const exact = viewsOf(views.floats.slice().buffer);
  plain(expected, named, before, lanes, exact.bytes);
  call(values);
  let written = 0;
  let scale = 1e-3;
  expected.forEach((value, at) => {
    if (Object.is(value, before.floats[at])) return;
    written++;
    if (Number.isFinite(value)) scale = Math.max(scale, Math.abs(value));
  });
  if (written === 0) return { error: 0, complaint: `${check.title}: the plain version writes nothing` };
  let error = 0;
  for (let at = 0; at < expected.length; at++) {
    const value = expected[at]!;
    const found = views.floats[at]!;
    if (exact.words[at] !== before.words[at]) {
      if (views.words[at] === exact.words[at]) continue;
      const [is, should] = [views, exact].map(({ bytes }) => bytes.subarray(4 * at, 4 * at + 4).join(' '));
      return {
        error: Number.POSITIVE_INFINITY,
        complaint: `${check.title}: the bytes of float ${at} are ${is} instead of ${should}`,
      };
    }
    if (Object.is(value, found) || ignored.some(([from, to]) => at >= from && at < to)) continue;
    const touched = value !== before.floats[at];
    const difference = Math.abs(found - value) / scale;
    // A difference of NaN is also an error.
    if (!(touched && difference <= tolerance)) {
      const complaint = `float ${at} is ${found} instead of ${value}${touched ? '' : ', which should be unchanged'}`;
      return {
        error: touched ? difference : Number.POSITIVE_INFINITY,
        complaint: `${check.title}: ${complaint}`,
      };
    }
    error = Math.max(error, difference);
  }
  const complaint = inspect?.(views, named, before);
  return { error, ...(complaint !== undefined && { complaint: `${check.title}: ${complaint}` }) };
}

/** All combinations of the values given for each name. */
export function combinations<K extends string>(
  choices: Readonly<Record<K, readonly number[]>>,
): Record<K, number>[] {
  let rows = [{} as Record<K, number>];
  for (const [name, values] of Object.entries(choices) as [K, readonly number[]][]) {
    rows = rows.flatMap((row) => values.map((value) => ({ ...row, [name]: value })));
  }
  return rows;
}

/** A combination in words. */
export const inWords = (named: Arguments): string =>
  Object.entries(named)
    .map(([name, value]) => `${name} ${value}`)
    .join(', ');
