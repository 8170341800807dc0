/** Pictures as they are collected: squares of one size, cut from the middle and resized by the library's own kernel. */
import { decodePicture } from '../../../browser/pictures.ts';
import { VggError } from '../../../errors.ts';
import { fitImage } from '../../../images/fit.ts';

/** Pixels along a side: enough for networks of 64 pixels, and a thousand images take some 20 MB. */
export const collectedSide = 128;

/** A picture as a square PNG. @throws DataError if it is no image, damaged or too large. */
export async function standardized(picture: Blob | ImageData): Promise<Blob> {
  const side = collectedSide;
  const planes = fitImage(await decodePicture(picture), { resize: side, crop: [side, side] }, 3);
  const area = side * side;
  const image = new ImageData(side, side);
  for (let i = 0; i < area; i++) {
    for (let c = 0; c < 3; c++) image.data[4 * i + c] = planes[c * area + i]!;
    image.data[4 * i + 3] = 255;
  }
  const canvas = new OffscreenCanvas(side, side);
  const context = canvas.getContext('2d');
  if (!context) throw new VggError('this browser cannot draw images here; close other tabs and try again');
  context.putImageData(image, 0, 0);
  return canvas.convertToBlob({ type: 'image/png' });
}
