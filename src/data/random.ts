/**
 * Counter-based random numbers: Philox 4×32-10 (Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", SC'11).
 * A stream depends only on its key, so the draws for sample 17 of epoch 3 do not depend on the number of threads, the
 * order of work, or resumes.
 */

import type { UniformKernel } from './random-kernel.ts';

/** Values that a `UniformKernel` draws together. */
export const groupValues = 16;

/** A stream of random numbers. Each draw advances it by one 32-bit word (`normal` by two). */
export interface Random {
  /** Uniform in [0, 1), a multiple of 2⁻³². */
  uniform(): number;
  /** Uniform integer in [0, bound). */
  integer(bound: number): number;
  /** Standard normal (Box–Muller). */
  normal(): number;
}

/**
 * The purpose of a stream, part of its key, so that streams with the same seed never overlap. Each dropout layer has a
 * separate stream, 2¹⁶ apart.
 */
export const streams = {
  initialization: 1,
  shuffle: 2,
  transform: 3,
  shapes: 4,
  dropout: 5,
  mixup: 6,
  validation: 7,
  heldOut: 8,
  search: 16,
} as const;

// Words are signed 32-bit integers here, so that engines keep them in registers: `>>> 0` would make them doubles.

/** The upper half of the product of two 32-bit words. */
const mulHigh = (a: number, b: number): number => {
  const aLow = a & 0xffff;
  const aHigh = a >>> 16;
  const bLow = b & 0xffff;
  const bHigh = b >>> 16;
  const middle = (Math.imul(aHigh, bLow) + (Math.imul(aLow, bLow) >>> 16)) | 0;
  const middle2 = (Math.imul(aLow, bHigh) + (middle & 0xffff)) | 0;
  return (Math.imul(aHigh, bHigh) + (middle >>> 16) + (middle2 >>> 16)) | 0;
};

export const rounds = 10;
export const multiplier0 = 0xd2511f53;
export const multiplier1 = 0xcd9e8d57;
/** What a round adds to the key. */
export const weyl0 = 0x9e3779b9;
export const weyl1 = 0xbb67ae85;

/** Writes one Philox block to `out`: four 32-bit words from a counter of four words and a key of two. */
export function philox(counter: Uint32Array, key0: number, key1: number, out: Uint32Array): void {
  let c0 = counter[0]! | 0;
  let c1 = counter[1]! | 0;
  let c2 = counter[2]! | 0;
  let c3 = counter[3]! | 0;
  let k0 = key0 | 0;
  let k1 = key1 | 0;
  for (let round = 0; round < rounds; round++) {
    const high0 = mulHigh(c0, multiplier0);
    const low0 = Math.imul(c0, multiplier0);
    const high1 = mulHigh(c2, multiplier1);
    const low1 = Math.imul(c2, multiplier1);
    c0 = high1 ^ c1 ^ k0;
    c1 = low1;
    c2 = high0 ^ c3 ^ k1;
    c3 = low0;
    k0 = (k0 + weyl0) | 0;
    k1 = (k1 + weyl1) | 0;
  }
  out[0] = c0;
  out[1] = c1;
  out[2] = c2;
  out[3] = c3;
}

const lowWord = (seed: number): number => seed >>> 0;
const highWord = (seed: number): number => Math.floor(seed / 2 ** 32) >>> 0;

/**
 * Returns the stream of `seed` for a purpose (see `streams`) and up to two indices, for example epoch and sample.
 * `seed` has up to 53 bits, the others 32.
 */
export function random(seed: number, stream: number, index = 0, subindex = 0): Random {
  const key0 = lowWord(seed);
  const key1 = highWord(seed);
  const counter = Uint32Array.of(0, stream, index, subindex);
  const block = new Uint32Array(4);
  let used = 4;
  const word = (): number => {
    if (used === 4) {
      philox(counter, key0, key1, block);
      counter[0]!++;
      used = 0;
    }
    return block[used++]!;
  };
  const uniform = (): number => word() / 2 ** 32;
  return {
    uniform,
    integer: (bound) => Math.floor(uniform() * bound),
    normal: () => {
      const radius = Math.sqrt(-2 * Math.log(1 - uniform()));
      return radius * Math.cos(2 * Math.PI * uniform());
    },
  };
}

/** The key of a stream: the arguments of `random`. */
export interface StreamKey {
  readonly seed: number;
  readonly stream: number;
  readonly index: number;
}

/** Values that `fillPairs` draws together: two Philox blocks. */
const pair = 8;
/** Values of a call of `fillPairs`: few, because an engine changes to faster code between calls. */
const run = 2 ** 13;

/** Draws many uniform values several times as fast as `fillPairs`, with the same bits, once it was loaded. */
let uniformKernel: UniformKernel | undefined;

/** Loads what makes `fillUniform` fast; worth it for millions of values. */
export async function loadUniformKernel(): Promise<void> {
  uniformKernel ??= (await import('./random-kernel.ts')).openUniformKernel();
}

/**
 * Writes the draws `from … from + into.length` of a stream, uniform in ±`bound`: what `(2 * uniform() - 1) * bound` gives
 * for each. Any part of a stream can be drawn alone.
 */
