/** A collection as a zip: a folder for each class. Archives come from anyone: sizes first, then paths, then images. */

import type { PathFile } from '../../../browser/chosen-files.ts';
import { blobParts } from '../../../browser/opfs.ts';
import { crc32 } from '../../../crc32.ts';
import { isImageName, isSystemName } from '../../../data/folders/found.ts';
import { DataError } from '../../../errors.ts';
import { bytesOfZipped, filesInZip } from '../../../files/unzip.ts';
import { startsLikeZip } from '../../../files/zip.ts';
import { directoryOf, localHeader, type StoredEntry } from '../../../files/zip-writer.ts';

/** Entries and unpacked bytes of an archive. */
const limits = { entries: 10_000, bytes: 2 ** 29 };
const longestName = 60;

export async function packed(files: readonly PathFile[]): Promise<Blob> {
  const parts: BlobPart[] = [];
  const entries: StoredEntry[] = [];
  for (const { path, file } of files) {
    const bytes = new Uint8Array(await file.arrayBuffer());
    const entry = { name: path, size: bytes.length, crc: crc32(bytes) };
    entries.push(entry);
    parts.push(localHeader(entry) as Uint8Array<ArrayBuffer>, bytes);
  }
  parts.push(directoryOf(entries) as Uint8Array<ArrayBuffer>);
  return new Blob(parts, { type: 'application/zip' });
}

/** The image files of each class, which is the folder that holds them. @throws DataError */
export async function unpacked(zip: Blob): Promise<ReadonlyMap<string, readonly Blob[]>> {
  const name = zip instanceof File ? zip.name : 'the archive';
  const inArchive = (error: unknown): unknown =>
    error instanceof DataError ? new DataError(`${name}: ${error.message}`, { cause: error }) : error;
  if (!startsLikeZip(new Uint8Array(await zip.slice(0, 4).arrayBuffer())))
    throw new DataError(`${name} is no zip archive; choose one with a folder of images for each class`);
  const classes = new Map<string, Blob[]>();
  try {
    for (const file of await filesInZip(blobParts(name, zip), limits)) {
      const parts = file.path.split('/');
      const folder = parts.at(-2)?.normalize('NFC').slice(0, longestName);
      if (folder === undefined || parts.some(isSystemName) || !isImageName(file.path)) continue;
      const images = classes.get(folder) ?? [];
      classes.set(folder, images);
      images.push(new Blob([await bytesOfZipped(file)]));
    }
  } catch (error) {
    throw inArchive(error);
  }
  if (classes.size > 0) return classes;
  throw new DataError(
    `${name} has no images in folders; put the images of each class into a folder of its own`,
  );
}
