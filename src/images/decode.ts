/**
 * Decodes image files to RGB bytes (Node only), to the same bytes as Pillow's `convert('RGB')`: alpha is dropped, gray
 * becomes three equal channels, color profiles are ignored, 16-bit values keep their high byte, and of an animation the
 * first frame counts. The decoders are sharp's (libvips).
 *
 * Files are untrusted: the format is found by content in a short list, and the size is checked before pixels are
 * decoded.
 */
import { DataError, UsageError } from '../errors.ts';
import { checkOptions, checkWhole, type KnownKeys, shown } from '../options.ts';
import { type ImageFormat, imageFormats, requireImage } from './formats.ts';
import { jpegHeader } from './jpeg/header.ts';
import { type ImageHeader, loadSharp, type Sharp } from './sharp.ts';

export interface DecodeOptions {
  /**
   * `apply` (the default) turns the image upright, as its EXIF orientation says; `ignore` keeps the order of its
   * pixels, as Pillow and torchvision do.
   */
  readonly orientation?: 'apply' | 'ignore';
  /** The most pixels of an image; 50 million by default. */
  readonly maxPixels?: number;
}

/** The keys of `DecodeOptions`. */
export const decodeKeys: KnownKeys<DecodeOptions> = { orientation: 'optional', maxPixels: 'optional' };

/** An image in memory. */
export interface DecodedImage {
  readonly width: number;
  readonly height: number;
  /** RGB, interleaved, rows from top to bottom: [height, width, 3]. */
  readonly pixels: Uint8Array;
}

/** Pixels of an image by default. */
export const mostPixels = 50_000_000;

/**
 * Decodes the content of a JPEG, PNG, WebP, AVIF, GIF or TIFF file.
 * @throws DataError if it is another file, damaged or too large; VggError if the optional dependency sharp is missing.
 */
export async function decodeImage(bytes: Uint8Array, options: DecodeOptions = {}): Promise<DecodedImage> {
  checkOptions('decodeImage', options, decodeKeys);
  return decodeNamed('decodeImage', bytes, options);
}

/** The same for bytes from somewhere; `name` begins the messages. */
export async function decodeNamed(
  name: string,
  bytes: Uint8Array,
  options: DecodeOptions,
): Promise<DecodedImage> {
  return (await openImage(name, bytes, options)).decode(bytes);
}

/** An image whose header has been checked. */
export interface OpenedImage {
  readonly width: number;
  readonly height: number;
  /** Decodes the bytes, which are those that the header was read from. */
  readonly decode: (bytes: Uint8Array) => Promise<DecodedImage>;
}

/** Reads an image's header only. @throws as `decodeImage` */
export async function openImage(
  name: string,
  bytes: Uint8Array,
  { orientation = 'apply', maxPixels = mostPixels }: DecodeOptions,
): Promise<OpenedImage> {
  // By its tag, because an array may come from another realm.
  if (Object.prototype.toString.call(bytes) !== '[object Uint8Array]') {
    throw new UsageError(`${name}: the bytes are ${shown(bytes)}; pass a file's content as a Uint8Array`);
  }
  if (orientation !== 'apply' && orientation !== 'ignore') {
    throw new UsageError(`${name}: orientation ${shown(orientation)} is neither "apply" nor "ignore"`);
  }
  checkWhole(name, 'maxPixels', maxPixels, 1);
  const format = requireImage(name, bytes);
  const sharp = loadSharp();
  const damaged = (error: unknown): DataError =>
    new DataError(`${name}: the ${format} image is damaged: ${sharpReason(error)}`, { cause: error });
  const known = format === 'JPEG' ? jpegHeader(bytes) : undefined;
  const header: ImageHeader =
    known ?? (await headerOf(sharp, bytes).catch((error: unknown) => Promise.reject(damaged(error))));
  const { width, height } = checkHeader(name, format, header, maxPixels);
  const steps = { isCmyk: header.space === 'cmyk', isPlain: known?.isPlain === true };
  return {
    ...{ width, height },
    decode: (same) =>
      decode(sharp, same, steps, { orientation, maxPixels }).catch((error: unknown) =>
        Promise.reject(damaged(error)),
      ),
  };
}

