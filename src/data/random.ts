/**
 * Counter-based random numbers: Philox 4×32-10 (Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", SC'11).
 * A stream depends only on its key, so the draws for sample 17 of epoch 3 do not depend on the number of threads, the
 * order of work, or resumes.
 */

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
  search: 16,
} as const;

/** The upper half of a product of 32-bit words, computed with 32-bit integers so that engines keep it in registers. */
const mulHigh = (a: number, b: number): number => {
  const aLow = a & 0xffff;
  const aHigh = a >>> 16;
  const bLow = b & 0xffff;
  const bHigh = b >>> 16;
  const middle = (Math.imul(aHigh, bLow) + (Math.imul(aLow, bLow) >>> 16)) >>> 0;
  const middle2 = (Math.imul(aLow, bHigh) + (middle & 0xffff)) >>> 0;
  return (Math.imul(aHigh, bHigh) + (middle >>> 16) + (middle2 >>> 16)) >>> 0;
};

/** Writes one Philox block to `out`: four 32-bit words from a counter of four words and a key of two. */
export function philox(counter: Uint32Array, key0: number, key1: number, out: Uint32Array): void {
  let c0 = counter[0]!;
  let c1 = counter[1]!;
  let c2 = counter[2]!;
  let c3 = counter[3]!;
  let k0 = key0 >>> 0;
  let k1 = key1 >>> 0;
  for (let round = 0; round < 10; round++) {
    const high0 = mulHigh(0xd2511f53, c0);
    const low0 = Math.imul(0xd2511f53, c0) >>> 0;
    const high1 = mulHigh(0xcd9e8d57, c2);
    const low1 = Math.imul(0xcd9e8d57, c2) >>> 0;
    c0 = (high1 ^ c1 ^ k0) >>> 0;
    c1 = low1;
    c2 = (high0 ^ c3 ^ k1) >>> 0;
    c3 = low0;
    k0 = (k0 + 0x9e3779b9) >>> 0;
    k1 = (k1 + 0xbb67ae85) >>> 0;
  }
  out[0] = c0;
  out[1] = c1;
  out[2] = c2;
  out[3] = c3;
}

/**
 * Returns the stream of `seed` for a purpose (see `streams`) and up to two indices, for example epoch and sample.
 * `seed` has up to 53 bits, the others 32.
 */
export function random(seed: number, stream: number, index = 0, subindex = 0): Random {
  const key0 = seed >>> 0;
  const key1 = Math.floor(seed / 2 ** 32) >>> 0;
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
