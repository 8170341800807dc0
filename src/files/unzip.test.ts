import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { crc32, deflateRawSync } from 'node:zlib';
import { afterAll, expect, test } from 'vitest';
import type { PartReader } from './parts.ts';
import { bytesOfZipped, filesInZip, type UnzipLimits } from './unzip.ts';
import { directoryOf, localHeader } from './zip-writer.ts';

const folder = mkdtempSync(join(tmpdir(), 'vggnet-zip-'));
afterAll(() => rmSync(folder, { recursive: true }));

const readerOf = (bytes: Uint8Array): PartReader => ({
  path: 'a.zip',
  size: bytes.length,
  read: async (into, position) => {
    const part = bytes.subarray(position, position + into.length);
    into.set(part);
    return part.length;
  },
});

interface Given {
  readonly name: string;
  readonly text: string;
  readonly deflated?: boolean;
  /** What the directory says instead of the truth. */
  readonly said?: { readonly size?: number; readonly crc?: number; readonly mode?: number };
}

/** An archive by our own writer, in which entries may be deflated and the directory may lie. */
function zipOf(entries: readonly Given[]): Buffer {
  const made = entries.map(({ name, text, deflated = false, said = {} }) => {
    const bytes = Buffer.from(text);
    const packed = deflated ? deflateRawSync(bytes) : bytes;
    const entry = { name, size: packed.length, crc: said.crc ?? crc32(bytes) };
    return { entry, packed, deflated, size: said.size ?? bytes.length, mode: said.mode };
  });
  const directory = Buffer.from(directoryOf(made.map(({ entry }) => entry)));
  let at = 0;
  const parts = made.map(({ entry, packed, deflated, size, mode }) => {
    const local = Buffer.from(localHeader(entry));
    if (deflated) local.writeUInt16LE(8, 8);
    directory.writeUInt16LE(deflated ? 8 : 0, at + 10);
    directory.writeUInt32LE(size, at + 24);
    if (mode !== undefined) directory.writeUInt32LE(mode * 65_536, at + 38);
    at += 46 + Buffer.byteLength(entry.name);
    return Buffer.concat([local, packed]);
  });
  return Buffer.concat([...parts, directory]);
}

const limits: UnzipLimits = { entries: 100, bytes: 1_000_000 };
const contents = async (bytes: Uint8Array, own = limits): Promise<Record<string, string>> => {
  const files = await filesInZip(readerOf(bytes), own);
  const texts = await Promise.all(
    files.map(async (file) => new TextDecoder().decode(await bytesOfZipped(file))),
  );
  return Object.fromEntries(files.map(({ path }, i) => [path, texts[i]!]));
};

const long = 'abc'.repeat(50_000);

test('stored and deflated entries are unpacked; folders are left out', async () => {
  const zip = zipOf([
    { name: 'run/', text: '' },
    { name: 'run/config.json', text: '{}' },
    { name: './run/größe.txt', text: long, deflated: true },
    { name: 'run/empty', text: '' },
  ]);
  expect(await contents(zip)).toEqual({ 'run/config.json': '{}', 'run/größe.txt': long, 'run/empty': '' });
});

test('Python reads what is written, and what Python writes is read', async () => {
  const file = join(folder, 'own.zip');
  writeFileSync(
    file,
    zipOf([
      { name: 'a/größe.txt', text: 'x'.repeat(100) },
      { name: 'a/b', text: '' },
    ]),
  );
  const python = (code: string): string =>
    execFileSync('/usr/bin/python3', ['-c', code], { encoding: 'utf8' });
  const read = `import zipfile; z = zipfile.ZipFile(${JSON.stringify(file)}); print(z.testzip(), [(i.filename, i.file_size, i.date_time) for i in z.infolist()])`;
  expect(python(read)).toBe(
    "None [('a/größe.txt', 100, (1980, 1, 1, 0, 0, 0)), ('a/b', 0, (1980, 1, 1, 0, 0, 0))]\n",
  );
  const other = join(folder, 'python.zip');
  python(
    `import zipfile; z = zipfile.ZipFile(${JSON.stringify(other)}, 'w', zipfile.ZIP_DEFLATED); z.writestr('a/b.txt', 'abc' * 50000); z.close()`,
  );
  expect(await contents(readFileSync(other))).toEqual({ 'a/b.txt': long });
});

test.each<readonly [string, readonly Given[], RegExp]>([
  [
    'a path that leads outside',
    [{ name: 'a/../../b', text: '' }],
    /"a\/..\/..\/b" is outside the archive's folder/,
  ],
  ['an absolute path', [{ name: '/etc/passwd', text: '' }], /outside the archive's folder/],
  ['a path of Windows', [{ name: 'C:\\b', text: '' }], /outside the archive's folder/],
  ['a link', [{ name: 'a', text: 'b', said: { mode: 0o120777 } }], /"a" is a link or a special file/],
  [
    'the same file twice',
    [
      { name: 'a', text: '1' },
      { name: './a', text: '2' },
    ],
    /has the entry "a" twice/,
  ],
  ['a wrong checksum', [{ name: 'a', text: '1', said: { crc: 7 } }], /the checksum of entry "a" is wrong/],
  [
    'more than it says',
    [{ name: 'a', text: long, deflated: true, said: { size: 10 } }],
    /unpacks to more than the 10/,
  ],
  [
    'less than it says',
    [{ name: 'a', text: '1', deflated: true, said: { size: 10 } }],
    /unpacks to 1 bytes instead of 10/,
  ],
  [
    'too much in total',
    [1, 2].map((n) => ({ name: `${n}`, text: '1', deflated: true, said: { size: 600_000 } })),
    /unpacks to more than 1000000 bytes/,
  ],
])('%s is refused', async (_, entries, message) => {
  await expect(contents(zipOf(entries))).rejects.toThrow(message);
});

test('deflated data that is damaged, and too many entries, are refused', async () => {
  const zip = zipOf([{ name: 'a', text: long, deflated: true }]);
  zip.fill(0xff, 31, 60);
  await expect(contents(zip)).rejects.toThrow(/entry "a" is not deflated data/);
  const many = zipOf(Array.from({ length: 101 }, (_, i) => ({ name: `${i}`, text: '' })));
  await expect(contents(many)).rejects.toThrow('it has 101 entries, above the limit of 100');
});
