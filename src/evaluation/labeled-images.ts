/**
 * Labeled images of different sizes, read one by one: what an evaluation at several scales starts from. Reading happens
 * ahead of the device, which computes on threads of its own.
 */
import { checkDataset, type Dataset } from '../data/dataset.ts';
import { planResize, type ResizeWindow, resizePixels, type Sides } from '../data/resize.ts';
import { DataError } from '../errors.ts';
import { grayOf } from '../images/fit.ts';

/** An image as bytes. */
export interface RawImage {
  readonly height: number;
  readonly width: number;
  readonly channels: number;
  /** [channels, height, width] if planar, otherwise interleaved RGB: [height, width, 3]. */
  readonly pixels: Uint8Array;
  readonly planar: boolean;
}

/** Labeled images in their original sizes. */
export interface LabeledImages {
  /** The data set's name. */
  readonly name: string;
  /** A label is an index into this list. */
  readonly classes: readonly string[];
  readonly labels: ArrayLike<number>;
  readonly length: number;
  /** Several images may be read at once. One that is undefined is left out. */
  read(index: number): Promise<RawImage | undefined>;
}

/** The images of a data set in memory. */
export function labeledImages(dataset: Dataset): LabeledImages {
  checkDataset('labeledImages', dataset);
  const { name, classes, labels, length, shape, pixels } = dataset;
  const [channels, height, width] = shape;
  const size = channels * height * width;
  return {
    name,
    classes,
    labels,
    length,
    read: async (index) => ({
      height,
      width,
      channels,
      pixels: pixels.subarray(index * size, (index + 1) * size),
      planar: true,
    }),
  };
}

/** The images of several sources of one data set, one after the other. */
export function joinedImages(sources: readonly [LabeledImages, ...LabeledImages[]]): LabeledImages {
  const [first, ...rest] = sources;
  if (rest.length === 0) return first;
  const owners = sources.flatMap((source) =>
    Array.from({ length: source.length }, (_, index) => ({ source, index })),
  );
  return {
    name: first.name,
    classes: first.classes,
    labels: owners.map(({ source, index }) => source.labels[index]!),
    length: owners.length,
    read: (at) => owners[at]!.source.read(owners[at]!.index),
  };
}

/**
 * An image resized to `sides`, as planes of the bytes in `window`: Pillow's bytes. Color becomes gray for one channel.
 * @throws DataError if the image has other channels.
 */
export function scaledPlanes(
  where: string,
  image: RawImage,
  channels: number,
  sides: Sides,
  window: ResizeWindow,
): Uint8Array {
  const { height, width } = image;
  const isColor = image.channels === 3;
  if (channels !== image.channels && !(isColor && channels === 1)) {
    throw new DataError(
      `${where}: the image has ${image.channels} channels, and the network takes ${channels}; evaluate other images`,
    );
  }
  const keepsSize = sides[0] === height && sides[1] === width;
  const plan = keepsSize && image.planar ? undefined : planResize([height, width], sides, window);
  const out = new Uint8Array(channels * window.height * window.width);
  if (plan && !image.planar && channels === 3) {
    resizePixels(plan, image.pixels, 3, out);
    return out;
  }
  // Gray is that of the original, as torchvision's transforms before a resize.
  const planes = channels === image.channels ? image.pixels : grayOf(interleaved(image));
  const [plane, outPlane] = [height * width, window.height * window.width];
  for (let c = 0; c < channels; c++) {
    const [from, to] = [planes.subarray(c * plane, (c + 1) * plane), out.subarray(c * outPlane)];
    if (plan) resizePixels(plan, from, 1, to.subarray(0, outPlane));
    else copyWindow(from, width, window, to);
  }
  return out;
}

/** A part of a plane whose size stays. */
function copyWindow(plane: Uint8Array, width: number, window: ResizeWindow, out: Uint8Array): void {
  for (let y = 0; y < window.height; y++) {
    const from = (window.top + y) * width + window.left;
    out.set(plane.subarray(from, from + window.width), y * window.width);
  }
}

/** RGB values side by side. */
function interleaved({ pixels, planar }: RawImage): Uint8Array {
  if (!planar) return pixels;
  const plane = pixels.length / 3;
  const out = new Uint8Array(pixels.length);
  for (let i = 0; i < plane; i++) for (let c = 0; c < 3; c++) out[3 * i + c] = pixels[c * plane + i]!;
  return out;
}

/** Limits of what is read ahead. */
export interface AheadLimits {
  /** Items that are read at the same time. */
  readonly together: number;
  /** Items and bytes that wait for their turn. */
  readonly items: number;
  readonly bytes: number;
}

/**
 * Reads items 0 … `count` − 1 ahead of their use and returns them in order. Reading continues while the caller awaits
 * something else, up to the limits. After an error or an early end nothing more is read.
 */
export async function* ahead<T>(
  count: number,
  read: (index: number) => Promise<T>,
  bytesOf: (item: T) => number,
  { together, items, bytes }: AheadLimits,
): AsyncGenerator<T, void, void> {
  const waiting = new Map<number, Promise<T>>();
  let [next, reading, held, ended] = [0, 0, 0, false];
  const fill = (): void => {
    while (!ended && next < count && reading < together && waiting.size < items && held < bytes) {
      const index = next++;
      reading++;
      const item = read(index).finally(() => {
        reading--;
      });
      item.then(
        (value) => {
          held += bytesOf(value);
          fill();
        },
        // The caller learns of the error when it comes to this item.
        () => {
          ended = true;
        },
      );
      waiting.set(index, item);
    }
  };
  try {
    for (let index = 0; index < count; index++) {
      fill();
      const value = await waiting.get(index)!;
      waiting.delete(index);
      held -= bytesOf(value);
      yield value;
    }
  } finally {
    ended = true;
  }
}
