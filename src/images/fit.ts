/** Fits decoded images to a network's input: resize and center crop as in torchvision, from RGB bytes to planes. */
import { centerWindow, planResize, resizedSides, resizePixels, type Sides } from '../data/resize.ts';
import { luma } from '../data/transforms/pixels.ts';
import type { Shape } from '../model/layer.ts';
import type { DecodedImage } from './decode.ts';

/** Shorter side to resize to, and the center that is then cropped. */
export interface Fit {
  readonly resize: number;
  readonly crop: Sides;
}

/** Networks of at least so many pixels are tested on a center crop of a larger image, as in torchvision: 224 of 256. */
const leastCropped = 64;

/** How images are fitted to a network's input. For a square input of 224: resize(256), centerCrop(224). */
export function fitFor([, height = 1, width = 1]: Shape): Fit {
  const side = Math.max(height, width);
  const cropped = Math.min(height, width) >= leastCropped;
  return { resize: cropped ? Math.round((side * 256) / 224) : side, crop: [height, width] };
}

/** The shorter sides from which the paper's scale jitter draws: 256 to 512 for an input of 224. */
export function jitterSides([, height = 1, width = 1]: Shape): readonly [least: number, most: number] {
  const side = Math.max(height, width);
  return [Math.round((side * 256) / 224), Math.round((side * 512) / 224)];
}

/**
 * The bytes [channels, height, width] of an image for a network: RGB, or gray for one channel. `crop` must not be
 * larger than the resized image.
 */
export function fitImage({ width, height, pixels }: DecodedImage, fit: Fit, channels: 1 | 3): Uint8Array {
  const sides = resizedSides([height, width], fit.resize);
  const plan = planResize([height, width], sides, centerWindow(sides, fit.crop));
  const out = new Uint8Array(channels * fit.crop[0] * fit.crop[1]);
  resizePixels(plan, channels === 1 ? grayOf(pixels) : pixels, channels, out);
  return out;
}

/** The luma of interleaved RGB. */
export function grayOf(pixels: Uint8Array): Uint8Array {
  const gray = new Uint8Array(pixels.length / 3);
  for (let i = 0, from = 0; i < gray.length; i++, from += 3) {
    gray[i] = luma(pixels[from]!, pixels[from + 1]!, pixels[from + 2]!);
  }
  return gray;
}
