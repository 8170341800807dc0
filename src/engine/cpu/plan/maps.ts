/** The maps of several images: where each image and pixel is, and the halo of zeros around a map. */

import { flattenedPlaces, type MapShape, roundUp, unevenStride } from '../../map-shape.ts';
import type { Arena, Lifetime, Place } from './memory.ts';

/** The rows and columns of zeros around a map: the padding of the convolution that reads it. */
export interface Halo {
  readonly top: number;
  readonly left: number;
  readonly bottom: number;
  readonly right: number;
}

export const noHalo: Halo = { top: 0, left: 0, bottom: 0, right: 0 };

export const hasHalo = ({ top, left, bottom, right }: Halo): boolean => top + left + bottom + right > 0;

/** Images that an operation processes together. */
export interface Chunk {
  readonly first: number;
  readonly count: number;
  /** The first image of the enclosing chunk at each level (`timeline.ts`). */
  readonly starts: readonly number[];
}

/**
 * Whose maps a buffer holds: all images of the `batch`; the images of a worker's current chunk at a `level`; or a few
 * images at a time, in `turns` that reuse the same memory.
 */
export type Holds = 'batch' | { readonly level: number } | 'turns';

export interface MapOptions {
  readonly arena: Arena;
  readonly lifetimes: readonly Lifetime[];
  readonly shape: MapShape;
  readonly halo: Halo;
  readonly images: number;
  readonly holds: Holds;
  /** Whether other buffers use its memory in between, so that its halo must be cleared before it is written. */
  readonly shares: boolean;
}

export class MapBuffer {
  readonly shape: MapShape;
  readonly halo: Halo;
  readonly rowStride: number;
  readonly pixelStride: number;
  readonly imageStride: number;
  readonly shares: boolean;
  /** Floats of all images. */
  readonly floats: number;
  readonly #place: Place;
  readonly #corner: number;
  readonly #images: number;
  readonly #holds: Holds;

  constructor({ arena, lifetimes, shape, halo, images, holds, shares }: MapOptions) {
    const { top, left, bottom, right } = halo;
    this.shape = shape;
    this.halo = halo;
    this.shares = shares;
    this.pixelStride = shape.stored;
    this.rowStride = (left + shape.width + right) * shape.stored;
    this.imageStride = unevenStride(roundUp((top + shape.height + bottom) * this.rowStride, 4));
    this.#corner = top * this.rowStride + left * shape.stored;
    this.#images = images;
    this.#holds = holds;
    this.floats = images * this.imageStride;
    // Copies of whole vectors may read and write past the end.
    this.#place = arena.allocate(this.floats + 16, lifetimes);
  }

  /** Whether rows are contiguous. */
  get contiguous(): boolean {
    return this.rowStride === this.shape.width * this.shape.stored;
  }

  /** Used floats of a row. */
  get rowLength(): number {
    return this.shape.width * this.shape.stored;
  }

  /** The address of a pixel of the chunk's image `index`; rows and columns in the halo are negative or past the end. */
  at(chunk: Chunk, index: number, row = 0, column = 0): number {
    const image = this.#imageOf(chunk, index);
    if (image >= this.#images) throw new RangeError(`there is no image ${image} in maps of ${this.#images}`);
    return (
      this.#place.at +
      this.#corner +
      image * this.imageStride +
      row * this.rowStride +
      column * this.pixelStride
    );
  }

  #imageOf({ first, starts }: Chunk, index: number): number {
    if (this.#holds === 'batch') return first + index;
    if (this.#holds === 'turns') return index % this.#images;
    return first + index - starts[this.#holds.level]!;
  }
}

/** `flattenedPlaces` of an image in a buffer. */
export const flattened = ({ shape, rowStride }: MapBuffer): Int32Array => flattenedPlaces(shape, rowStride);

/** A matrix, or `planes` of them, that is derived from parameters or used as working memory. */
export interface Matrix {
  readonly place: Place;
  readonly rowStride: number;
  readonly planeStride: number;
}

/** One chunk of each image. */
export const imagesOf = ({ first, count, starts }: Chunk): Chunk[] =>
  Array.from({ length: count }, (_, i) => ({ first: first + i, count: 1, starts }));
