/**
 * Weights that are read and written by parts, so that no copy of a whole network is needed: between files, memory and
 * devices. A part is a run of one tensor's values in PyTorch's order.
 */
import { UsageError } from '../errors.ts';
import { isObject, shown } from '../options.ts';
import type { Shape, Weight, Weights } from './layer.ts';
import { sizeOf } from './network.ts';

/** Tensors that are read by parts. */
export interface WeightSource {
  /** By name, in order. */
  readonly shapes: ReadonlyMap<string, Shape>;
  /** Copies the values `from … from + into.length` of a tensor to `into`. */
  read(name: string, from: number, into: Float32Array): Promise<void>;
}

/** Receives the tensors of a known list, in its order. */
export interface WeightSink {
  /** Appends values to the tensor `name`, which may not come before the one before it is complete. */
  write(name: string, values: Float32Array): Promise<void>;
}

/** The most values that are copied at a time: 1 MiB. */
export const partValues: number = 2 ** 18;

export const shapesOf = (weights: Weights): ReadonlyMap<string, Shape> =>
  new Map([...weights].map(([name, { shape }]) => [name, shape]));

/** @throws UsageError if a tensor's values do not match its shape. */
export function checkSizes(weights: Weights): void {
  for (const [name, { shape, data }] of weights) {
    if (data.length === sizeOf(shape)) continue;
    throw new UsageError(
      `tensor ${JSON.stringify(name)}: shape [${shape.join(', ')}] needs ${sizeOf(shape)} values, not ${data.length}`,
    );
  }
}

const isSource = (weights: unknown): weights is WeightSource =>
  isObject(weights) && typeof weights.read === 'function' && weights.shapes instanceof Map;

/** Reads tensors in memory, or what is already a source. @throws UsageError if values do not match their shape. */
export function sourceOf(weights: Weights | WeightSource): WeightSource {
  if (isSource(weights)) return weights;
  if (!(weights instanceof Map)) {
    throw new UsageError(
      `the weights are ${shown(weights)}, not a Map of tensors by name or what openWeights returns (await it)`,
    );
  }
  checkSizes(weights);
  return {
    shapes: shapesOf(weights),
    read: async (name, from, into) => {
      into.set(weights.get(name)!.data.subarray(from, from + into.length));
    },
  };
}

/** The same tensors until the signal is aborted; then reading throws its reason. */
export const cancelable = (source: WeightSource, signal: AbortSignal | undefined): WeightSource => ({
  shapes: source.shapes,
  read: async (...part) => {
    signal?.throwIfAborted();
    await source.read(...part);
  },
});

/** The same tensors; `onRead` is told of the values that were read. */
export const watched = (source: WeightSource, onRead: (count: number) => void): WeightSource => ({
  shapes: source.shapes,
  read: async (name, from, into) => {
    await source.read(name, from, into);
    onRead(into.length);
  },
});

/** The tensors of two sources, which have different names. */
export function joined(first: WeightSource, second: WeightSource): WeightSource {
  return {
    shapes: new Map([...first.shapes, ...second.shapes]),
    read: (name, from, into) => (first.shapes.has(name) ? first : second).read(name, from, into),
  };
}

/** Copies all tensors of a source to memory. */
export async function readAll(source: WeightSource, signal?: AbortSignal): Promise<Weights> {
  const weights = new Map<string, Weight>();
  for (const [name, shape] of source.shapes) {
    const data = new Float32Array(sizeOf(shape));
    for (let from = 0; from < data.length; from += partValues) {
      signal?.throwIfAborted();
      await source.read(name, from, data.subarray(from, from + partValues));
    }
    weights.set(name, { shape, data });
  }
  return weights;
}

/** Copies all tensors of a source to a sink, by parts. */
export async function copyAll(source: WeightSource, sink: WeightSink): Promise<void> {
  const part = new Float32Array(partValues);
  for (const [name, shape] of source.shapes) {
    const size = sizeOf(shape);
    for (let from = 0; from < size; from += part.length) {
      const values = part.subarray(0, Math.min(part.length, size - from));
      await source.read(name, from, values);
      await sink.write(name, values);
    }
  }
}
