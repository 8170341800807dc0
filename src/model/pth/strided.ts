/**
 * Reads tensors whose values are not in order in the file: transposed, sliced or expanded ones. A block of values in
 * the tensor's order is gathered at a time, in the order in which its values are in the file, so that memory does not
 * grow with the tensor.
 */
import { partValues } from '../weight-streams.ts';

/** The most values of a block: 32 MiB. */
const blockValues = 2 ** 23;

/** Sizes and strides of a tensor, in values. */
export interface Strided {
  readonly shape: readonly number[];
  readonly strides: readonly number[];
}

/** Reads `into.length` values from the value `from` of the file's run on. */
export type ReadRun = (from: number, into: Float32Array) => Promise<void>;

/** Whether the values are in order, without gaps. */
export function isContiguous({ shape, strides }: Strided): boolean {
  if (shape.includes(0)) return true;
  let size = 1;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    if (shape[axis] !== 1 && strides[axis] !== size) return false;
    size *= shape[axis]!;
  }
  return true;
}

/** The number of values from the first to the last one. */
export const extentOf = ({ shape, strides }: Strided): number =>
  shape.includes(0) ? 0 : shape.reduce((sum, side, axis) => sum + (side - 1) * strides[axis]!, 1);

/** Axes from the largest stride to the smallest; those of one value are left out. */
const byStride = ({ shape, strides }: Strided): readonly number[] =>
  [...shape.keys()].filter((axis) => shape[axis]! > 1).sort((a, b) => strides[b]! - strides[a]! || a - b);

/**
 * Whether every value is its own, so that each axis steps over all values of the axes with smaller strides. An axis of
 * stride 0 repeats values.
 */
export function overlap({ shape, strides }: Strided): 'none' | 'repeated' | 'overlapping' {
  let extent = 1;
  let repeats = false;
  for (const axis of byStride({ shape, strides }).toReversed()) {
    const stride = strides[axis]!;
    if (stride === 0) repeats = true;
    else if (stride < extent) return 'overlapping';
    else extent += (shape[axis]! - 1) * stride;
  }
  return repeats ? 'repeated' : 'none';
}

/** Reads parts of one strided tensor; keeps the block that was read last. `readRun` counts from its first value. */
export class StridedReader {
  readonly #tensor: Strided;
  readonly #readRun: ReadRun;
  /** The last axis of which a block has only a part: it has all of the axes behind it. */
  readonly #axis: number;
  /** Values in the axes behind it. */
  readonly #rowValues: number;
  #block = new Float32Array(0);
  #begin = 0;

  constructor(tensor: Strided, readRun: ReadRun, most: number = blockValues) {
    this.#tensor = tensor;
    this.#readRun = readRun;
    let axis = tensor.shape.length - 1;
    let values = 1;
    while (axis > 0 && values * tensor.shape[axis]! <= most) values *= tensor.shape[axis--]!;
    this.#axis = axis;
    this.#rowValues = values;
    this.#most = Math.max(1, Math.floor(most / values));
  }

  readonly #most: number;

  /** Copies the values `from … from + into.length`, in the tensor's order. */
  async read(from: number, into: Float32Array): Promise<void> {
    for (let at = 0; at < into.length; ) {
      const place = from + at;
      if (place < this.#begin || place >= this.#begin + this.#block.length) await this.#load(place);
      const part = this.#block.subarray(place - this.#begin, place - this.#begin + into.length - at);
      into.set(part, at);
      at += part.length;
    }
  }

  /** Gathers the block of the value `place`. */
  async #load(place: number): Promise<void> {
    const { shape, strides } = this.#tensor;
    const row = Math.floor(place / this.#rowValues);
    const first = row % shape[this.#axis]!;
    const count = Math.min(this.#most, shape[this.#axis]! - first);
    // Where the block begins in the file: the axes before the block's have one index each.
    let base = first * strides[this.#axis]!;
    let rest = Math.floor(row / shape[this.#axis]!);
    for (let axis = this.#axis - 1; axis >= 0; axis--) {
      base += (rest % shape[axis]!) * strides[axis]!;
      rest = Math.floor(rest / shape[axis]!);
    }
    const block = {
      shape: [count, ...shape.slice(this.#axis + 1)],
      strides: strides.slice(this.#axis),
    };
    this.#begin = row * this.#rowValues;
    // A failed read must not leave a block that looks valid.
    this.#block = new Float32Array(0);
    this.#block = await gather(block, base, this.#readRun);
  }
}

/** All values of a tensor that begins at `base`, read in the order of the file by windows of 1 MiB. */
async function gather(tensor: Strided, base: number, readRun: ReadRun): Promise<Float32Array<ArrayBuffer>> {
  const { shape, strides } = tensor;
  const axes = byStride(tensor);
  const steps = shape.map((_, axis) => shape.slice(axis + 1).reduce((size, side) => size * side, 1));
  const values = new Float32Array(shape.reduce((size, side) => size * side, 1));
  const end = base + extentOf(tensor);
  const window = new Float32Array(Math.min(partValues, extentOf(tensor)));
  let windowBegin = 0;
  let windowEnd = 0;
  const index = axes.map(() => 0);
  let source = base;
  let target = 0;
  for (let left = values.length; left > 0; left--) {
    if (source < windowBegin || source >= windowEnd) {
      windowBegin = source;
      windowEnd = Math.min(end, source + window.length);
      await readRun(windowBegin, window.subarray(0, windowEnd - windowBegin));
    }
    values[target] = window[source - windowBegin]!;
    // Counts up, the axis of the smallest stride first.
    for (let i = axes.length - 1; i >= 0; i--) {
      const axis = axes[i]!;
      index[i]!++;
      source += strides[axis]!;
      target += steps[axis]!;
      if (index[i]! < shape[axis]!) break;
      index[i] = 0;
      source -= shape[axis]! * strides[axis]!;
      target -= shape[axis]! * steps[axis]!;
    }
  }
  return values;
}
