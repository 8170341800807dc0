/** Applies any chain of transforms to one image, in plain TypeScript. */
import { UsageError } from '../../errors.ts';
import type { ImageShape } from '../dataset.ts';
import { type Random, random, streams } from '../random.ts';
import { cropOf, flatten, isResizing, type SimpleTransform, type Transform } from '../transforms.ts';
import { applyColor } from './color.ts';
import { drawShift } from './color-shift.ts';
import { applyGeometry } from './geometry.ts';
import { bytesOf, checkChannels, floatsOf, type Image, type Pixels } from './pixels.ts';
import { applyResizing, type ResizingTransform } from './resizing.ts';
import { applyRotation } from './rotation.ts';
import { applyValues, shifted } from './values.ts';

/** Converts an image of a data set, [C, H, W] bytes, to the input of a chain of transforms. */
export function imageFromBytes(bytes: Uint8Array, shape: ImageShape): Image {
  return { shape, values: Float32Array.from(bytes) };
}

/** Applies any transform, including custom functions, to one image. Draws from `random` in the order of the chain. */
export function applyTransform(transform: Transform, image: Image, random: Random): Image {
  return floatsOf(applyChain(flatten(transform), image, random));
}

/** Applies the transforms of a flattened chain; bytes stay bytes up to `toTensor` or a custom function. */
export function applyChain(chain: readonly SimpleTransform[], image: Pixels, random: Random): Pixels {
  let current = image;
  for (let i = 0; i < chain.length; i++) {
    const link = chain[i]!;
    if (isResizing(link)) {
      // Only what the crop keeps is computed.
      const crop = cropOf(chain[i + 1]);
      current = applyResizing(link, bytesOf(current), random, crop);
      if (crop) i++;
    } else current = applyLink(link, current, random);
  }
  return current;
}

/** The output shape of a transform for images of `shape`. Custom functions are tried on a black image. */
export function transformedShape(transform: Transform, shape: ImageShape): ImageShape {
  const [channels, height, width] = shape;
  const blank = { shape, values: new Float32Array(channels * height * width) };
  return applyTransform(transform, blank, random(0, streams.transform)).shape;
}

function applyLink(link: Exclude<SimpleTransform, ResizingTransform>, image: Pixels, random: Random): Pixels {
  if (typeof link === 'function') return checkedImage(link(floatsOf(image), random));
  switch (link.kind) {
    case 'centerCrop':
    case 'pad':
    case 'randomHorizontalFlip':
    case 'randomCrop':
      return applyGeometry(link, image, random);
    case 'randomRotation':
      return applyRotation(link, bytesOf(image), random);
    case 'colorJitter':
    case 'grayscale':
    case 'randomGrayscale':
      return applyColor(link, bytesOf(image), random);
    case 'colorShift':
      checkChannels('colorShift', image.shape[0], [3]);
      return shifted(image, drawShift(link, random));
    case 'toTensor':
    case 'normalize':
    case 'cutout':
      return applyValues(link, image, random);
    default:
      return link satisfies never;
  }
}

/** Checks the result of a custom function, which may come from untyped JavaScript. */
function checkedImage(image: Image): Image {
  const shape: unknown = image?.shape;
  const valid =
    Array.isArray(shape) && shape.length === 3 && shape.every((side) => Number.isInteger(side) && side > 0);
  if (!valid || !(image.values instanceof Float32Array)) {
    throw new UsageError(
      'transform: a function did not return an image { shape: [channels, height, width], values: Float32Array }',
    );
  }
  const [channels, height, width] = image.shape;
  if (image.values.length !== channels * height * width) {
    throw new UsageError(
      `transform: a function returned ${image.values.length} values for the shape ` +
        `[${image.shape.join(', ')}], which needs ${channels * height * width}`,
    );
  }
  return image;
}
