import {
  appendFile,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rm,
  symlink,
  truncate,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { canMountSmallDisk, mountSmallDisk } from '../../test/small-disk.ts';
import { DataError, VggError } from '../errors.ts';
import {
  isThere,
  openAppend,
  openParts,
  readJson,
  readWhole,
  removeLeftovers,
  temporaryBeside,
  writeParts,
  writeWhole,
} from './files.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'vggnet-files-'));
});
afterEach(() => rm(folder, { recursive: true }));

describe('writeWhole', () => {
  test('replaces a file and leaves no other file', async () => {
    const path = join(folder, 'a.txt');
    await writeFile(path, 'old');
    await writeWhole(path, 'naïve');
    expect(await readFile(path, 'utf8')).toBe('naïve');
    await writeWhole(path, Uint8Array.of(1, 2));
    expect([...(await readFile(path))]).toEqual([1, 2]);
    expect(await readdir(folder)).toEqual(['a.txt']);
  });

  test('says why it fails, and leaves no temporary file', async () => {
    await mkdir(join(folder, 'taken'));
    await writeFile(join(folder, 'file'), '');
    await expect(writeWhole(join(folder, 'taken'), 'x')).rejects.toThrow(VggError);
    await expect(writeWhole(join(folder, 'taken'), 'x')).rejects.toThrow(
      /taken cannot be written: it is a folder/,
    );
    await expect(writeWhole(join(folder, 'none', 'x'), 'x')).rejects.toThrow(/no such file or folder/);
    await expect(writeWhole(join(folder, 'file', 'x'), 'x')).rejects.toThrow(/is a file, not a folder/);
    expect((await readdir(folder)).sort()).toEqual(['file', 'taken']);
  });

  test('removeLeftovers deletes only files of killed processes', async () => {
    await writeFile(temporaryBeside(join(folder, 'last.safetensors')), 'half');
    for (const name of ['notes.tmp', 'a.7.tmp', 'a.safetensors']) await writeFile(join(folder, name), '');
    expect(await removeLeftovers(folder)).toHaveLength(1);
    expect((await readdir(folder)).sort()).toEqual(['a.7.tmp', 'a.safetensors', 'notes.tmp']);
  });
});

describe('parts', () => {
  test('are written behind each other, and over each other', async () => {
    const path = join(folder, 'a');
    await writeParts(path, async ({ append, overwrite }) => {
      await append(Uint8Array.of(1, 2, 3));
      await overwrite(Uint8Array.of(9), 1);
      await append(new Uint8Array(0));
      await append(Uint8Array.of(4));
      expect(await readdir(folder)).toEqual([expect.stringMatching(/^a\.[0-9a-f]{16}\.tmp$/)]);
    });
    expect([...(await readFile(path))]).toEqual([1, 9, 3, 4]);
    expect(await readdir(folder)).toEqual(['a']);
  });

  test('leave the old file if the writer throws, whose error is passed on', async () => {
    const path = join(folder, 'a');
    await writeFile(path, 'old');
    const own = new Error('own');
    const written = writeParts(path, async ({ append }) => {
      await append(Uint8Array.of(1));
      throw own;
    });
    await expect(written).rejects.toBe(own);
    expect(await readFile(path, 'utf8')).toBe('old');
    expect(await readdir(folder)).toEqual(['a']);
  });

  test('are read at any position, up to the end of the file', async () => {
    const path = join(folder, 'a');
    await writeFile(path, Uint8Array.of(1, 2, 3, 4, 5));
    const file = await openParts(path);
    expect(file.size).toBe(5);
    const part = new Uint8Array(3);
    expect(await file.read(part, 1)).toBe(3);
    expect([...part]).toEqual([2, 3, 4]);
    expect(await file.read(part, 3)).toBe(2);
    expect([...part]).toEqual([4, 5, 4]);
    expect(await file.read(part, 5)).toBe(0);
    await file.close();
    await expect(openParts(folder)).rejects.toThrow(/cannot be read: it is a folder/);
  });

  test('are read beyond 4 GiB', async () => {
    const path = join(folder, 'sparse');
    await writeFile(path, 'first');
    await truncate(path, 5 * 2 ** 30);
    await appendFile(path, 'last');
    const file = await openParts(path);
    expect(file.size).toBe(5 * 2 ** 30 + 4);
    const part = new Uint8Array(6);
    await file.read(part, 5 * 2 ** 30 - 2);
    expect([...part]).toEqual([0, 0, ...Buffer.from('last')]);
    await file.close();
  });
});

test('openAppend appends to an existing file', async () => {
  const path = join(folder, 'log');
  await writeFile(path, 'a\n');
  const file = await openAppend(path);
  await file.append('b\n');
  await file.append(Uint8Array.of(99, 10));
  await file.sync();
  await file.close();
  expect(await readFile(path, 'utf8')).toBe('a\nb\nc\n');
  await expect(openAppend(folder)).rejects.toThrow(/cannot be written: it is a folder/);
});

test('readWhole and readJson name the file and the rule', async () => {
  const path = join(folder, 'x.json');
  await writeFile(path, '{"a":');
  await expect(readWhole(path, 4)).rejects.toThrow('x.json has 5 bytes, above the limit of 4');
  await expect(readJson(path)).rejects.toThrow(DataError);
  await expect(readJson(path)).rejects.toThrow(/x\.json is damaged: it is not JSON/);
  await writeFile(path, Uint8Array.of(0x22, 0xff, 0x22));
  await expect(readJson(path)).rejects.toThrow(/x\.json is damaged/);
  await expect(readWhole(join(folder, 'none'), 4)).rejects.toThrow(/none cannot be read: no such file/);
});

test('isThere says no only where the system does', async () => {
  await symlink('circle', join(folder, 'circle'));
  await writeFile(join(folder, 'file'), '');
  const paths = ['', 'none', 'file/x', 'circle'].map((name) => join(folder, name));
  expect(paths.map(isThere)).toEqual([true, false, false, false]);
  expect(() => isThere(join(folder, 'x'.repeat(300)))).toThrow(DataError);
});

describe.skipIf(!canMountSmallDisk)('on a full disk (skipped where tmpfs cannot be mounted)', () => {
  let unmount: () => void;
  beforeEach(() => {
    unmount = mountSmallDisk(folder, '256k');
  });
  afterEach(() => unmount());

  test('writeWhole leaves the old file, openAppend the complete writes', async () => {
    const path = join(folder, 'a');
    await writeWhole(path, 'old');
    await expect(writeWhole(path, new Uint8Array(300_000))).rejects.toThrow(
      /a cannot be written: no space left/,
    );
    expect(await readFile(path, 'utf8')).toBe('old');
    const log = join(folder, 'log');
    const file = await openAppend(log);
    await file.append('first\n');
    await expect(file.append(new Uint8Array(300_000))).rejects.toThrow(
      /log cannot be written: no space left/,
    );
    await file.append('second\n');
    await file.close();
    expect(await readFile(log, 'utf8')).toBe('first\nsecond\n');
    expect((await readdir(folder)).sort()).toEqual(['a', 'log']);
  });
});
