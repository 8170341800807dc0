/**
 * Parsers of byte streams as coroutines: a parser asks for bytes, and whoever drives it brings them, from a file or
 * an archive, in chunks of any size. So parsers are pure, nest (a record file inside a tar), and pixels go from the
 * chunk straight to their place in the data set.
 *
 * A parser yields a number n, and gets a view of exactly the next n bytes, valid until it yields again; or it yields
 * an array, and goes on when the next bytes fill it.
 */
import { DataError } from '../errors.ts';

export type Parser<T> = Generator<number | Uint8Array, T, Uint8Array>;

/** Drives `parser` with `chunks`. @throws DataError in the name of `file` where the bytes end before the parser. */
export async function parse<T>(
  parser: Parser<T>,
  chunks: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  file: string,
): Promise<T> {
  const nothing = new Uint8Array(0);
  let total = 0;
  let step = parser.next(nothing);
  // The array that is being filled, and how far it is.
  let target: Uint8Array | undefined;
  let filled = 0;
  const consume = (chunk: Uint8Array): void => {
    let position = 0;
    while (!step.done) {
      const wanted = step.value;
      if (target === undefined && typeof wanted === 'number' && wanted <= chunk.length - position) {
        position += wanted;
        step = parser.next(chunk.subarray(position - wanted, position));
        continue;
      }
      target ??= typeof wanted === 'number' ? new Uint8Array(wanted) : wanted;
      const count = Math.min(target.length - filled, chunk.length - position);
      target.set(chunk.subarray(position, position + count), filled);
      position += count;
      filled += count;
      if (filled < target.length) return;
      const full = target;
      target = undefined;
      filled = 0;
      step = parser.next(full);
    }
  };
  consume(nothing);
  if (!step.done) {
    for await (const chunk of chunks) {
      total += chunk.length;
      consume(chunk);
      if (step.done) break;
    }
  }
  if (!step.done) throw new DataError(`${file} is truncated: it ends after ${total} bytes`);
  return step.value;
}

/** Holds `parser` to exactly `size` bytes. */
export function* exactly<T>(parser: Parser<T>, size: number, file: string): Parser<T> {
  let left = size;
  let step = parser.next(new Uint8Array(0));
  while (!step.done) {
    left -= typeof step.value === 'number' ? step.value : step.value.length;
    if (left < 0) {
      throw new DataError(`${file} is truncated or corrupt: its content goes on past its ${size} bytes`);
    }
    step = parser.next(yield step.value);
  }
  if (left > 0) {
    throw new DataError(`${file} is too long: its content ends ${left} bytes before its ${size} bytes do`);
  }
  return step.value;
}

/** Passes over `size` bytes. */
export function* skip(size: number): Parser<void> {
  for (let left = size; left > 0; left -= 65_536) yield Math.min(left, 65_536);
}

/** A text file of `size` bytes. */
export function* text(size: number): Parser<string> {
  return new TextDecoder().decode(yield size);
}
