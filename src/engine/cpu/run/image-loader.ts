/**
 * Reads images into maps: from bytes of a data set or of a batch, through the fused transform, or from values; alone, or mixed with
 * another image of the batch. A few images at a time, on one worker.
 */
import { type FusedTransform, fusedValue, type Placement, place, readPlacement } from '../../../data/fuse.ts';
import { random, streams } from '../../../data/random.ts';
import { byteLevels } from '../../../kernels/maps.ts';
import type { ImageSource } from '../../driver.ts';
import type { KernelLibrary } from '../kernels/library.ts';
import type { LoadImagesCall } from '../plan/code.ts';

/** Bytes that a worker needs for an image of `size` bytes. */
export const imageBytes = (size: number): number => Math.ceil(size / 64) * 64;

/** A batch: the images of a source from `first` on. */
export interface Batch {
  readonly source: ImageSource;
  readonly first: number;
  readonly count: number;
  /** Share of the first image in a mixed one; 1 without mixup. */
  readonly ownShare: number;
  /** Address (in floats) of memory for one image's bytes. */
  readonly bytesAt: number;
}

export class ImageLoader {
  readonly #kernels: KernelLibrary;
  /** Address (in floats) of the table of floats for byte values, [input channels][256]. */
  readonly #table: number;
  #floats: Float32Array = new Float32Array(0);
  #bytes: Uint8Array = new Uint8Array(0);
  /** The transform whose table is in memory. */
  #fused: FusedTransform | undefined;
  /** An image to mix with another. */
  #partner: Float32Array = new Float32Array(0);
  /** An image in the layout of the map; between its values are zeros. */
  #values: Float32Array = new Float32Array(0);

  constructor(kernels: KernelLibrary, table: number) {
    this.#kernels = kernels;
    this.#table = table;
  }

  /** The memory that maps are in, which may have grown. */
  use(floats: Float32Array, bytes: Uint8Array): void {
    this.#floats = floats;
    this.#bytes = bytes;
  }

  load(call: LoadImagesCall, batch: Batch): void {
    const { source, ownShare } = batch;
    if (source.kind !== 'values' && source.fused !== this.#fused) this.#writeTable(source.fused);
    for (let i = 0; i < call.count; i++) {
      if (ownShare === 1) this.#load(call, batch, i, call.first + i);
      else this.#loadMixed(call, batch, i);
    }
  }

  /** Computes the float for each byte value in each channel, shifted as one image is. */
  #writeTable(fused: FusedTransform, shift?: Placement['shift']): void {
    this.#fused = fused;
    const { scale, offset } = fused;
    let at = this.#table;
    for (let channel = 0; channel < scale.length; channel++) {
      const added = offset[channel]! + (shift?.[channel] ?? 0);
      for (let byte = 0; byte < byteLevels; byte++) {
        this.#floats[at++] = fusedValue(byte, scale[channel]!, added);
      }
    }
  }

  /** Writes image `image` of the batch into the map of image `i`. */
  #load(call: LoadImagesCall, batch: Batch, i: number, image: number): void {
    const { source } = batch;
    const index = batch.first + image;
    if (source.kind !== 'values') this.#loadBytes(call, source, batch.bytesAt, i, index);
    else this.#loadValues(call, source, i, index);
  }

  /** The same, mixed with its partner. The halo is 0 in both. */
  #loadMixed(call: LoadImagesCall, batch: Batch, i: number): void {
    const image = call.first + i;
    this.#load(call, batch, i, batch.count - 1 - image);
    const { height, width, stored } = call.shape;
    const row = width * stored;
    if (this.#partner.length < height * row) this.#partner = new Float32Array(height * row);
    const at = call.map + i * call.imageStride;
    for (let y = 0; y < height; y++) {
      const start = at + y * call.rowStride;
      this.#partner.set(this.#floats.subarray(start, start + row), y * row);
    }
    this.#load(call, batch, i, image);
    for (let y = 0; y < height; y++) {
      const start = at + y * call.rowStride;
      const mixed = this.#floats.slice(start, start + row);
      for (let x = 0; x < row; x++) {
        mixed[x] = mixed[x]! * batch.ownShare + this.#partner[y * row + x]! * (1 - batch.ownShare);
      }
      this.#floats.set(mixed, start);
    }
  }

  /** Writes image `at` of a pass into the map of image `i`. */
  #loadBytes(
    call: LoadImagesCall,
    source: Exclude<ImageSource, { kind: 'values' }>,
    bytes: number,
    i: number,
    at: number,
  ): void {
    const { fused, pixels, seed, epoch } = source;
    const [channels, height, width] = fused.source;
    const [, rows, columns] = fused.output;
    const index = source.kind === 'dataset' ? source.order[at]! : at;
    const { top, left, flip, hole, shift } =
      source.kind === 'dataset'
        ? place(fused, random(seed, streams.transform, epoch, index))
        : readPlacement(source.placements, at, fused);
    if (shift) this.#writeTable(fused, shift);
    const size = channels * height * width;
    this.#bytes.set(pixels.subarray(index * size, (index + 1) * size), 4 * bytes);
    const clamp = (value: number, most: number): number => Math.min(Math.max(value, 0), most);
    const columnFrom = clamp(flip ? left - width + 1 : -left, columns);
    const columnTo = Math.max(columnFrom, clamp(flip ? left + 1 : width - left, columns));
    const rowFrom = clamp(-top, rows);
    this.#kernels.call('loadImage', [
      call.map + i * call.imageStride,
      call.rowStride,
      call.pixelStride,
      bytes,
      height * width,
      width,
      flip ? -1 : 1,
      top * width + left,
      channels,
      rows,
      columns,
      rowFrom,
      Math.max(rowFrom, clamp(height - top, rows)),
      columnFrom,
      columnTo,
      this.#table,
    ]);
    if (!hole) return;
    const map = call.map + i * call.imageStride;
    const [from, to] = hole.columns;
    for (let y = hole.rows[0]; y < hole.rows[1]; y++) {
      const row = map + y * call.rowStride;
      this.#floats.fill(0, row + from * call.pixelStride, row + to * call.pixelStride);
    }
  }

  #loadValues(
    call: LoadImagesCall,
    source: Extract<ImageSource, { kind: 'values' }>,
    i: number,
    at: number,
  ): void {
    const { channels, height, width } = call.shape;
    const from = at * channels * height * width;
    const to = call.map + i * call.imageStride;
    // Copied at once, with the zeros between rows: V8 is slow with single values of memory that can grow.
    const floats = (height - 1) * call.rowStride + width * call.pixelStride;
    if (this.#values.length !== floats) this.#values = new Float32Array(floats);
    const [values, read] = [this.#values, source.values];
    for (let c = 0; c < channels; c++) {
      for (let y = 0; y < height; y++) {
        const start = from + (c * height + y) * width;
        let into = y * call.rowStride + c;
        for (let x = 0; x < width; x++, into += call.pixelStride) values[into] = read[start + x]!;
      }
    }
    this.#floats.set(values, to);
  }
}
