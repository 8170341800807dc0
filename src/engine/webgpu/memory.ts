/** Buffers: what plans need of a device, so that they can be laid out without one. */
import type { Piece } from './dispatch.ts';
import type { TileTable } from './tiles.ts';

export interface Memory {
  /** The most bytes of a buffer. */
  readonly mostBytes: number;
  readonly tiles: TileTable;
  /** A buffer for kernels to use; its bytes are 0. */
  buffer(bytes: number, label: string): GPUBuffer;
}

/** Maps of a batch: a buffer for each piece. */
export type Maps = readonly GPUBuffer[];

/** Counts how often a scratch buffer was replaced: bindings of before are outdated then. */
export interface Generation {
  count: number;
}

/** A buffer that grows; its content is of the moment. */
export class Scratch {
  readonly #memory: Memory;
  readonly #generation: Generation;
  readonly #label: string;
  #buffer: GPUBuffer | undefined;

  constructor(memory: Memory, generation: Generation, label: string) {
    this.#memory = memory;
    this.#generation = generation;
    this.#label = label;
  }

  /** Makes it at least so large. */
  require(bytes: number): void {
    if (this.#buffer && this.#buffer.size >= bytes) return;
    this.#buffer?.destroy();
    this.#buffer = this.#memory.buffer(bytes, this.#label);
    this.#generation.count++;
  }

  get buffer(): GPUBuffer {
    this.#buffer ??= this.#memory.buffer(16, this.#label);
    return this.#buffer;
  }

  destroy(): void {
    this.#buffer?.destroy();
    this.#buffer = undefined;
    this.#generation.count++;
  }
}

/** `count` images in pieces of at most `size`. */
export function piecesOf(count: number, size: number): readonly Piece[] {
  const pieces: Piece[] = [];
  for (let first = 0; first < count; first += size)
    pieces.push({ index: pieces.length, first, count: Math.min(size, count - first) });
  return pieces;
}
