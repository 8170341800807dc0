/**
 * A fingerprint of weights: SHA-256 over the values of all tensors in their order, as little-endian float32. Equal
 * fingerprints mean equal bits. The browser's own SHA-256 exists only in secure contexts, so a plain one stands in on a
 * school's server without HTTPS.
 */

import { sizeOf } from '../../model/network.ts';
import { partValues, type WeightSource } from '../../model/weight-streams.ts';

/** The first eight bytes as sixteen hexadecimal digits: enough to tell runs apart. */
export async function fingerprintOf(weights: WeightSource): Promise<string> {
  const hash = new Sha256();
  const part = new Float32Array(partValues);
  for (const [name, shape] of weights.shapes) {
    const size = sizeOf(shape);
    for (let from = 0; from < size; from += part.length) {
      const values = part.subarray(0, Math.min(part.length, size - from));
      await weights.read(name, from, values);
      hash.update(new Uint8Array(values.buffer, 0, values.byteLength));
    }
  }
  return hash.hex().slice(0, 16);
}

/** Fractional parts of the cube roots of the first 64 primes. */
const constants: Uint32Array = (() => {
  const primes: number[] = [];
  for (let n = 2; primes.length < 64; n++) if (primes.every((prime) => n % prime !== 0)) primes.push(n);
  return Uint32Array.from(primes, (prime) => (Math.cbrt(prime) % 1) * 2 ** 32);
})();

/** SHA-256 (FIPS 180-4), fed by parts. */
export class Sha256 {
  readonly #state = Uint32Array.of(
    0x6a09e667,
    0xbb67ae85,
    0x3c6ef372,
    0xa54ff53a,
    0x510e527f,
    0x9b05688c,
    0x1f83d9ab,
    0x5be0cd19,
  );
  readonly #words = new Uint32Array(64);
  readonly #rest = new Uint8Array(64);
  #restLength = 0;
  #length = 0;

  update(bytes: Uint8Array): void {
    this.#length += bytes.length;
    let at = 0;
    if (this.#restLength > 0) {
      at = Math.min(64 - this.#restLength, bytes.length);
      this.#rest.set(bytes.subarray(0, at), this.#restLength);
      this.#restLength += at;
      if (this.#restLength < 64) return;
      this.#block(this.#rest, 0);
    }
    for (; at + 64 <= bytes.length; at += 64) this.#block(bytes, at);
    this.#rest.set(bytes.subarray(at));
    this.#restLength = bytes.length - at;
  }

  /** The hash as 64 hexadecimal digits; ends it. */
  hex(): string {
    const bits = this.#length * 8;
    const end = new Uint8Array((this.#restLength < 56 ? 64 : 128) - this.#restLength);
    end[0] = 0x80;
    const view = new DataView(end.buffer);
    view.setUint32(end.length - 8, Math.floor(bits / 2 ** 32));
    view.setUint32(end.length - 4, bits >>> 0);
    this.update(end);
    return Array.from(this.#state, (word) => word.toString(16).padStart(8, '0')).join('');
  }

  #block(bytes: Uint8Array, at: number): void {
    const words = this.#words;
    for (let i = 0; i < 16; i++) {
      const j = at + 4 * i;
      words[i] = (bytes[j]! << 24) | (bytes[j + 1]! << 16) | (bytes[j + 2]! << 8) | bytes[j + 3]!;
    }
    for (let i = 16; i < 64; i++) {
      const [x, y] = [words[i - 15]!, words[i - 2]!];
      const s0 = rotated(x, 7) ^ rotated(x, 18) ^ (x >>> 3);
      const s1 = rotated(y, 17) ^ rotated(y, 19) ^ (y >>> 10);
      words[i] = words[i - 16]! + s0 + words[i - 7]! + s1;
    }
    let [a, b, c, d, e, f, g, h] = this.#state as unknown as [
      number,
      number,
      number,
      number,
      number,
      number,
      number,
      number,
    ];
    for (let i = 0; i < 64; i++) {
      const s1 = rotated(e, 6) ^ rotated(e, 11) ^ rotated(e, 25);
      const t1 = (h + s1 + ((e & f) ^ (~e & g)) + constants[i]! + words[i]!) | 0;
      const s0 = rotated(a, 2) ^ rotated(a, 13) ^ rotated(a, 22);
      const t2 = (s0 + ((a & b) ^ (a & c) ^ (b & c))) | 0;
      [h, g, f, e, d, c, b, a] = [g, f, e, (d + t1) | 0, c, b, a, (t1 + t2) | 0];
    }
    for (const [i, value] of [a, b, c, d, e, f, g, h].entries()) this.#state[i] = this.#state[i]! + value;
  }
}

const rotated = (word: number, by: number): number => (word >>> by) | (word << (32 - by));
