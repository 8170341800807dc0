/** The segments of a JPEG file before its first scan: their markers and contents, and what EXIF says of orientation. */

export interface Segment {
  /** The second byte of the marker, behind 0xff. */
  readonly marker: number;
  /** Where the content starts and ends in the file, behind its length. */
  readonly start: number;
  readonly end: number;
}

export const startOfScan = 0xda;

/** Markers without a length: restarts, start and end of the image, and TEM. */
const isBare = (marker: number): boolean => (marker >= 0xd0 && marker <= 0xd9) || marker === 0x01;

/** Up to the start of the scan, or to where no marker follows. */
export function* segmentsOf(bytes: Uint8Array): Generator<Segment> {
  // The start of an image.
  if (bytes[0] !== 0xff || bytes[1] !== 0xd8) return;
  for (let at = 2; at + 3 < bytes.length; ) {
    if (bytes[at] !== 0xff) return;
    const marker = bytes[at + 1]!;
    if (marker === 0xff || isBare(marker)) {
      // Fill bytes before a marker.
      at += marker === 0xff ? 1 : 2;
      continue;
    }
    const end = at + 2 + wordAt(bytes, at + 2);
    if (end < at + 4 || end > bytes.length) return;
    yield { marker, start: at + 4, end };
    if (marker === startOfScan) return;
    at = end;
  }
}

/** A number of two bytes, the high one first. */
export const wordAt = (bytes: Uint8Array, at: number): number => (bytes[at]! << 8) | bytes[at + 1]!;

export const startsWith = (bytes: Uint8Array, { start, end }: Segment, text: string): boolean =>
  start + text.length <= end && [...text].every((char, i) => bytes[start + i] === char.charCodeAt(0));

const orientationTag = 0x0112;

/**
 * Whether the image is upright for certain: the segment is no EXIF, or a plain one whose orientation is 1 or missing.
 * Other directories than the first have no orientation of the image.
 */
export function isUpright(bytes: Uint8Array, segment: Segment): boolean {
  if (startsWith(bytes, segment, 'http://ns.adobe.com/x')) return true;
  if (!startsWith(bytes, segment, 'Exif\0\0')) return false;
  const view = new DataView(
    bytes.buffer,
    bytes.byteOffset + segment.start + 6,
    segment.end - segment.start - 6,
  );
  if (view.byteLength < 14) return false;
  const order = view.getUint16(0);
  if (order !== 0x4949 && order !== 0x4d4d) return false;
  const isLittle = order === 0x4949;
  const directory = view.getUint32(4, isLittle);
  if (view.getUint16(2, isLittle) !== 42 || directory + 2 > view.byteLength) return false;
  const count = view.getUint16(directory, isLittle);
  if (directory + 2 + 12 * count > view.byteLength) return false;
  for (let i = 0; i < count; i++) {
    const entry = directory + 2 + 12 * i;
    if (view.getUint16(entry, isLittle) !== orientationTag) continue;
    const isShort = view.getUint16(entry + 2, isLittle) === 3 && view.getUint32(entry + 4, isLittle) === 1;
    if (!isShort || view.getUint16(entry + 8, isLittle) !== 1) return false;
  }
  return true;
}
