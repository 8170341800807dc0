import { describe, expect, test } from 'vitest';
import { tar } from '../../test/cifar-fixtures.ts';
import { DataError } from '../errors.ts';
import { parse, skip, text } from './byte-parser.ts';
import { readTar, type TarLimits } from './tar.ts';

/** The archive's files with their texts, read in chunks of `chunk` bytes. */
async function read(
  archive: Uint8Array,
  { chunk = archive.length, limits }: { chunk?: number; limits?: TarLimits } = {},
): Promise<Record<string, string>> {
  const found: Record<string, string> = {};
  const chunks = Array.from({ length: Math.ceil(archive.length / chunk) }, (_, i) =>
    archive.subarray(i * chunk, (i + 1) * chunk),
  );
  function* keep(path: string, size: number) {
    found[path] = yield* text(size);
  }
  await parse(
    readTar('a.tar', ({ path, size }) => keep(path, size), limits),
    chunks,
    'a.tar',
  );
  return found;
}

const bytes = (content: string): Uint8Array => new TextEncoder().encode(content);
const file = (path: string, content: string, type = '0') => ({ path, content: bytes(content), type });

/** A record of a pax header: its own length, counted in, stands in front. */
function pax(key: string, value: string): string {
  const rest = ` ${key}=${value}\n`;
  const length = [1, 2, 3]
    .map((digits) => rest.length + digits)
    .find((n) => String(n).length + rest.length === n);
  return `${length}${rest}`;
}

describe('a tar archive', () => {
  test('gives its files, whatever the chunks', async () => {
    const archive = tar([file('d/', '', '5'), file('d/one', 'first'), file('d/two', 'x'.repeat(512))]);
    for (const chunk of [1, 511, 513, archive.length]) {
      expect(await read(archive, { chunk })).toEqual({ 'd/one': 'first', 'd/two': 'x'.repeat(512) });
    }
  });

  test('gives an extended header to the next file alone', async () => {
    const archive = tar([
      file('pax', pax('mtime', '1') + pax('path', 'd/long'), 'x'),
      file('short', 'first'),
      file('d/two', 'second'),
    ]);
    expect(await read(archive)).toEqual({ 'd/long': 'first', 'd/two': 'second' });
  });

  test('ends at its end mark', async () => {
    const archive = Buffer.concat([tar([file('d/one', 'first')]), bytes('whatever')]);
    expect(await read(archive)).toEqual({ 'd/one': 'first' });
  });
});

describe('an archive that is not trusted', () => {
  test.each(['../evil', 'd/../../evil', '/etc/evil', '\\evil', 'd\\..\\..\\evil', 'C:\\evil', 'c:evil'])(
    'writes to %s',
    async (path) => {
      const reading = read(tar([file(path, 'evil')]));
      await expect(reading).rejects.toThrow(DataError);
      await expect(reading).rejects.toThrow(/a\.tar: member ".*evil" climbs out of the archive's folder/);
    },
  );

  test('climbs out by an extended header', async () => {
    const archive = tar([file('pax', pax('path', '../evil'), 'x'), file('d/one', 'first')]);
    await expect(read(archive)).rejects.toThrow(/member "\.\.\/evil" climbs out/);
  });

  test.each(['1', '2', '3', '4', '6', 'L'])('has a member of type %s', async (type) => {
    await expect(read(tar([file('d/one', '', type)]))).rejects.toThrow(
      `a.tar: member d/one is a link or special file (type ${type})`,
    );
  });

  test('has more members or bytes than the limits', async () => {
    const archive = tar([file('one', '12345'), file('two', '12345')]);
    expect(await read(archive, { limits: { members: 2, bytes: 10 } })).toHaveProperty('two');
    await expect(read(archive, { limits: { members: 1, bytes: 10 } })).rejects.toThrow(/more than 1 members/);
    await expect(read(archive, { limits: { members: 2, bytes: 9 } })).rejects.toThrow(
      /unpacks to more than 9 bytes \(at two\)/,
    );
  });

  test('has a huge or a broken extended header', async () => {
    await expect(read(tar([file('pax', 'x'.repeat(65_537), 'x')]))).rejects.toThrow(/header has 65537 bytes/);
    for (const header of ['99 path=a\n', 'path=a\n', '7 path\n', pax('size', '-1')]) {
      await expect(read(tar([file('pax', header, 'x')])), header).rejects.toThrow(
        /\(pax\) header is corrupt/,
      );
    }
  });

  test('is cut off or changed', async () => {
    const archive = tar([file('d/one', 'x'.repeat(600))]);
    await expect(read(archive.subarray(0, 700))).rejects.toThrow(
      'a.tar is truncated: it ends after 700 bytes',
    );
    archive[0]! ^= 1;
    await expect(read(archive)).rejects.toThrow(/header has a wrong checksum/);
  });
});

test("a member's parser is held to the member's size", async () => {
  const archive = tar([file('d/one', 'first')]);
  const readWith = (size: number) =>
    parse(
      readTar('a.tar', () => skip(size)),
      [archive],
      'a.tar',
    );
  await expect(readWith(6)).rejects.toThrow(/d\/one in a\.tar is truncated or corrupt/);
  await expect(readWith(4)).rejects.toThrow(/d\/one in a\.tar is too long: its content ends 1 bytes before/);
});
