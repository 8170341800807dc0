/**
 * Reads a JPEG's size and channels without sharp, whose own way takes a tenth of the decoding. Only what is common is
 * recognized: 8 bits, and one or three channels. The decoder checks the size again.
 */
import type { ImageHeader } from './sharp.ts';

export interface JpegHeader extends ImageHeader {
  /** Whether it is RGB for certain and upright: decoding needs no more steps. */
  readonly isPlain: boolean;
}

/** Markers without a length: restarts, start and end of the image, and TEM. */
const isBare = (marker: number): boolean => (marker >= 0xd0 && marker <= 0xd9) || marker === 0x01;

/** The header of a common JPEG; undefined for any other, or a damaged one. */
export function jpegHeader(bytes: Uint8Array): JpegHeader | undefined {
  let hasExif = false;
  const word = (at: number): number => (bytes[at]! << 8) | bytes[at + 1]!;
  for (let at = 2; at + 9 < bytes.length; ) {
    if (bytes[at] !== 0xff) return undefined;
    const marker = bytes[at + 1]!;
    if (marker === 0xff || isBare(marker)) {
      // Fill bytes before a marker.
      at += marker === 0xff ? 1 : 2;
      continue;
    }
    // SOF0 to SOF2: baseline, extended and progressive.
    if (marker >= 0xc0 && marker <= 0xc2) {
      const [precision, height, width, channels] = [bytes[at + 4], word(at + 5), word(at + 7), bytes[at + 9]];
      if (precision !== 8 || height === 0 || width === 0 || (channels !== 1 && channels !== 3))
        return undefined;
      const isPlain = channels === 3 && !hasExif;
      const space = channels === 3 ? 'srgb' : 'b-w';
      return { ...{ format: 'jpeg', width, height, channels, depth: 'uchar', space }, isPlain };
    }
    // EXIF, which may turn the image; XMP has this marker, too.
    if (marker === 0xe1) hasExif = true;
    // The scan comes first, or another kind of compression.
    if (
      marker === 0xda ||
      (marker >= 0xc3 && marker <= 0xcf && marker !== 0xc4 && marker !== 0xc8 && marker !== 0xcc)
    )
      return undefined;
    at += 2 + word(at + 2);
  }
  return undefined;
}
