/**
 * The file that keeps the prepared images of a data set (Node only): pixels first, then an index, whose place and
 * checksum come last (docs/file-formats.md). It is written once, completely or not at all, and then only read.
 *
 *     "VGGIMG1\n" | images, [3, H, W] each | index | start of the index, its length (float64 each), its SHA-256 | "VGGIMG1\n"
 *
 * The index: a length (uint32), JSON with side, root and paths, zeros up to a multiple of 8, and columns of numbers.
 */
import { createHash } from 'node:crypto';
import * as z from 'zod';
import { check } from '../../check.ts';
import { DataError } from '../../errors.ts';
import { openParts } from '../../files/files.ts';
import type { PartReader, PartWriter } from '../../files/parts.ts';
import { parseJson } from '../../json.ts';
import { mostImages } from './found.ts';

/** What identifies the content of an image file without reading it; times are in milliseconds. */
export interface SourceStamp {
  readonly size: number;
  readonly modified: number;
  readonly changed: number;
}

/** An image in a cache file. */
export interface CachedImage extends SourceStamp {
  /** Relative to the root. */
  readonly path: string;
  /** Both 0 if the file is broken. */
  readonly height: number;
  readonly width: number;
  /** CRC-32 of the bytes. */
  readonly checksum: number;
  /** Sums of the bytes of red, green and blue, then of their squares. */
  readonly sums: readonly number[];
  /** Why the file cannot be used. */
  readonly problem?: string;
}

/** A cache file's content without the pixels. */
export interface CacheIndex {
  /** Shorter side of the images in pixels. */
  readonly side: number;
  readonly root: string;
  readonly images: readonly CachedImage[];
}

const magic = Buffer.from('VGGIMG1\n', 'latin1');
export const pixelStart: number = magic.length;
const tailBytes = 8 + 8 + 32 + magic.length;
/** Room for the paths of `mostImages` images. */
const mostIndexBytes = 2 ** 30;
const mostSide = 65_535;
/** Numbers of an image in the index: size, modified, changed, and six sums as float64; height, width, checksum as uint32. */
const [floats, words] = [9, 3];

export const imageBytes = ({ height, width }: Pick<CachedImage, 'height' | 'width'>): number =>
  3 * height * width;

const schema = z.object({
  side: z.int().min(1).max(mostSide),
  root: z.string(),
  paths: z.array(z.string()).max(mostImages),
  problems: z.record(z.string().regex(/^\d{1,8}$/), z.string()),
});

const aligned = (length: number): number => Math.ceil(length / 8) * 8;

/** Writes the start of a file; images follow, in the order of the index. */
export const writeStart = ({ append }: PartWriter): Promise<void> => append(magic);

/** Writes the end of a file. `end` is the number of bytes before. */
export async function writeIndex({ append }: PartWriter, end: number, index: CacheIndex): Promise<void> {
  const { side, root, images } = index;
  const problems = Object.fromEntries(
    images.flatMap(({ problem }, i) => (problem === undefined ? [] : [[i, problem]])),
  );
  const json = Buffer.from(JSON.stringify({ side, root, paths: images.map(({ path }) => path), problems }));
  const columns = aligned(4 + json.length);
  const bytes = Buffer.alloc(columns + images.length * (8 * floats + 4 * words));
  if (bytes.length > mostIndexBytes) {
    throw new DataError(
      `${root}: the index of ${images.length} images has ${bytes.length} bytes, above the limit of ${mostIndexBytes}; use fewer images or shorter names`,
    );
  }
  bytes.writeUInt32LE(json.length, 0);
  json.copy(bytes, 4);
  let at = columns;
  for (const { size, modified, changed, sums } of images) {
    for (const value of [size, modified, changed, ...sums]) at = bytes.writeDoubleLE(value, at);
  }
  for (const { height, width, checksum } of images) {
    for (const value of [height, width, checksum]) at = bytes.writeUInt32LE(value, at);
  }
  const tail = Buffer.alloc(16);
  tail.writeDoubleLE(end, 0);
  tail.writeDoubleLE(bytes.length, 8);
  await append(bytes);
  await append(Buffer.concat([tail, digest(bytes), magic]));
}

const digest = (bytes: Uint8Array): Buffer => createHash('sha256').update(bytes).digest();

/** Reads the index of a cache file. @throws DataError if it is missing or damaged. */
export async function readIndex(path: string): Promise<CacheIndex> {
  const file = await openParts(path);
  try {
    return await indexOf(file);
  } finally {
    await file.close();
  }
}

async function indexOf(file: PartReader): Promise<CacheIndex> {
  const damaged = (what: string): DataError => new DataError(`${file.path} is damaged: ${what}`);
  const read = async (position: number, length: number): Promise<Buffer> => {
    const bytes = Buffer.alloc(length);
    if ((await file.read(bytes, position)) !== length) throw damaged('it ends too early');
    return bytes;
  };
  if (file.size < pixelStart + tailBytes) throw damaged('it ends too early');
  const tail = await read(file.size - tailBytes, tailBytes);
  const head = await read(0, magic.length);
  if (!head.equals(magic) || !tail.subarray(-magic.length).equals(magic)) {
    throw damaged('it is not a file of prepared images');
  }
  const [start, length] = [tail.readDoubleLE(0), tail.readDoubleLE(8)];
  const fits = start >= pixelStart && length >= 8 && start + length === file.size - tailBytes;
  if (!Number.isSafeInteger(start) || !fits || length > mostIndexBytes)
    throw damaged('its index has no place');
  const bytes = await read(start, length);
  if (!digest(bytes).equals(tail.subarray(16, 48))) throw damaged('its index has another checksum');
  const jsonLength = bytes.readUInt32LE(0);
  if (jsonLength > length - 4) throw damaged('its index is cut off');
  const { value, problem } = parseJson(bytes.toString('utf8', 4, 4 + jsonLength));
  const checked = problem === undefined ? check(schema, value) : { problems: [problem] };
  if (checked.problems) throw damaged(checked.problems.join('; '));
  const { side, root, paths, problems } = checked.value;
  const columns = aligned(4 + jsonLength);
  if (columns + paths.length * (8 * floats + 4 * words) !== length) throw damaged('its columns are cut off');
  let at = pixelStart;
  const images = paths.map((name, i): CachedImage => {
    const float = (k: number): number => bytes.readDoubleLE(columns + 8 * (floats * i + k));
    const word = (k: number): number =>
      bytes.readUInt32LE(columns + 8 * floats * paths.length + 4 * (words * i + k));
    const reason = problems[i];
    const [height, width] = [word(0), word(1)];
    if (height > mostSide || width > mostSide || (height * width === 0) !== (reason !== undefined)) {
      throw damaged(`image ${i} has ${height}×${width} pixels`);
    }
    at += imageBytes({ height, width });
    return {
      path: name,
      ...{ size: float(0), modified: float(1), changed: float(2) },
      ...{ height, width, checksum: word(2) },
      sums: Array.from({ length: 6 }, (_, k) => float(3 + k)),
      ...(reason !== undefined && { problem: reason }),
    };
  });
  if (at !== start)
    throw damaged(`it has ${start - pixelStart} bytes of images instead of ${at - pixelStart}`);
  return { side, root, images };
}

/** Where each image starts; the last value is where the images end. */
export function imageStarts(images: readonly CachedImage[]): Float64Array {
  const starts = new Float64Array(images.length + 1);
  starts[0] = pixelStart;
  for (const [i, image] of images.entries()) starts[i + 1] = starts[i]! + imageBytes(image);
  return starts;
}
