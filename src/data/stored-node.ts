/** Reads the images of a stored data set from its cache file, one at a time. Needs Node. */
import { DataError, reason } from '../errors.ts';
import type { StoredImages } from './stored.ts';
import type { Bytes } from './transforms/pixels.ts';

/** What is needed to read images: plain data, so that it can be sent to a worker. */
export type StoredFile = Pick<StoredImages, 'file' | 'starts' | 'sizes' | 'checksums'>;

export interface OpenImages {
  /** Image `index`, [3, H, W]. Its values are valid until the next call. */
  read(index: number): Bytes;
  close(): void;
}

const wayOut = 'prepare the data set again';

/** @throws DataError if the file is missing; `read` does if it ends too early. */
export function openStored({ file, starts, sizes, checksums }: StoredFile): OpenImages {
  const { closeSync, fstatSync, openSync, readSync } = process.getBuiltinModule('node:fs');
  const { crc32 } = process.getBuiltinModule('node:zlib');
  const guarded = <T>(action: () => T): T => {
    try {
      return action();
    } catch (error) {
      throw new DataError(`cannot read the images in ${file}: ${reason(error)}; ${wayOut}`, { cause: error });
    }
  };
  const descriptor = guarded(() => openSync(file, 'r'));
  const length = guarded(() => fstatSync(descriptor).size);
  let buffer = new Uint8Array(0);
  return {
    read(index) {
      const [start, height, width] = [starts[index], sizes[2 * index], sizes[2 * index + 1]];
      const bytes = 3 * (height ?? 0) * (width ?? 0);
      if (!Number.isSafeInteger(start) || start! < 0 || !(bytes > 0)) {
        throw new DataError(`${file} has no image ${index}; ${wayOut}`);
      }
      if (start! + bytes > length) {
        throw new DataError(
          `${file} has ${length} bytes, but image ${index} ends at byte ${start! + bytes}; ${wayOut}`,
        );
      }
      if (buffer.length < bytes) buffer = new Uint8Array(bytes);
      for (let done = 0; done < bytes; ) {
        const count = guarded(() => readSync(descriptor, buffer, done, bytes - done, start! + done));
        if (count === 0) throw new DataError(`${file} was truncated while it was read; ${wayOut}`);
        done += count;
      }
      const values = buffer.subarray(0, bytes);
      if (checksums && crc32(values) !== checksums[index]) {
        throw new DataError(
          `${file} is damaged at image ${index}, or the images were prepared anew while it was in use; start again, ` +
            'and if that does not help, delete the file',
        );
      }
      return { shape: [3, height!, width!], values };
    },
    close: () => closeSync(descriptor),
  };
}

/** Image `index` by itself. @throws as `openStored` */
export function readStored(images: StoredFile, index: number): Bytes {
  const open = openStored(images);
  try {
    return open.read(index);
  } finally {
    open.close();
  }
}

/** All images, one after the other; each is valid until the next. @throws as `openStored` */
export function* allStored(images: StoredFile): Generator<Bytes> {
  const open = openStored(images);
  try {
    for (let i = 0; i < images.starts.length; i++) yield open.read(i);
  } finally {
    open.close();
  }
}
