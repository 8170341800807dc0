/**
 * The parts of plans: regions of memory, maps in them, and flat lists of instructions. Addresses count floats; a region's
 * base is known once all of it is laid out, so code is emitted after that.
 */
import { type KernelName, kernelParameters } from '../../../kernels/catalogue.ts';
import type { BatchNormCall } from '../lower/batch-norm.ts';
import type { DropoutCall } from '../lower/dropout.ts';
import { flattenedPlaces, type MapShape, roundUp, unevenStride } from './operations.ts';

/** A stretch of memory that is laid out by allocating from it. */
export class Region {
  /** Floats before the region; set once its address is known. */
  base = 0;
  length = 0;
  readonly #reserved = new Map<string, { place: Place; floats: number }>();

  /** Allocates `floats`, aligned to a cache line. */
  allocate(floats: number): Place {
    const place = new Place(this, this.length);
    this.length = roundUp(this.length + floats, 16);
    return place;
  }

  /** Temporary working memory: all requests for one `purpose` share the largest one. */
  reserve(purpose: string, floats: number): Place {
    const entry = this.#reserved.get(purpose) ?? { place: new Place(this, 0), floats: 0 };
    entry.floats = Math.max(entry.floats, floats);
    this.#reserved.set(purpose, entry);
    return entry.place;
  }

  /** Allocates the working memory; called once, after all requests. */
  settle(): void {
    for (const { place, floats } of this.#reserved.values()) place.offset = this.allocate(floats).offset;
  }
}

/** An address in a region. */
export class Place {
  readonly region: Region;
  offset: number;

  constructor(region: Region, offset: number) {
    this.region = region;
    this.offset = offset;
  }

  /** Floats from the start of memory. */
  get at(): number {
    return this.region.base + this.offset;
  }
}

/** The halo of zeros around a map. */
export interface Halo {
  readonly top: number;
  readonly left: number;
  readonly bottom: number;
  readonly right: number;
}

export const noHalo: Halo = { top: 0, left: 0, bottom: 0, right: 0 };

/** Images that go through the network together. */
export interface Chunk {
  readonly first: number;
  readonly count: number;
}

/**
 * Whose maps a buffer holds: all images of the `batch`; the images of a worker's current `chunk`; or a few of these at a
 * time, in `turns` that reuse the same memory.
 */
export type Holds = 'batch' | 'chunk' | 'turns';

/** The maps of several images. */
export class MapBuffer {
  readonly shape: MapShape;
  readonly rowStride: number;
  readonly pixelStride: number;
  readonly imageStride: number;
  /** Floats of all images. */
  readonly floats: number;
  readonly #place: Place;
  readonly #corner: number;
  readonly #images: number;
  readonly #holds: Holds;

  constructor(region: Region, shape: MapShape, halo: Halo, images: number, holds: Holds) {
    const { top, left, bottom, right } = halo;
    this.shape = shape;
    this.pixelStride = shape.stored;
    this.rowStride = (left + shape.width + right) * shape.stored;
    this.imageStride = unevenStride(roundUp((top + shape.height + bottom) * this.rowStride, 4));
    this.#corner = top * this.rowStride + left * shape.stored;
    this.#images = images;
    this.#holds = holds;
    this.floats = images * this.imageStride;
    this.#place = region.allocate(this.floats + 16);
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
    const image =
      this.#holds === 'batch' ? chunk.first + index : this.#holds === 'turns' ? index % this.#images : index;
    if (image >= this.#images) throw new RangeError(`there is no image ${image} in maps of ${this.#images}`);
    return (
      this.#place.at +
      this.#corner +
      image * this.imageStride +
      row * this.rowStride +
      column * this.pixelStride
    );
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

/** One instruction: a kernel and its arguments in order; pointers and offsets count floats. */
export interface Call {
  readonly kernel: KernelName;
  readonly arguments: readonly number[];
  /** Index of the operation that it belongs to. */
  readonly operation: number | undefined;
}

/**
 * Instructions that are not kernels: reading images, computing the loss, drawing dropout, and what a batch normalization
 * computes once for all workers.
 */
export type HostCall =
  | {
      readonly host: 'loadImages';
      readonly first: number;
      readonly count: number;
      readonly map: number;
      readonly imageStride: number;
      readonly rowStride: number;
      readonly pixelStride: number;
    }
  | {
      readonly host: 'loss';
      readonly first: number;
      readonly count: number;
      readonly logits: number;
      readonly logitStride: number;
      readonly gradient: number;
      readonly gradientStride: number;
      /** `flattened` of the logits and of their gradient: one address per class. */
      readonly logitPlaces: Int32Array;
      readonly gradientPlaces: Int32Array;
    }
  | DropoutCall
  | BatchNormCall;

export type Instruction = Call | HostCall;

/** Builds a list of instructions. Arguments are given by name. */
export class Code {
  readonly instructions: Instruction[] = [];
  #operation: number | undefined;

  /** Marks what `body` emits as part of this operation. */
  within(operation: number, body: () => void): void {
    this.#operation = operation;
    body();
    this.#operation = undefined;
  }

  call(kernel: KernelName, named: Readonly<Record<string, number>>): void {
    const parameters = kernelParameters[kernel];
    const values = Object.keys(parameters).map((name) => {
      const value = named[name];
      if (value === undefined) throw new TypeError(`${kernel}: argument ${name} is missing`);
      return value;
    });
    for (const name in named)
      if (!(name in parameters)) throw new TypeError(`${kernel}: no argument ${name}`);
    this.instructions.push({ kernel, arguments: values, operation: this.#operation });
  }

  host(call: HostCall): void {
    this.instructions.push(call);
  }
}

/** Whether a ReLU's gradient still has to be applied to a written gradient, which passes where activations are above it. */
export const reluThreshold = (relu: boolean): number => (relu ? 0 : Number.NEGATIVE_INFINITY);
