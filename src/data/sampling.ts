/**
 * How a chain of transforms makes a network's input from an image's bytes: a first part on bytes, in TypeScript, and a
 * last part that is one fused pass (`fuse.ts`), which a device computes as it loads an image. Both draw from the sample's
 * stream, one after the other, so that the result is the same wherever they run.
 */
import { UsageError } from '../errors.ts';
import type { ImageShape } from './dataset.ts';
import { applyFused, type FusedTransform, fuseChain, place, writePlacement } from './fuse.ts';
import type { Random } from './random.ts';
import { resizedSides, type Sides } from './resize.ts';
import { type AnyDataset, isStored, storedShape } from './stored.ts';
import { applyChain, transformedShape } from './transforms/apply.ts';
import { coloredShape } from './transforms/color.ts';
import { centerCroppedShape, croppedShape, paddedShape } from './transforms/geometry.ts';
import { type Bytes, checkChannels, checkedSize } from './transforms/pixels.ts';
import { perChannel } from './transforms/values.ts';
import {
  cropOf,
  flatten,
  isResizing,
  type KnownTransform,
  type SimpleTransform,
  type Transform,
} from './transforms.ts';

/** A chain, split. Plain data if it has no custom functions. */
export interface SamplePlan {
  readonly output: ImageShape;
  /** Applied to bytes. With a fused part behind it, it gives bytes of the shape that this takes; without, floats. */
  readonly first: readonly SimpleTransform[];
  readonly fused: FusedTransform | undefined;
}

/** A plan that can be sent to workers. */
export interface KnownPlan extends SamplePlan {
  readonly first: readonly KnownTransform[];
}

/** Images of one size, or of different sizes whose sides have at least so many pixels. */
type Extent =
  | { readonly shape: ImageShape }
  | { readonly shape?: undefined; readonly channels: number; readonly least: Sides };

/** @throws UsageError if a transform does not fit the images, or if they would not all get the same shape. */
export function planSamples(dataset: AnyDataset, transform: Transform): SamplePlan {
  const chain = flatten(transform);
  const given = extentOf(dataset);
  if (!chain.every(isKnown)) {
    const shape = given.shape ?? storedShape((dataset as Extract<AnyDataset, { images: object }>).images, 0);
    return { output: transformedShape(transform, shape), first: chain, fused: undefined };
  }
  const extents = extentsOf(chain, given);
  const output = extents.at(-1)!.shape;
  if (!output) {
    throw new UsageError(
      'transform: images of different sizes would keep different sizes; ' +
        'add randomResizedCrop, resize([height, width]) or a crop to the chain',
    );
  }
  const scaled = chain.findIndex(({ kind }) => kind === 'toTensor' || kind === 'normalize');
  for (let at = 0; at <= scaled; at++) {
    const { shape } = extents[at]!;
    // A crop belongs to the resizing before it, which then computes less.
    if (!shape || (at > 0 && isResizing(chain[at - 1]) && cropOf(chain[at]))) continue;
    const fused = fuseChain(chain.slice(at), shape);
    if (fused) return { output, first: chain.slice(0, at), fused };
  }
  return { output, first: chain, fused: undefined };
}

export const isKnownPlan = (plan: SamplePlan): plan is KnownPlan => plan.first.every(isKnown);

const isKnown = (link: SimpleTransform): link is KnownTransform => typeof link !== 'function';

function extentOf(dataset: AnyDataset): Extent {
  if (!isStored(dataset)) return { shape: dataset.shape };
  const { sizes } = dataset.images;
  const [least, most] = [
    [65_535, 65_535],
    [0, 0],
  ];
  for (let i = 0; i < sizes.length; i++) {
    const axis = i % 2;
    least[axis] = Math.min(least[axis]!, sizes[i]!);
    most[axis] = Math.max(most[axis]!, sizes[i]!);
  }
  const [height, width] = least as [number, number];
  const isOne = height === most[0] && width === most[1];
  return isOne ? { shape: [3, height, width] } : { channels: 3, least: [height, width] };
}

/** The extent before each transform and after the last one. */
function extentsOf(chain: readonly KnownTransform[], given: Extent): readonly Extent[] {
  const extents = [given];
  for (const [i, link] of chain.entries()) {
    const after = extentAfter(link, extents[i]!);
    // What a crop cuts off is not computed, so it may be large.
    const isWhole = isResizing(link) && !cropOf(chain[i + 1]) && after.shape;
    if (isWhole) checkedSize('resize', after.shape, 'give a smaller size, or both sides');
    extents.push(after);
  }
  return extents;
}

function extentAfter(link: KnownTransform, extent: Extent): Extent {
  const [channels, height, width] = extent.shape ?? [extent.channels, ...extent.least];
  const known: ImageShape = [channels, height, width];
  const same = (shape: ImageShape): Extent =>
    extent.shape ? { shape } : { channels: shape[0], least: [shape[1], shape[2]] };
  switch (link.kind) {
    case 'pad':
      return same(paddedShape(known, link.padding));
    case 'randomHorizontalFlip':
    case 'randomRotation':
    case 'toTensor':
    case 'cutout':
      return extent;
    case 'centerCrop':
      return { shape: centerCroppedShape(known, link.size) };
    case 'randomCrop':
      return { shape: croppedShape(known, link.size) };
    case 'resize':
      if (extent.shape || typeof link.size !== 'number')
        return { shape: [channels, ...resizedSides([height, width], link.size)] };
      return { channels, least: [link.size, link.size] };
    case 'scaleJitter':
      return { channels, least: [link.least, link.least] };
    case 'randomResizedCrop':
      return { shape: [channels, ...link.size] };
    case 'colorJitter':
    case 'grayscale':
    case 'randomGrayscale':
      return same(coloredShape(link, known));
    case 'colorShift':
      checkChannels('colorShift', channels, [3]);
      return extent;
    case 'normalize':
      perChannel(link.mean, 0, channels);
      return extent;
    default:
      return link satisfies never;
  }
}

/** Writes what the first part gives as image `i` of a batch, and the placement of the fused one. */
export function sampleBytes(
  { first, fused }: SamplePlan & { readonly fused: FusedTransform },
  image: Bytes,
  random: Random,
  i: number,
  into: { readonly pixels: Uint8Array; readonly placements: Float64Array },
): void {
  const { values } = applyChain(first, image, random);
  into.pixels.set(values, i * values.length);
  writePlacement(into.placements, i, place(fused, random));
}

/** Writes the transformed image `index` of a data set. @throws UsageError if a custom function changed its shape. */
export function sampleFloats(
  { first, fused, output }: SamplePlan,
  image: Bytes,
  random: Random,
  index: number,
  out: Float32Array,
): void {
  const made = applyChain(first, image, random);
  if (fused) {
    applyFused(fused, made.values as Uint8Array, place(fused, random), out);
    return;
  }
  if (made.shape.some((side, axis) => side !== output[axis])) {
    throw new UsageError(
      `dataLoader: the transform gave image ${index} the shape [${made.shape.join(', ')}] and others ` +
        `[${output.join(', ')}]; all images of a batch need the same shape`,
    );
  }
  out.set(made.values);
}
