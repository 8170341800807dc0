/**
 * Brings images to the device: a data set's bytes once, an order per pass, or the images of each step. What a step reads
 * is on the device before its dispatches run, since writes and submits happen in order.
 */
import { place, readPlacement } from '../../data/fuse.ts';
import { random, streams } from '../../data/random.ts';
import { type ImageSource, imageCount } from '../driver.ts';
import type { MapShape } from '../map-shape.ts';
import type { Gpu } from './device.ts';
import { cells, type Dispatch, type Piece } from './dispatch.ts';
import {
  drawsPlacements,
  levelsOf,
  loadBytes,
  loadValues,
  placeKernel,
  placementWords,
  storePlacement,
} from './images.ts';
import type { Maps } from './memory.ts';
import { type Generation, Scratch } from './memory.ts';
import { floatsOf } from './operations.ts';
import { stepNumbers } from './wgsl.ts';

/** Data sets that stay on the device: one to train, one to test. */
const keptDatasets = 2;

export class Feed {
  readonly samples: Scratch;
  readonly labels: Scratch;
  readonly #gpu: Gpu;
  readonly #mostBytes: number;
  readonly #placements: Scratch;
  readonly #levels: Scratch;
  readonly #pixels: Scratch;
  readonly #values: Scratch;
  /** Bytes of data sets, the one used last at the end. */
  readonly #datasets = new Map<Uint8Array, GPUBuffer>();
  #source!: ImageSource;

  /** A data set of more than `mostBytes` is not kept. */
  constructor(gpu: Gpu, mostBytes: number, generation: Generation) {
    this.#gpu = gpu;
    this.#mostBytes = mostBytes;
    const scratch = (label: string): Scratch => new Scratch(gpu, generation, label);
    this.samples = scratch('order');
    this.labels = scratch('labels');
    this.#placements = scratch('placements');
    this.#levels = scratch('levels');
    this.#pixels = scratch('bytes of images');
    this.#values = scratch('values of images');
  }

  /** Starts a pass. */
  open(source: ImageSource): void {
    this.#source = source;
    const count = imageCount(source);
    const samples = source.kind === 'dataset' ? source.order : source.samples;
    const labels =
      source.kind === 'dataset'
        ? Uint32Array.from(source.order, (index) => source.labels[index]!)
        : Uint32Array.from(source.labels);
    this.#write(this.samples, samples, count);
    this.#write(this.labels, labels, count);
    if (source.kind === 'values') return;
    this.#write(this.#levels, levelsOf(source.fused));
  }

  /** Whether a step's images must be written before its dispatches. */
  get writesSteps(): boolean {
    const source = this.#source;
    return source.kind !== 'dataset' || !this.#isWhole(source.pixels) || !drawsPlacements(source.fused);
  }

