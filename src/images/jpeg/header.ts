/**
 * Reads a JPEG's size and channels without sharp, whose own way takes a tenth of the decoding. Only what is common is
 * recognized: 8 bits, and one or three channels. The decoder checks the size again.
 */
import type { ImageHeader } from '../sharp.ts';
import { isUpright, segmentsOf, startOfScan, wordAt } from './segments.ts';

export interface JpegHeader extends ImageHeader {
  readonly width: number;
  readonly height: number;
  /** Whether it is upright for certain. */
  readonly isUpright: boolean;
  /** Whether it is also RGB for certain: decoding needs no more steps. */
  readonly isPlain: boolean;
}

/** The header of a common JPEG; undefined for any other, or a damaged one. */
export function jpegHeader(bytes: Uint8Array): JpegHeader | undefined {
  let upright = true;
  for (const segment of segmentsOf(bytes)) {
    const { marker, start, end } = segment;
    // SOF0 to SOF2: baseline, extended and progressive.
    if (marker >= 0xc0 && marker <= 0xc2) {
      if (end - start < 6) return undefined;
      const [precision, height, width, channels] = [
        bytes[start],
        wordAt(bytes, start + 1),
        wordAt(bytes, start + 3),
        bytes[start + 5],
      ];
      if (precision !== 8 || height === 0 || width === 0 || (channels !== 1 && channels !== 3))
        return undefined;
      const space = channels === 3 ? 'srgb' : 'b-w';
      const plain = { isUpright: upright, isPlain: channels === 3 && upright };
      return { ...{ format: 'jpeg', width, height, channels, depth: 'uchar', space }, ...plain };
    }
    // EXIF, which may turn the image; XMP has this marker, too.
    if (marker === 0xe1 && !isUpright(bytes, segment)) upright = false;
    // The scan comes first, or another kind of compression.
    if (
      marker === startOfScan ||
      (marker >= 0xc3 && marker <= 0xcf && marker !== 0xc4 && marker !== 0xc8 && marker !== 0xcc)
    )
      return undefined;
  }
  return undefined;
}
