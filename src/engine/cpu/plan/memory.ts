/**
 * Regions of memory. Addresses count floats. A region's places get their offsets when all of it is laid out, so code is
 * emitted after that. Buffers that are never alive together share memory (`Arena`).
 */
import { roundUp } from '../../map-shape.ts';

/** Floats of a cache line, to which every place is aligned. */
const lineFloats = 16;

/** An address in a region. */
export class Place {
  readonly region: { readonly base: number };
  offset: number;

  constructor(region: { readonly base: number }, offset: number) {
    this.region = region;
    this.offset = offset;
  }

  /** Floats from the start of memory. */
  get at(): number {
    return this.region.base + this.offset;
  }
}

/** Memory that lasts as long as its session: each place has its own floats. */
export class Region {
  /** Floats before the region. */
  readonly base: number;
  length = 0;

  constructor(base: number) {
    this.base = base;
  }

  allocate(floats: number): Place {
    const place = new Place(this, this.length);
    this.length = roundUp(this.length + floats, lineFloats);
    return place;
  }
}

/** Times from the first write to the last read, both included. */
export interface Lifetime {
  readonly from: number;
  readonly to: number;
}

/** A buffer that shares its memory with none. */
export const always: readonly Lifetime[] = [{ from: Number.NEGATIVE_INFINITY, to: Number.POSITIVE_INFINITY }];

/** A buffer of an arena: what the tests check. */
export interface ArenaBuffer {
  readonly place: Place;
  readonly floats: number;
  readonly lifetimes: readonly Lifetime[];
}

const overlap = (a: Lifetime, b: Lifetime): boolean => a.from <= b.to && b.from <= a.to;

/** Whether two buffers are ever alive together. */
export const meet = (a: ArenaBuffer, b: ArenaBuffer): boolean =>
  a.lifetimes.some((own) => b.lifetimes.some((other) => overlap(own, other)));

/**
 * Memory that buffers share whenever their lifetimes allow it. The largest buffer is placed first, each at the lowest
 * offset that is free during its lifetimes ("greedy by size" of Pisarchyk & Lee, "Efficient Memory Management for Deep
 * Neural Net Inference", 2020).
 */
export class Arena {
  /** Floats before the arena; set once its address is known. */
  base = 0;
  readonly #buffers: ArenaBuffer[] = [];

  allocate(floats: number, lifetimes: readonly Lifetime[]): Place {
    const place = new Place(this, 0);
    this.#buffers.push({ place, floats: roundUp(floats, lineFloats), lifetimes });
    return place;
  }

  get buffers(): readonly ArenaBuffer[] {
    return this.#buffers;
  }

  /** Gives each buffer its offset, after all were allocated; returns the floats of the arena. */
  settle(): number {
    let length = 0;
    const placed: ArenaBuffer[] = [];
    for (const buffer of this.#buffers.toSorted((a, b) => b.floats - a.floats)) {
      const others = placed
        .filter((other) => meet(buffer, other))
        .toSorted((a, b) => a.place.offset - b.place.offset);
      let offset = 0;
      for (const { place, floats } of others) {
        if (place.offset - offset >= buffer.floats) break;
        offset = Math.max(offset, place.offset + floats);
      }
      buffer.place.offset = offset;
      placed.push(buffer);
      length = Math.max(length, offset + buffer.floats);
    }
    return length;
  }
}
