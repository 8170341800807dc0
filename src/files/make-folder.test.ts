import { existsSync } from 'node:fs';
import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { makeFolder } from './make-folder.ts';

let root: string;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'vggnet-folder-'));
});
afterAll(() => rm(root, { recursive: true }));

test('a folder is made with those above it, and may be there', async () => {
  const path = join(root, 'a', 'b', 'c');
  makeFolder(path);
  makeFolder(path);
  expect((await stat(path)).isDirectory()).toBe(true);
});

test('a file in its way is an error', async () => {
  await writeFile(join(root, 'file'), '');
  expect(() => makeFolder(join(root, 'file'))).toThrow('EEXIST');
  expect(() => makeFolder(join(root, 'file', 'below'))).toThrow(/ENOTDIR|EEXIST/);
});

test.skipIf(!existsSync('/proc/self'))('it ends where the system lets nothing be made', () => {
  expect(() => makeFolder('/proc/vggnet')).toThrow('the system lets no folder be made in /proc');
  expect(() => makeFolder('/proc/vggnet/below')).toThrow('the system lets no folder be made in /proc');
});
