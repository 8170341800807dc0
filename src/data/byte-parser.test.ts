import { expect, test } from 'vitest';
import { DataError } from '../errors.ts';
import { exactly, type Parser, parse, skip, text } from './byte-parser.ts';

/** A length byte, that many bytes as text, 4 bytes into an array, and what follows 3 skipped bytes. */
function* sample(): Parser<readonly [string, number[], number]> {
  const length = (yield 1)[0]!;
  const name = yield* text(length);
  const four = new Uint8Array(4);
  yield four;
  yield* skip(3);
  return [name, [...four], (yield 1)[0]!];
}
const bytes = Uint8Array.of(3, 0x66, 0x69, 0x67, 1, 2, 3, 4, 9, 9, 9, 42);

function* cut(size: number): Generator<Uint8Array> {
  // One buffer for all chunks, as files are read: a parser must not keep a view of it.
  const buffer = new Uint8Array(size);
  for (let i = 0; i < bytes.length; i += size) {
    const chunk = bytes.subarray(i, i + size);
    buffer.set(chunk);
    yield buffer.subarray(0, chunk.length);
  }
}

test.each([1, 2, 3, 5, 11, 12])('a parser gets the same from chunks of %i bytes', async (size) => {
  expect(await parse(sample(), cut(size), 'f')).toEqual(['fig', [1, 2, 3, 4], 42]);
});

test('a parser that needs no bytes reads no chunk', async () => {
  function* nothing(): Parser<number> {
    yield 0;
    return 7;
  }
  const unread: Iterable<Uint8Array> = { [Symbol.iterator]: () => expect.unreachable('read a chunk') };
  expect(await parse(nothing(), unread, 'f')).toBe(7);
});

test('bytes that end early are an error that names file and length', async () => {
  await expect(parse(sample(), [bytes.subarray(0, 7)], 'some.bin')).rejects.toThrow(
    'some.bin is truncated: it ends after 7 bytes',
  );
});

test('exactly requires a parser to use all its bytes', async () => {
  expect(await parse(exactly(sample(), 12, 'f'), [bytes], 'f')).toEqual(['fig', [1, 2, 3, 4], 42]);
  const short = parse(exactly(sample(), 11, 'f'), [bytes], 'f');
  await expect(short).rejects.toThrow(DataError);
  await expect(short).rejects.toThrow('f is truncated or corrupt: its content is longer than its 11 bytes');
  await expect(parse(exactly(sample(), 14, 'f'), [bytes], 'f')).rejects.toThrow(
    'f is too long: 2 of its 14 bytes follow the end of its content',
  );
});
