/** Transforms that only move pixels: padding, flips and crops. They take bytes and floats. */
import { UsageError } from '../../errors.ts';
import { checkWhole } from '../../options.ts';
import { centerOffset } from '../center.ts';
import type { ImageShape } from '../dataset.ts';
import type { Random } from '../random.ts';
import type { Sides } from '../resize.ts';
import {
  checkedSize,
  checkProbability,
  longestSide,
  mirrored,
  type Pixels,
  type Size,
  sidesOf,
  windowOf,
} from './pixels.ts';

export type GeometricTransform =
  | { readonly kind: 'centerCrop'; readonly size: Sides }
  | { readonly kind: 'pad'; readonly padding: number }
  | { readonly kind: 'randomHorizontalFlip'; readonly probability: number }
  | { readonly kind: 'randomCrop'; readonly size: Sides };

/** Crops the center to `size` (a side, or height and width). A smaller image is padded with zeros. */
export function centerCrop(size: Size): GeometricTransform {
  return { kind: 'centerCrop', size: sidesOf('centerCrop', size) };
}

/** Adds `padding` rows and columns of zeros on all four sides. */
export function pad(padding: number): GeometricTransform {
  checkWhole('pad', 'padding', padding, 0, longestSide);
  return { kind: 'pad', padding };
}

/** Flips left and right with the given probability. */
export function randomHorizontalFlip(probability = 0.5): GeometricTransform {
  checkProbability('randomHorizontalFlip', probability);
  return { kind: 'randomHorizontalFlip', probability };
}

/** Crops a window of `size` (a side, or height and width) at a uniformly random position. */
export function randomCrop(size: Size): GeometricTransform {
  return { kind: 'randomCrop', size: sidesOf('randomCrop', size) };
}

export function applyGeometry(link: GeometricTransform, image: Pixels, random: Random): Pixels {
  switch (link.kind) {
    case 'centerCrop': {
      const [, height, width] = image.shape;
      const [top, left] = [centerOffset(height, link.size[0]), centerOffset(width, link.size[1])];
      return windowOf(image, top, left, centerCroppedShape(image.shape, link.size));
    }
    case 'pad':
      return windowOf(image, -link.padding, -link.padding, paddedShape(image.shape, link.padding));
    case 'randomHorizontalFlip':
      return random.uniform() < link.probability ? mirrored(image) : image;
    case 'randomCrop': {
      const output = croppedShape(image.shape, link.size);
      const top = random.integer(image.shape[1] - output[1] + 1);
      const left = random.integer(image.shape[2] - output[2] + 1);
      return windowOf(image, top, left, output);
    }
    default:
      return link satisfies never;
  }
}

export function paddedShape([channels, height, width]: ImageShape, padding: number): ImageShape {
  return checkedSize('pad', [channels, height + 2 * padding, width + 2 * padding], 'pad less');
}

export function centerCroppedShape([channels]: ImageShape, [height, width]: Sides): ImageShape {
  return checkedSize('centerCrop', [channels, height, width], 'crop to less');
}

/** @throws UsageError if the window is larger than the image. */
export function croppedShape(shape: ImageShape, size: Sides): ImageShape {
  const [channels, height, width] = shape;
  if (size[0] > height || size[1] > width) {
    throw new UsageError(
      `randomCrop: the window of ${size.join('×')} is larger than the image of ${height}×${width}; ` +
        'crop less, or pad the image first',
    );
  }
  return [channels, size[0], size[1]];
}
