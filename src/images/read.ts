/** Reads image files from disk or a stream (Node only): their start first, so that other files are not read as a whole. */
import { closeSync, fstatSync, readSync } from 'node:fs';
import { DataError } from '../errors.ts';
import { cannotRead, openParts, openRegularSync, readWhole } from '../files/files.ts';
import { requireImage } from './decode.ts';
import { headBytes } from './formats.ts';

/** Bytes of an image file; photos of 50 million pixels have less, unless they are stored without compression. */
const mostFileBytes = 2 ** 26;

/** @throws DataError if the file cannot be read or is no image. */
export async function readImageFile(path: string): Promise<Uint8Array> {
  const file = await openParts(path);
  try {
    const head = new Uint8Array(Math.min(file.size, headBytes));
    requireImage(path, head.subarray(0, await file.read(head, 0)));
  } finally {
    await file.close();
  }
  return readWhole(path, mostFileBytes);
}

/**
 * The same on the calling thread, which takes a tenth of the processor's time: for workers that read many files.
 * @throws as `readImageFile`
 */
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

/** Reads a stream to its end. `name` begins messages. @throws DataError as soon as it is no image, or too long. */
export async function readImageStream(name: string, stream: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  let length = 0;
  let isImage = false;
  for await (const part of stream) {
    parts.push(part);
    length += part.length;
    if (length > mostFileBytes)
      throw new DataError(`${name} has more than ${mostFileBytes} bytes; pass one image`);
    if (isImage || length < headBytes) continue;
    requireImage(name, Buffer.concat(parts));
    isImage = true;
  }
  const bytes = Buffer.concat(parts);
  return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length);
}
