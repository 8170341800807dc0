/**
 * Tables that find a Huffman code and what follows it by the next ten bits, in entries of 32 bits:
 *
 *     bits 0–4    bits of the code, with those of the value if it is known already; 0: a longer code
 *     bits 5–12   how far to advance in the block: the zeros before the coefficient, and itself
 *     bits 13–16  bits of the value, which follow the code; 0: the value is known
 *     bits 17–31  the value
 *
 * Where the code is longer, bits 5–31 are the distance in bytes from the table's start to a table for the next six bits.
 */

export const firstBits = 10;
export const secondBits = 6;

/** Advance at the end of a block, and where no code begins with these bits: sums of others with it stay below the end's. */
export const endOfBlock = 192;
const invalid = 80;

/** A table of a file: how many codes have 1 to 16 bits, and their symbols. */
export interface HuffmanCode {
  readonly counts: Uint8Array;
  readonly symbols: Uint8Array;
}

/** The most bits of a value in images of 8 bits. */
const mostValueBits = { dc: 11, ac: 10 } as const;

const entryOf = (bits: number, advance: number, valueBits = 0, value = 0): number =>
  bits | (advance << 5) | (valueBits << 13) | (value << 17);

/** A symbol's zeros and bits, as what the decoder does. */
function meaningOf(symbol: number, kind: 'dc' | 'ac'): { readonly advance: number; readonly bits: number } {
  if (kind === 'dc') return { advance: 1, bits: symbol };
  const [zeros, bits] = [symbol >> 4, symbol & 15];
  return { advance: bits === 0 && zeros !== 15 ? endOfBlock : zeros + 1, bits };
}

/** Values with a first bit of 0 are negative. */
const signed = (raw: number, bits: number): number => (raw < 1 << (bits - 1) ? raw - (1 << bits) + 1 : raw);

/** The table of a code; undefined if the code is no valid one for images of 8 bits. */
export function huffmanTable({ counts, symbols }: HuffmanCode, kind: 'dc' | 'ac'): Int32Array | undefined {
  const first = new Int32Array(1 << firstBits).fill(entryOf(1, invalid));
  /** Tables of longer codes, by their first bits. */
  const seconds = new Map<number, Int32Array>();
  let [code, place] = [0, 0];
  for (let length = 1; length <= 16; length++, code <<= 1) {
    for (let i = 0; i < counts[length - 1]!; i++, code++, place++) {
      const { advance, bits } = meaningOf(symbols[place]!, kind);
      if (code >= 1 << length || bits > mostValueBits[kind]) return undefined;
      if (length <= firstBits) fillFirst(first, code, length, advance, bits);
      else {
        const prefix = code >> (length - firstBits);
        let second = seconds.get(prefix);
        if (second === undefined) {
          second = new Int32Array(1 << secondBits).fill(entryOf(1, invalid));
          first[prefix] = (4 * ((1 << firstBits) + (seconds.size << secondBits))) << 5;
          seconds.set(prefix, second);
        }
        const free = firstBits + secondBits - length;
        const from = (code << free) & ((1 << secondBits) - 1);
        second.fill(entryOf(length, advance, bits), from, from + (1 << free));
      }
    }
  }
  const table = new Int32Array(first.length + (seconds.size << secondBits));
  table.set(first);
  for (const [i, second] of [...seconds.values()].entries())
    table.set(second, first.length + (i << secondBits));
  return table;
}

/** The entries of a short code, with the value where its bits are known. */
function fillFirst(first: Int32Array, code: number, length: number, advance: number, bits: number): void {
  const free = firstBits - length;
  for (let rest = 0; rest < 1 << free; rest++) {
    const isKnown = bits > 0 && bits <= free;
    first[(code << free) | rest] = isKnown
      ? entryOf(length + bits, advance, 0, signed(rest >> (free - bits), bits))
      : entryOf(length, advance, bits);
  }
}
