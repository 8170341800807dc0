/**
 * Weights that are read and written by parts, so that no copy of a whole network is needed: between files, memory and
 * devices. A part is a run of one tensor's values in PyTorch's order.
 */
import { UsageError } from '../errors.ts';
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

/** The most values that are copied at a time: 4 MiB. */
export const partValues: number = 2 ** 20;

/** Reads tensors in memory. @throws UsageError if a tensor's values do not match its shape. */
export function sourceOf(weights: Weights | WeightSource): WeightSource {
  if ('read' in weights) return weights;
  for (const [name, { shape, data }] of weights) {
    if (data.length !== sizeOf(shape)) {
      throw new UsageError(
        `tensor ${JSON.stringify(name)}: shape [${shape.join(', ')}] needs ${sizeOf(shape)} values, not ${data.length}`,
      );
    }
  }
  return {
    shapes: new Map([...weights].map(([name, { shape }]) => [name, shape])),
    read: async (name, from, into) => {
      into.set(weights.get(name)!.data.subarray(from, from + into.length));
    },
  };
}

/** Copies all tensors of a source to memory. */
export async function readAll(source: WeightSource): Promise<Weights> {
  const weights = new Map<string, Weight>();
  for (const [name, shape] of source.shapes) {
    const data = new Float32Array(sizeOf(shape));
    await source.read(name, 0, data);
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