export function fillUniform(key: StreamKey, bound: number, from: number, into: Float32Array): void {
  const end = from + into.length;
  const edge = new Float32Array(pair);
  for (let at = from; at < end; ) {
    const grouped = uniformKernel && at % groupValues === 0 ? end - at - ((end - at) % groupValues) : 0;
    const skipped = at % pair;
    const count = Math.min(end - at, run);
    const whole = skipped === 0 ? count - (count % pair) : 0;
    if (grouped > 0) {
      uniformKernel!(key, bound, at, into.subarray(at - from, at - from + grouped));
      at += grouped;
    } else if (whole > 0) {
      // Up to where the kernel begins, if there is one.
      const values = uniformKernel ? pair : whole;
      fillPairs(key, bound, at, into.subarray(at - from, at - from + values));
      at += values;
    } else {
      // The pair begins before the part, or ends behind it.
      fillPairs(key, bound, at - skipped, edge);
      const values = edge.subarray(skipped, skipped + count);
      into.set(values, at - from);
      at += values.length;
    }
  }
}

/** Values of a Philox block. */
const blockValues = 4;

/**
 * Writes the values `from … from + into.length` of a normal distribution around 0 with standard deviation `deviation`.
 * Two neighboring values come from two words of a stream by Box–Muller, so that any part can be drawn alone.
 */
export function fillNormal(
  { seed, stream, index }: StreamKey,
  deviation: number,
  from: number,
  into: Float32Array,
): void {
  const key0 = lowWord(seed);
  const key1 = highWord(seed);
  const counter = Uint32Array.of(0, stream, index, 0);
  const block = new Uint32Array(blockValues);
  const values = new Float64Array(blockValues);
  const end = from + into.length;
  for (let first = from - (from % blockValues); first < end; first += blockValues) {
    counter[0] = first / blockValues;
    philox(counter, key0, key1, block);
    for (let i = 0; i < blockValues; i += 2) {
      // From (0, 1], whose logarithm is finite.
      const radius = deviation * Math.sqrt(-2 * Math.log(1 - block[i]! / 2 ** 32));
      const angle = 2 * Math.PI * (block[i + 1]! / 2 ** 32);
      values[i] = radius * Math.cos(angle);
      values[i + 1] = radius * Math.sin(angle);
    }
    const begin = Math.max(from, first);
    const stop = Math.min(end, first + blockValues);
    for (let at = begin; at < stop; at++) into[at - from] = values[at - first]!;
  }
}

/** `from` and the length are multiples of `pair`. Two independent blocks hide each other's latency. */
function fillPairs(
  { seed, stream, index }: StreamKey,
  bound: number,
  from: number,
  into: Float32Array,
): void {
  const key0 = lowWord(seed) | 0;
  const key1 = highWord(seed) | 0;
  for (let at = 0, block = from / 4; at < into.length; at += pair, block += 2) {
    let a0 = block | 0;
    let b0 = (block + 1) | 0;
    let a1 = stream | 0;
    let b1 = a1;
    let a2 = index | 0;
    let b2 = a2;
    let a3 = 0;
    let b3 = 0;
    let k0 = key0;
    let k1 = key1;
    for (let round = 0; round < rounds; round++) {
      const aHigh0 = mulHigh(a0, multiplier0);
      const aHigh1 = mulHigh(a2, multiplier1);
      const bHigh0 = mulHigh(b0, multiplier0);
      const bHigh1 = mulHigh(b2, multiplier1);
      const aLow0 = Math.imul(a0, multiplier0);
      const bLow0 = Math.imul(b0, multiplier0);
      a0 = aHigh1 ^ a1 ^ k0;
      b0 = bHigh1 ^ b1 ^ k0;
      a1 = Math.imul(a2, multiplier1);
      b1 = Math.imul(b2, multiplier1);
      a2 = aHigh0 ^ a3 ^ k1;
      b2 = bHigh0 ^ b3 ^ k1;
      a3 = aLow0;
      b3 = bLow0;
      k0 = (k0 + weyl0) | 0;
      k1 = (k1 + weyl1) | 0;
    }
    into[at] = uniform(a0, bound);
    into[at + 1] = uniform(a1, bound);
    into[at + 2] = uniform(a2, bound);
    into[at + 3] = uniform(a3, bound);
    into[at + 4] = uniform(b0, bound);
    into[at + 5] = uniform(b1, bound);
    into[at + 6] = uniform(b2, bound);
    into[at + 7] = uniform(b3, bound);
  }
}

const uniform = (word: number, bound: number): number => (2 * ((word >>> 0) / 2 ** 32) - 1) * bound;

/** The numbers 0 … length − 1 in random order (Fisher–Yates). */
export function permutation(length: number, source: Random): Uint32Array {
  const order = Uint32Array.from({ length }, (_, i) => i);
  for (let i = length - 1; i > 0; i--) {
    const j = source.integer(i + 1);
    const swapped = order[i]!;
    order[i] = order[j]!;
    order[j] = swapped;
  }
  return order;
}
