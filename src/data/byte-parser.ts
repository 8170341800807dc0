/**
 * Parsers of byte streams as coroutines: a parser asks for bytes, and its driver supplies them from a file or archive
 * in chunks of any size. So parsers are pure and can be nested (a record file inside a tar), and pixels are copied from
 * the chunk directly into the data set.
 *
 * A parser yields a number n and gets a view of exactly the next n bytes, valid until its next yield. Or it yields an
 * array and continues when the next bytes have filled it.
 */
import { DataError } from '../errors.ts';

export type Parser<T> = Generator<number | Uint8Array, T, Uint8Array>;

/** Feeds `chunks` to `parser`. @throws DataError that names `file` if the bytes end before the parser. */
export async function parse<T>(
  parser: Parser<T>,
  chunks: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  file: string,
): Promise<T> {
  const nothing = new Uint8Array(0);
  let total = 0;
  let step = parser.next(nothing);
  // The array being filled, and the number of bytes in it.
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

/** Requires `parser` to consume exactly `size` bytes. */
export function* exactly<T>(parser: Parser<T>, size: number, file: string): Parser<T> {
  let left = size;
  let step = parser.next(new Uint8Array(0));
  while (!step.done) {
    left -= typeof step.value === 'number' ? step.value : step.value.length;
    if (left < 0) {
      throw new DataError(`${file} is truncated or corrupt: its content is longer than its ${size} bytes`);
    }
    step = parser.next(yield step.value);
  }
  if (left > 0) {
    throw new DataError(`${file} is too long: ${left} of its ${size} bytes follow the end of its content`);
  }
  return step.value;
}

/** Skips `size` bytes. */
export function* skip(size: number): Parser<void> {
  for (let left = size; left > 0; left -= 65_536) yield Math.min(left, 65_536);
}

/** Reads a text of `size` bytes. */
export function* text(size: number): Parser<string> {
  return new TextDecoder().decode(yield size);
}
