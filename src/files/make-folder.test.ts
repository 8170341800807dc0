import { existsSync } from 'node:fs';
import { mkdtemp, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { VggError } from '../errors.ts';
import { makeFolder } from './make-folder.ts';

let root: string;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'vggnet-folder-'));
});
afterAll(() => rm(root, { recursive: true }));

test('creates a folder and its parents, which may exist', async () => {
  const path = join(root, 'a', 'b', 'c');
  makeFolder(path);
  makeFolder(path);
  expect((await stat(path)).isDirectory()).toBe(true);
});

test('a file in the path is an error', async () => {
  await writeFile(join(root, 'file'), '');
  const path = join(root, 'file');
  expect(() => makeFolder(path)).toThrow(
    new VggError(`cannot create the folder ${path}: a file with this name already exists`),
  );
  expect(() => makeFolder(join(path, 'below'))).toThrow(/cannot create the folder .*below: .* file/);
  await symlink(join(root, 'nowhere'), join(root, 'dangling'));
  expect(() => makeFolder(join(root, 'dangling', 'below'))).toThrow(/cannot create the folder .*dangling/);
});

test.skipIf(!existsSync('/proc/self'))('returns if the system allows no folder', () => {
  expect(() => makeFolder('/proc/vggnet')).toThrow('cannot create a folder in /proc');
  expect(() => makeFolder('/proc/vggnet/below')).toThrow('cannot create a folder in /proc');
});
