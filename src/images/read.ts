/** Reads image files from disk or a stream (Node only): their start first, so that other files are not read as a whole. */
import { DataError } from '../errors.ts';
import { openParts, readWhole } from '../files/files.ts';
import { headBytes, requireImage } from './formats.ts';
import { mostFileBytes } from './read-sync.ts';

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
