/**
 * Reads image files on the calling thread, which takes a tenth of the processor's time: for workers that read many files
 * (Node only).
 */
import { closeSync, fstatSync, readSync } from 'node:fs';
import { DataError } from '../errors.ts';
import { cannotRead } from '../files/problems.ts';
import { openRegularSync } from '../files/regular.ts';
import { headBytes, requireImage } from './formats.ts';

/** Bytes of an image file; photos of 50 million pixels have less, unless they are stored without compression. */
export const mostFileBytes: number = 2 ** 26;

/** @throws DataError if the file cannot be read or is no image. */
export function readImageFileSync(path: string): Uint8Array {
  try {
    const file = openRegularSync(path);
    try {
      const { size } = fstatSync(file);
      const head = new Uint8Array(Math.min(size, headBytes));
      requireImage(path, head.subarray(0, readSync(file, head, 0, head.length, 0)));
      if (size > mostFileBytes)
        throw new DataError(`${path} has ${size} bytes, above the limit of ${mostFileBytes}`);
      const bytes = new Uint8Array(size);
      let length = 0;
      for (let count = -1; count !== 0 && length < size; length += count)
        count = readSync(file, bytes, length, size - length, length);
      return bytes.subarray(0, length);
    } finally {
      closeSync(file);
    }
  } catch (error) {
    throw cannotRead(path, error);
  }
}
