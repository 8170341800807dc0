/** Single pictures: a dropped file, a frame of a camera, a drawing. Browsers decode them. */
import type { ImageShape } from '../data/dataset.ts';
import { DataError, UsageError } from '../errors.ts';
import { fitFor, fitImage } from '../images/fit.ts';
import { headBytes, requireImage } from '../images/formats.ts';

/** Interleaved RGB. */
export interface DecodedPicture {
  readonly width: number;
  readonly height: number;
  readonly pixels: Uint8Array;
}

/** Pixels of a picture: 200 MB as RGBA. */
const mostPixels = 50_000_000;
/** Bytes of a file. */
const mostBytes = 100 * 2 ** 20;

/** As Node's decoder: upright, without color management, and alpha is dropped. */
const asInNode: ImageBitmapOptions = {
  imageOrientation: 'from-image',
  colorSpaceConversion: 'none',
  premultiplyAlpha: 'none',
};

/**
 * Decodes a file as browsers do, upright, without color management; alpha is dropped. `name` begins the messages.
 * @throws DataError if it is no image, damaged or too large.
 */
export async function decodePicture(
  source: Blob | ImageBitmap | ImageData,
  name: string = source instanceof File ? source.name : 'the picture',
): Promise<DecodedPicture> {
  if (source instanceof ImageData) return withoutAlpha(source);
  const bitmap = source instanceof ImageBitmap ? source : await bitmapOf(source, name);
  try {
    const { width, height } = bitmap;
    if (width * height > mostPixels)
      throw new DataError(
        `${name}: the image has ${width}×${height} pixels, above the limit of ${mostPixels / 1e6} million; make it smaller`,
      );
    const context = contextOf(width, height);
    context.drawImage(bitmap, 0, 0);
    return withoutAlpha(context.getImageData(0, 0, width, height));
  } finally {
    if (bitmap !== source) bitmap.close();
  }
}

async function bitmapOf(file: Blob, name: string): Promise<ImageBitmap> {
  if (file.size > mostBytes)
    throw new DataError(`${name}: the file has ${file.size} bytes, above the limit of ${mostBytes}`);
  const format = requireImage(name, new Uint8Array(await file.slice(0, headBytes).arrayBuffer()));
  try {
    return await createImageBitmap(file, asInNode);
  } catch (error) {
    throw new DataError(
      `${name}: this browser cannot decode the ${format} image: ${(error as Error).message.replace(/\.$/, '')}; it may be damaged, or ` +
        'convert it to PNG, JPEG or WebP',
      { cause: error },
    );
  }
}

let kept: OffscreenCanvas | undefined;

/** One canvas for all pictures. */
function contextOf(width: number, height: number): OffscreenCanvasRenderingContext2D {
  kept ??= new OffscreenCanvas(width, height);
  // Setting a side clears the canvas, too.
  kept.width = width;
  kept.height = height;
  const context = kept.getContext('2d', { willReadFrequently: true, colorSpace: 'srgb' });
  if (!context) throw new DataError('this browser cannot draw images here; close other tabs and try again');
  return context;
}

function withoutAlpha({ width, height, data }: ImageData): DecodedPicture {
  const pixels = new Uint8Array(3 * width * height);
  for (let from = 0, to = 0; from < data.length; from += 4, to += 3) {
    pixels[to] = data[from]!;
    pixels[to + 1] = data[from + 1]!;
    pixels[to + 2] = data[from + 2]!;
  }
  return { width, height, pixels };
}

/** The bytes [channels, height, width] of a picture for a network's input: resized and cropped as in tests. */
export function pictureFor(picture: DecodedPicture, input: ImageShape): Uint8Array {
  const [channels] = input;
  if (channels !== 1 && channels !== 3)
    throw new UsageError(`pictureFor: the network takes ${channels} channels; pictures have 3, or 1 as gray`);
  return fitImage(picture, fitFor(input), channels);
}
