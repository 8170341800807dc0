/** A cache file that is deleted or replaced while it is read. */
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { expect, onTestFinished, test } from 'vitest';
import { KeptFiles, type StoredFile } from './stored-node.ts';

/** Writes images of one pixel. */
function write(file: string, images: readonly (readonly number[])[]): StoredFile {
  writeFileSync(`${file}.new`, Uint8Array.from(images.flat()));
  renameSync(`${file}.new`, file);
  return {
    file,
    starts: Float64Array.from(images, (_, i) => 3 * i),
    sizes: new Uint16Array(2 * images.length).fill(1),
    checksums: Uint32Array.from(images, (image) => crc32(Uint8Array.from(image))),
  };
}

test('kept files: the old one stays readable, and the images of a new one are those of the new one', () => {
  const root = mkdtempSync(join(tmpdir(), 'vgg-stored-'));
  onTestFinished(() => rmSync(root, { recursive: true, force: true }));
  const [file, kept] = [join(root, 'images.bin'), new KeptFiles()];
  const values = (images: StoredFile, index: number): number[] => [...kept.open(images).read(index).values];
  const old = write(file, [
    [1, 2, 3],
    [4, 5, 6],
  ]);
  expect(values(old, 1)).toEqual([4, 5, 6]);
  const fresh = write(file, [
    [1, 2, 3],
    [7, 8, 9],
  ]);
  expect(values(old, 1)).toEqual([4, 5, 6]);
  expect(values(fresh, 0)).toEqual([1, 2, 3]);
  expect(values(fresh, 1)).toEqual([7, 8, 9]);
  rmSync(file);
  expect(values(fresh, 1)).toEqual([7, 8, 9]);
  // Its file is gone, and so is the error for a data set that no file has.
  expect(() => kept.open(old).read(1)).toThrow('no such file or folder; prepare the data set again');
});