/** Reads sizes only, so that a message can name them. */
function headerOf(sharp: Sharp, bytes: Uint8Array): Promise<ImageHeader> {
  return sharp(bytes, { failOn: 'error', limitInputPixels: false, ignoreIcc: true }).metadata();
}

/** Pixels; as in JPEG. Decoders take long for images of a few pixels in width and millions in height. */
const longestSide = 65_535;

function checkHeader(
  name: string,
  format: ImageFormat,
  header: ImageHeader,
  maxPixels: number,
): { readonly width: number; readonly height: number } {
  const { width = 0, height = 0, depth } = header;
  // libvips chooses its decoder by content, too; both must agree.
  const decoder = header.format === 'heif' && header.compression === 'av1' ? 'avif' : header.format;
  if (decoder !== format.toLowerCase()) {
    throw new DataError(
      `${name}: the file begins like ${format}, but contains ${decoder}; ` +
        `convert the image to ${imageFormats}`,
    );
  }
  if (width * height > maxPixels) {
    throw new DataError(
      `${name}: the image has ${width}×${height} pixels, above the limit of ${maxPixels / 1e6} million; ` +
        'make it smaller',
    );
  }
  if (Math.max(width, height) > longestSide) {
    throw new DataError(
      `${name}: the image has ${width}×${height} pixels; sides may have at most ${longestSide}`,
    );
  }
  if (depth !== 'uchar' && depth !== 'ushort') {
    throw new DataError(
      `${name}: the pixels are stored as ${depth}, not in 8 or 16 bits per channel; convert the image`,
    );
  }
  return { width, height };
}

async function decode(
  sharp: Sharp,
  bytes: Uint8Array,
  { isCmyk, isPlain }: { readonly isCmyk: boolean; readonly isPlain: boolean },
  { orientation, maxPixels }: Required<DecodeOptions>,
): Promise<DecodedImage> {
  const image = sharp(bytes, { failOn: 'error', limitInputPixels: maxPixels, ignoreIcc: true });
  // Steps that change nothing would take a third of the time.
  if (!isPlain) {
    if (orientation === 'apply') image.autoOrient();
    image.removeAlpha();
    // libvips would print CMYK by a color profile of its own.
    if (isCmyk) image.pipelineColourspace('cmyk').toColourspace('cmyk');
    else image.toColourspace('srgb');
  }
  const { data, info } = await image.raw().toBuffer({ resolveWithObject: true });
  const { width, height, channels } = info;
  if (channels !== (isCmyk ? 4 : 3) || data.length !== width * height * channels) {
    throw new Error(`${data.length} bytes are not ${width}×${height} pixels`);
  }
  const pixels = new Uint8Array(data.buffer, data.byteOffset, data.length);
  return { width, height, pixels: isCmyk ? rgbOfCmyk(pixels) : pixels };
}

/** Multiplies each ink's light by that of black, rounded as Pillow does: (255 − c)(255 − k) / 255. */
function rgbOfCmyk(cmyk: Uint8Array): Uint8Array {
  const rgb = new Uint8Array((cmyk.length / 4) * 3);
  for (let from = 0, to = 0; from < cmyk.length; from += 4) {
    const light = 255 - cmyk[from + 3]!;
    for (let c = 0; c < 3; c++) {
      const product = (255 - cmyk[from + c]!) * light + 128;
      rgb[to++] = ((product >> 8) + product) >> 8;
    }
  }
  return rgb;
}

/** The first line of a message of libvips, which repeats itself, without what it calls the input. */
function sharpReason(error: unknown): string {
  const [line = ''] = (error instanceof Error ? error.message : String(error)).split('\n');
  const cause = line.replace(/^Input buffer (has corrupt header: ?|contains )?/, '');
  return cause.replace(/^(Vips\w+|\w+load(_buffer)?): /, '').trim() || 'it cannot be decoded';
}