  #isWhole(pixels: Uint8Array): boolean {
    return pixels.byteLength <= this.#mostBytes;
  }

  /** Writes what the device does not have of images `first` … `first + count`. */
  writeStep(first: number, count: number): void {
    const source = this.#source;
    if (source.kind === 'values') {
      const size = source.values.length / Math.max(1, imageCount(source));
      this.#write(this.#values, source.values.subarray(first * size, (first + count) * size));
      return;
    }
    const { fused, pixels, seed, epoch } = source;
    const size = fused.source[0] * fused.source[1] * fused.source[2];
    const isDataset = source.kind === 'dataset';
    if (!isDataset || !drawsPlacements(fused)) {
      const words = new Int32Array(count * placementWords);
      for (let i = 0; i < count; i++) {
        const own = isDataset
          ? place(fused, random(seed, streams.transform, epoch, source.order[first + i]!))
          : readPlacement(source.placements, first + i, fused);
        storePlacement(words, i * placementWords, own);
      }
      this.#write(this.#placements, words);
    }
    if (isDataset && this.#isWhole(pixels)) return;
    const bytes = new Uint8Array(Math.ceil((count * size) / 4) * 4);
    for (let i = 0; i < count; i++) {
      const index = isDataset ? source.order[first + i]! : first + i;
      bytes.set(pixels.subarray(index * size, (index + 1) * size), i * size);
    }
    this.#write(this.#pixels, bytes);
  }

  /** What the dispatches of a step depend on. */
  get key(): string {
    const source = this.#source;
    return source.kind === 'values'
      ? 'values'
      : `${source.kind} ${source.kind === 'dataset' && this.#isWhole(source.pixels) ? this.#indexOf(source.pixels) : ''} ${JSON.stringify(source.fused)}`;
  }

  /** Dispatches that make the first map of `count` images. */
  load(
    { run, table, rates, mixes }: { run: GPUBuffer; table: Scratch; rates: number; mixes: boolean },
    pieces: readonly Piece[],
    map: Maps,
    shape: MapShape,
  ): Dispatch[] {
    const source = this.#source;
    const vectors = floatsOf(shape) / 4;
    const tableStride = rates * stepNumbers;
    const count = pieces.reduce((sum, piece) => sum + piece.count, 0);
    if (source.kind === 'values') {
      this.#values.require(4 * count * shape.channels * shape.height * shape.width);
      const kernel = loadValues(shape, mixes, tableStride);
      return pieces.map((piece) =>
        cells(kernel, [this.#values, map[piece.index]!, ...(mixes ? [run, table] : [])], piece, vectors),
      );
    }
    const { fused } = source;
    this.#placements.require(4 * placementWords * count);
    const isWhole = source.kind === 'dataset' && this.#isWhole(source.pixels);
    const pixels = isWhole ? this.#dataset(source.pixels) : this.#pixels;
    const kernel = loadBytes({ source: fused.source, ...shape, byIndex: isWhole, mixes }, tableStride);
    const draws = source.kind === 'dataset' && drawsPlacements(fused);
    return [
      ...(draws
        ? pieces.map((piece) =>
            cells(placeKernel(fused), [run, this.samples, this.#placements], piece, 1, 100),
          )
        : []),
      ...pieces.map((piece) =>
        cells(
          kernel,
          [
            ...[run, this.samples, pixels, this.#placements, this.#levels, map[piece.index]!],
            ...(mixes ? [table] : []),
          ],
          piece,
          vectors,
        ),
      ),
    ];
  }

  /** Loads a caller's values, of a map that is not the images. */
  loadGiven(
    values: Float32Array,
    pieces: readonly Piece[],
    maps: Maps,
    shape: MapShape,
    own: Scratch,
  ): Dispatch[] {
    this.#write(own, values);
    const kernel = loadValues(shape, false, 0);
    return pieces.map((piece) => cells(kernel, [own, maps[piece.index]!], piece, floatsOf(shape) / 4));
  }

  /** The bytes of a data set on the device. */
  #dataset(pixels: Uint8Array): GPUBuffer {
    const known = this.#datasets.get(pixels);
    const buffer = known ?? this.#gpu.buffer(pixels.byteLength, 'data set');
    this.#datasets.delete(pixels);
    this.#datasets.set(pixels, buffer);
    if (!known) {
      writePadded(this.#gpu, buffer, pixels);
      for (const [oldest, own] of this.#datasets) {
        if (this.#datasets.size <= keptDatasets) break;
        own.destroy();
        this.#datasets.delete(oldest);
      }
    }
    return buffer;
  }

  readonly #indices = new WeakMap<Uint8Array, number>();
  #known = 0;
  #indexOf(pixels: Uint8Array): number {
    // A data set that was dropped is written to another buffer.
    if (!this.#datasets.has(pixels)) this.#indices.set(pixels, this.#known++);
    return this.#indices.get(pixels)!;
  }

  #write(
    scratch: Scratch,
    values: Uint32Array | Int32Array | Float32Array | Uint8Array,
    count = values.length,
  ): void {
    const bytes = Math.ceil((count * values.BYTES_PER_ELEMENT) / 4) * 4;
    scratch.require(bytes);
    writePadded(this.#gpu, scratch.buffer, values);
  }

  destroy(): void {
    for (const buffer of this.#datasets.values()) buffer.destroy();
    for (const own of [this.samples, this.labels, this.#placements, this.#levels, this.#pixels, this.#values])
      own.destroy();
  }
}

/** Writes values whose bytes need not be a multiple of four, also from shared memory. */
export function writePadded(
  gpu: Gpu,
  buffer: GPUBuffer,
  values: Uint32Array | Int32Array | Float32Array | Uint8Array,
): void {
  const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  const whole = bytes.length - (bytes.length % 4);
  for (let at = 0; at < whole; at += mostWritten) {
    // A copy, because shared memory is not taken.
    const part = bytes.slice(at, Math.min(whole, at + mostWritten));
    gpu.device.queue.writeBuffer(buffer, at, part);
  }
  if (whole === bytes.length) return;
  const rest = new Uint8Array(4);
  rest.set(bytes.subarray(whole));
  gpu.device.queue.writeBuffer(buffer, whole, rest);
}

/** Bytes that are written at a time: 16 MiB. */
const mostWritten = 2 ** 24;
