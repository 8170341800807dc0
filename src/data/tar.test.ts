import { spawnSync } from 'node:child_process';
import { linkSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { tar, writeSparse } from '../../test/cifar-fixtures.ts';
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

  test('gives an extended header only to the next file', async () => {
    const archive = tar([
      file('pax', pax('mtime', '1') + pax('path', 'd/long'), 'x'),
      file('short', 'first'),
      file('d/two', 'second'),
    ]);
    expect(await read(archive)).toEqual({ 'd/long': 'first', 'd/two': 'second' });
  });

  test('ends at its end marker', async () => {
    const archive = Buffer.concat([tar([file('d/one', 'first')]), bytes('whatever')]);
    expect(await read(archive)).toEqual({ 'd/one': 'first' });
  });
});

describe('an untrusted archive', () => {
  test.each(['../evil', 'd/../../evil', '/etc/evil', '\\evil', 'd\\..\\..\\evil', 'C:\\evil', 'c:evil'])(
    'writes to %s',
    async (path) => {
      const reading = read(tar([file(path, 'evil')]));
      await expect(reading).rejects.toThrow(DataError);
      await expect(reading).rejects.toThrow(/a\.tar: member ".*evil" is outside the archive's folder/);
    },
  );

  test('leaves its folder through an extended header', async () => {
    const archive = tar([file('pax', pax('path', '../evil'), 'x'), file('d/one', 'first')]);
    await expect(read(archive)).rejects.toThrow(/member "\.\.\/evil" is outside/);
  });

  test.each(['1', '2', '3', '4', '6', 'D'])('has a member of type %s', async (type) => {
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

test("a member's parser must use exactly the member's size", async () => {
  const archive = tar([file('d/one', 'first')]);
  const readWith = (size: number) =>
    parse(
      readTar('a.tar', () => skip(size)),
      [archive],
      'a.tar',
    );
  await expect(readWith(6)).rejects.toThrow(/d\/one in a\.tar is truncated or corrupt/);
  await expect(readWith(4)).rejects.toThrow(/d\/one in a\.tar is too long: 1 of its 5 bytes follow/);
});

const has = (program: string): boolean => spawnSync(program, ['--version']).status === 0;

/** The program, its options, and whether names above 100 characters fit. */
const forms: readonly (readonly [string, ...string[]])[] = [
  ['tar', '--format=v7'],
  ['tar', '--format=oldgnu'],
  ['tar', '--format=gnu'],
  ['tar', '--format=gnu', '--sparse'],
  ['tar', '--format=ustar'],
  ['tar', '--format=posix'],
  ['tar', '--format=posix', '--sparse', '--sparse-version=0.0'],
  ['tar', '--format=posix', '--sparse', '--sparse-version=0.1'],
  ['tar', '--format=posix', '--sparse', '--sparse-version=1.0'],
  ['tar', '--format=gnu', '--label=CIFAR'],
  ['bsdtar', '--format=ustar'],
  ['bsdtar', '--format=pax'],
  ['bsdtar', '--format=gnutar'],
  ['bsdtar', '--format=v7'],
  ['bsdtar', '--format=pax', '--no-read-sparse'],
];

describe('archives that other programs write', () => {
  let root: string;
  const long = join('long'.repeat(20), 'name'.repeat(12));
  beforeAll(() => {
    root = mkdtempSync(join(tmpdir(), 'vggnet-tar-'));
    mkdirSync(join(root, 'd', 'empty'), { recursive: true });
    writeFileSync(join(root, 'd', 'one.bin'), 'first');
    writeFileSync(join(root, 'd', 'größe'), 'second');
    // Pieces at both ends and in the middle, and a file that is one hole.
    writeSparse(join(root, 'd', 'holes'), 1_000_001, { 0: [1, 2], 500000: [3], 1000000: [4] });
    writeSparse(join(root, 'd', 'hole'), 300_000);
    mkdirSync(join(root, 'd', 'long'.repeat(20)));
    writeFileSync(join(root, 'd', long), 'third');
    const many = Object.fromEntries(Array.from({ length: 40 }, (_, i) => [i * 65_536, [i + 1]]));
    writeSparse(join(root, 'd', 'many holes'), 40 * 65_536, many);
  });
  afterAll(() => rmSync(root, { recursive: true }));

  for (const place of ['d', './d', '.']) {
    test.for(forms)(
      `%s of ${place} (skipped where it is missing)`,
      async ([program, ...options], context) => {
        if (!has(program)) context.skip();
        // v7 has no room for the long name, nor has a plain name of 132 characters in ustar without a folder to split at.
        const without = options.includes('--format=v7') ? ['--exclude', 'longlong*'] : [];
        const archive = join(root, 'a.tar');
        const words = [
          ...options,
          ...without,
          '-cf',
          archive,
          '-C',
          place === '.' ? join(root, 'd') : root,
          place,
        ];
        const { status, stderr } = spawnSync(program, words, {
          encoding: 'utf8',
          env: { ...process.env, LC_ALL: 'C.UTF-8' },
        });
        expect(stderr).toBe('');
        expect(status).toBe(0);
        const found = await read(readFileSync(archive), { chunk: 65_536 });
        const expected = [
          'one.bin',
          'größe',
          'holes',
          'hole',
          'many holes',
          ...(without.length > 0 ? [] : [long]),
        ];
        const prefix = place === '.' ? './' : `${place}/`;
        expect(Object.keys(found).sort()).toEqual(expected.map((name) => prefix + name).sort());
        for (const name of expected) {
          expect(found[prefix + name] === readFileSync(join(root, 'd', name), 'utf8'), name).toBe(true);
        }
      },
    );
  }

  test('a hard link is rejected by name', async () => {
    const folder = mkdtempSync(join(root, 'links-'));
    writeFileSync(join(folder, 'a'), 'x');
    linkSync(join(folder, 'a'), join(folder, 'b'));
    const { stdout } = spawnSync('tar', ['-cf', '-', '-C', folder, 'a', 'b']);
    await expect(read(stdout)).rejects.toThrow('member b is a link or special file (type 1)');
  });
});

describe('an untrusted sparse file', () => {
  const map = (text: string): string => pax('GNU.sparse.size', '8') + pax('GNU.sparse.map', text);
  test.each(['0,4,2,2', '0,4,8,4', '0', '4,2,0,2', '0,2', '', 'x,2'])('has the map %j', async (text) => {
    const archive = tar([file('pax', map(text), 'x'), file('d/one', '123')]);
    await expect(read(archive)).rejects.toThrow(/is corrupt/);
  });

  test('is larger than the limit, or has too many pieces', async () => {
    const huge = pax('GNU.sparse.size', '99999999999') + pax('GNU.sparse.map', '0,3');
    await expect(read(tar([file('pax', huge, 'x'), file('d/one', '123')]))).rejects.toThrow(
      /unpacks to more/,
    );
    const header = pax('GNU.sparse.major', '1') + pax('GNU.sparse.realsize', '8');
    for (const text of ['x\n', '9999999\n', '99999999999\n', '']) {
      const archive = tar([file('pax', header, 'x'), file('d/one', text.padEnd(1024, '1'))]);
      await expect(read(archive), text).rejects.toThrow(/map of a sparse file is corrupt/);
    }
  });
});
