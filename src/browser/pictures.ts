/** Single pictures: a dropped file, a frame of a camera, a drawing. */
import type { ImageShape } from '../data/dataset.ts';

/** Interleaved RGB. */
export interface DecodedPicture {
  readonly width: number;
  readonly height: number;
  readonly pixels: Uint8Array;
}

/** Decodes a file as browsers do, upright, without color management. @throws DataError if it is no image. */
export declare function decodePicture(source: Blob | ImageBitmap | ImageData): Promise<DecodedPicture>;

/** The bytes [channels, height, width] of a picture for a network's input: resized and cropped as in tests. */
export declare function pictureFor(picture: DecodedPicture, input: ImageShape): Uint8Array;
