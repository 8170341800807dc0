/** Reads stored images one at a time on the calling thread, for reports and statistics. Needs Node. */
import { DataError, reason } from '../../errors.ts';
import type { ImageShape } from '../dataset.ts';
import { type StoredImages, storedShape } from '../stored.ts';

/** An image's bytes, [3, H, W]. */
export interface StoredImage {
  readonly shape: ImageShape;
  readonly values: Uint8Array<ArrayBuffer>;
}

/** Image `index`. @throws DataError if the file cannot be read or ends too early. */
export function readStored(images: StoredImages, index: number): StoredImage {
  for (const image of storedImages(images, [index])) return image;
  throw new DataError(`${images.file} has no image ${index}; prepare the data set again`);
}

/** Images by index, read one after the other from one open file. */
export function* storedImages(images: StoredImages, indices: Iterable<number>): Generator<StoredImage> {
  const { closeSync, openSync, readSync } = process.getBuiltinModule('node:fs');
  const { file, starts } = images;
  let descriptor: number | undefined;
  try {
    descriptor = openSync(file, 'r');
    for (const index of indices) {
      const shape = storedShape(images, index);
      const values = new Uint8Array(shape[0] * shape[1] * shape[2]);
      for (let done = 0; done < values.length; ) {
        const count = readSync(descriptor, values, done, values.length - done, starts[index]! + done);
        if (count === 0)
          throw new DataError(`${file} ends before image ${index}; prepare the data set again`);
        done += count;
      }
      yield { shape, values };
    }
  } catch (error) {
    if (error instanceof DataError) throw error;
    throw new DataError(`${file} cannot be read: ${reason(error)}; prepare the data set again`, {
      cause: error,
    });
  } finally {
    if (descriptor !== undefined) closeSync(descriptor);
  }
}
