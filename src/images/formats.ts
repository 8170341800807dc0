/** Recognizes image files by their first bytes. Only listed formats are decoded, whatever a file is called. */
import { DataError } from '../errors.ts';

export type ImageFormat = 'JPEG' | 'PNG' | 'GIF' | 'WebP' | 'TIFF' | 'AVIF';

/** The formats in a sentence. */
export const imageFormats = 'JPEG, PNG, WebP, AVIF, GIF or TIFF';

/** What a file is: a format, or something else that is known. */
export type FoundFormat = { readonly format: ImageFormat } | { readonly other: string };

/** Bytes as one character each; `at` counts from the start of the file. */
type Pattern = readonly [text: string, at?: number];

const formats: readonly (readonly [ImageFormat, ...Pattern[]])[] = [
  ['JPEG', ['\xff\xd8\xff']],
  ['PNG', ['\x89PNG\r\n\x1a\n']],
  ['GIF', ['GIF87a']],
  ['GIF', ['GIF89a']],
  ['WebP', ['RIFF'], ['WEBP', 8]],
  ['TIFF', ['II*\0']],
  ['TIFF', ['MM\0*']],
  ['TIFF', ['II+\0']],
  ['TIFF', ['MM\0+']],
];

const others: readonly (readonly [string, ...Pattern[]])[] = [
  ['a PDF', ['%PDF']],
  ['a BMP image', ['BM']],
  ['a JPEG XL image', ['\xff\x0a']],
  ['a JPEG XL image', ['\0\0\0\x0cJXL ']],
  ['a JPEG 2000 image', ['\0\0\0\x0cjP  ']],
  ['a compressed file (gzip)', ['\x1f\x8b']],
  ['a zip archive', ['PK']],
];

/** The brands of ISO media files; AVIF's may stand anywhere in the list. */
const avifBrands = ['avif', 'avis'];

/** So many bytes from the start of a file are enough to recognize it. */
export const headBytes = 512;

export function formatOf(bytes: Uint8Array): FoundFormat {
  const head = String.fromCharCode(...bytes.subarray(0, headBytes));
  const matches = (patterns: readonly Pattern[]): boolean =>
    patterns.every(([text, at = 0]) => head.startsWith(text, at));
  const format = formats.find(([, ...patterns]) => matches(patterns))?.[0];
  if (format) return { format };
  if (head.startsWith('ftyp', 4)) {
    const length = Math.min(new DataView(bytes.buffer, bytes.byteOffset).getUint32(0), head.length);
    const brands: string[] = [];
    for (let at = 8; at + 4 <= length; at += 4) if (at !== 12) brands.push(head.slice(at, at + 4));
    if (brands.some((brand) => avifBrands.includes(brand))) return { format: 'AVIF' };
    return { other: brands.some((brand) => /^he[iv][cxms]$/.test(brand)) ? 'a HEIC image' : 'a video' };
  }
  const other = others.find(([, ...patterns]) => matches(patterns))?.[0];
  if (other) return { other };
  const text = head.trimStart().toLowerCase();
  if (/^(\xef\xbb\xbf)?\s*<(svg|\?xml|!doctype svg)/.test(text)) return { other: 'an SVG drawing' };
  if (/^<(!doctype )?html/.test(text)) return { other: 'a web page' };
  return { other: bytes.length === 0 ? 'empty' : 'no image in a known format' };
}

/** The format of a file that starts with `head`, `headBytes` long or the whole file. @throws DataError if it is none. */
export function requireImage(name: string, head: Uint8Array): ImageFormat {
  const found = formatOf(head);
  if ('format' in found) return found.format;
  const what = found.other === 'empty' ? 'the file is empty' : `the file is ${found.other}`;
  throw new DataError(`${name}: ${what}; convert the image to ${imageFormats}`);
}
