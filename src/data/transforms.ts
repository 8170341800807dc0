/**
 * Transforms of pictures, under torchvision's names and with its meaning: `pad` fills with 0 before `toTensor`,
 * `toTensor` scales bytes to 0–1, `normalize` subtracts the mean and divides by the deviation of each channel.
 * A known transform is data, so a chain of known ones compiles into one fused kernel (`fuseTransform`); any function of an
 * image and a random source is a transform, too, and runs in plain TypeScript.
 */
import type { ImageShape } from './dataset.ts';
import type { Random } from './random.ts';

/** A picture on its way through the transforms: planar [C, H, W]; 0–255 before `toTensor`, 0–1 after it. */
export interface Image {
  readonly shape: ImageShape;
  readonly values: Float32Array;
}

export type ImageFunction = (image: Image, random: Random) => Image;

export type Transform =
  | { readonly kind: 'pad'; readonly padding: number }
  | { readonly kind: 'randomHorizontalFlip'; readonly probability: number }
  | { readonly kind: 'randomCrop'; readonly size: readonly [height: number, width: number] }
  | { readonly kind: 'toTensor' }
  | { readonly kind: 'normalize'; readonly mean: readonly number[]; readonly std: readonly number[] }
  | { readonly kind: 'compose'; readonly transforms: readonly Transform[] }
  | ImageFunction;

/**
 * A chain of known transforms as one pass over the bytes, as plain data (it is sent to workers):
 * out[c][y][x] = byte(c, y', x') · scale[c] + offset[c], where byte is 0 outside the source picture.
 */
export interface FusedTransform {
  readonly source: ImageShape;
  readonly output: ImageShape;
  readonly scale: readonly number[];
  readonly offset: readonly number[];
  /** The geometric transforms, in order; they draw from the sample's random stream in this order. */
  readonly geometry: readonly Transform[];
}

/** Where one sample's output lies in its source: y' = y + top; x' = x + left, or left − x when flipped. */
export interface Placement {
  readonly top: number;
  readonly left: number;
  readonly flip: boolean;
}
