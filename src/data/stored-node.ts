/** Reads the images of a stored data set one at a time, from its cache file (which needs Node) or from memory. */
import { DataError } from '../errors.ts';
import { reason } from '../reason.ts';
import type { StoredImages } from './stored.ts';
import type { Bytes } from './transforms/pixels.ts';

/** What is needed to read images: plain data, so that it can be sent to a worker. */
export type StoredFile = Pick<StoredImages, 'file' | 'bytes' | 'starts' | 'sizes' | 'checksums'>;

export interface OpenImages {
  /** Image `index`, [3, H, W]. Its values are valid until the next call. */
  read(index: number): Bytes;
  close(): void;
}

const wayOut = 'prepare the data set again';

/**
 * Opens files once and keeps them: a cache file that is deleted or replaced, because its folder changed, stays readable
 * for a training in progress.
 */
export class KeptFiles {
  readonly #descriptors = new Map<string, number>();

  /** @throws as `openStored` */
  open(images: StoredFile): OpenImages {
    // Without checksums, an image of the file before could be taken for one of this file.
    if (!images.checksums || images.bytes) return openStored(images);
    const { file } = images;
    const readNew = (): OpenImages => {
      const descriptor = opened(file);
      const before = this.#descriptors.get(file);
      if (before !== undefined) closeFile(before);
      this.#descriptors.set(file, descriptor);
      return readerOf(images, descriptor, () => undefined);
    };
    const known = this.#descriptors.get(file);
    let mayBeOld = known !== undefined;
    let reader = known === undefined ? readNew() : readerOf(images, known, () => undefined);
    return {
      read(index) {
        try {
          return reader.read(index);
        } catch (error) {
          if (!mayBeOld) throw error;
          // The data set was prepared again, and is that of the new file.
          mayBeOld = false;
          reader = readNew();
          return reader.read(index);
        }
      },
      close: () => undefined,
    };
  }
}

const closeFile = (descriptor: number): void => process.getBuiltinModule('node:fs').closeSync(descriptor);

function guarded<T>(file: string, action: () => T): T {
  try {
    return action();
  } catch (error) {
    throw new DataError(`cannot read the images in ${file}: ${reason(error)}; ${wayOut}`, { cause: error });
  }
}

const opened = (file: string): number =>
  guarded(file, () => process.getBuiltinModule('node:fs').openSync(file, 'r'));

/** @throws DataError if the file is missing; `read` does if it ends too early. */
export function openStored(images: StoredFile): OpenImages {
  if (images.bytes) return readerInMemory(images, images.bytes);
  const descriptor = opened(images.file);
  return readerOf(images, descriptor, () => closeFile(descriptor));
}

function readerInMemory({ file, starts, sizes }: StoredFile, pixels: Uint8Array): OpenImages {
  return {
    read(index) {
      const { start, height, width, bytes } = placeOf({ file, starts, sizes }, index);
      return { shape: [3, height, width], values: pixels.subarray(start, start + bytes) };
    },
    close: () => undefined,
  };
}

/** Where an image is. @throws DataError if there is none. */
function placeOf(
  { file, starts, sizes }: Pick<StoredFile, 'file' | 'starts' | 'sizes'>,
  index: number,
): { readonly start: number; readonly height: number; readonly width: number; readonly bytes: number } {
  const [start, height = 0, width = 0] = [starts[index], sizes[2 * index], sizes[2 * index + 1]];
  const bytes = 3 * height * width;
  if (start === undefined || !Number.isSafeInteger(start) || start < 0 || !(bytes > 0)) {
    throw new DataError(`${file} has no image ${index}; ${wayOut}`);
  }
  return { start, height, width, bytes };
}

function readerOf(
  { file, starts, sizes, checksums }: StoredFile,
  descriptor: number,
  close: () => void,
): OpenImages {
  const { fstatSync, readSync } = process.getBuiltinModule('node:fs');
  const { crc32 } = process.getBuiltinModule('node:zlib');
  const length = guarded(file, () => fstatSync(descriptor).size);
  let buffer = new Uint8Array(0);
  return {
    read(index) {
      const { start, height, width, bytes } = placeOf({ file, starts, sizes }, index);
      if (start + bytes > length) {
        throw new DataError(
          `${file} has ${length} bytes, but image ${index} ends at byte ${start + bytes}; ${wayOut}`,
        );
      }
      if (buffer.length < bytes) buffer = new Uint8Array(bytes);
      for (let done = 0; done < bytes; ) {
        const count = guarded(file, () => readSync(descriptor, buffer, done, bytes - done, start + done));
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
      return { shape: [3, height, width], values };
    },
    close,
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
