import { mkdtemp, open, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { DataError } from '../errors.ts';
import { readImageFile, readImageStream } from './read.ts';
import { readImageFileSync } from './read-sync.ts';

const path = 'test/golden/images/alpha.png';

test('a file is read as a whole, and a stream to its end', async () => {
  const bytes = new Uint8Array(await readFile(path));
  expect(await readImageFile(path)).toEqual(bytes);
  expect(readImageFileSync(path)).toEqual(bytes);
  async function* parts(): AsyncGenerator<Uint8Array> {
    yield bytes.subarray(0, 3);
    yield bytes.subarray(3, 700);
    yield bytes.subarray(700);
  }
  expect(await readImageStream('pipe', parts())).toEqual(bytes);
});

test('a file of another kind is refused by its start, however long it is', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'vggnet-read-'));
  onTestFinished(() => rm(folder, { recursive: true }));
  const large = join(folder, 'large.jpg');
  await using file = await open(large, 'w');
  // Sparse: it takes no room on the disk.
  await file.truncate(2 ** 42);
  await expect(readImageFile(large)).rejects.toThrow(`${large}: the file is no image in a known format`);
  expect(() => readImageFileSync(large)).toThrow(`${large}: the file is no image in a known format`);
  await file.write(Uint8Array.of(0xff, 0xd8, 0xff), 0, 3, 0);
  await expect(readImageFile(large)).rejects.toThrow(DataError);
  await expect(readImageFile(large)).rejects.toThrow('above the limit of 67108864');
  expect(() => readImageFileSync(large)).toThrow('above the limit of 67108864');
  expect(() => readImageFileSync(join(folder, 'none.jpg'))).toThrow('cannot be read: no such file');
  expect(() => readImageFileSync(folder)).toThrow('cannot be read: it is a folder');
  await expect(readImageFile(join(folder, 'none.jpg'))).rejects.toThrow('cannot be read: no such file');
});

test('an endless stream of something else ends', async () => {
  let parts = 0;
  async function* endless(): AsyncGenerator<Uint8Array> {
    for (;;) {
      parts++;
      yield new Uint8Array(100);
    }
  }
  await expect(readImageStream('pipe', endless())).rejects.toThrow('pipe: the file is no image');
  expect(parts).toBe(6);
});
