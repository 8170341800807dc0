/**
 * Parameters, moments and running moments on the GPU. A matrix has a row for each output: [taps][input channels], and a
 * vec4 with its bias. Matrices too large for one buffer are cut by rows. All arrays of a parameter have its layout.
 */
import type { Network, NetworkLayer } from '../../model/layer.ts';
import { tensorsOf } from '../../model/network.ts';
import { partValues, type WeightSource } from '../../model/weight-streams.ts';
import { VggError } from '../../errors.ts';
import type { MomentName } from '../backend.ts';
import type { TensorGroup } from '../driver.ts';
import { graphOf } from '../graph.ts';
import { flattenedPlaces, mapOf, roundUp } from '../map-shape.ts';
import { type MatrixLayout, readPart, type StoredTensor, storePart, vectorsLayout } from '../matrix.ts';
import type { Gpu, Range } from './device.ts';

/** Arrays with the layout of the parameters. */
export type ArrayName = 'weights' | 'gradients' | MomentName;

export interface Part {
  readonly firstRow: number;
  readonly rows: number;
  readonly floats: number;
  readonly arrays: Map<ArrayName, GPUBuffer>;
}

export interface Matrix {
  /** Index of its layer. */
  readonly layer: number;
  readonly layout: MatrixLayout;
  readonly parts: readonly Part[];
}

/** Running moments of a batch normalization, [mean][variance]. */
export interface Running {
  readonly names: readonly [mean: string, variance: string];
  /** Place of each channel. */
  readonly places: Int32Array;
  readonly stored: number;
  readonly buffer: GPUBuffer;
}

/** A tensor's values, in a matrix or in running moments. */
type Place =
  | { readonly matrix: Matrix; readonly isBias: boolean }
  | { readonly running: Running; readonly first: number };

export class Parameters {
  readonly #gpu: Gpu;
  readonly #network: Network;
  /** By the name of its first tensor. */
  readonly matrices: ReadonlyMap<string, Matrix>;
  /** By the name of the mean. */
  readonly running: ReadonlyMap<string, Running>;
  readonly #places = new Map<string, Place>();
  #frozen: ReadonlySet<number> = new Set();

  constructor(gpu: Gpu, network: Network) {
    this.#gpu = gpu;
    this.#network = network;
    const matrices = new Map<string, Matrix>();
    const running = new Map<string, Running>();
    for (const node of graphOf(network)) {
      const layer = node.layers[0]!;
      const index = network.layers.indexOf(layer);
      const layout = layoutOf(node, layer);
      if (layout) {
        const parts = partsOf(network.name, layout, gpu.mostBytes);
        const matrix = { layer: index, layout, parts };
        matrices.set(layout.weightName, matrix);
        this.#places.set(layout.weightName, { matrix, isBias: false });
        if (layout.biasName !== undefined) this.#places.set(layout.biasName, { matrix, isBias: true });
        this.#make(matrix, 'weights');
      }
      if (node.kind !== 'batchNorm') continue;
      const [mean, variance] = layer.buffers as unknown as readonly [{ name: string }, { name: string }];
      const { places, stored } = channelsOf(node);
      const own: Running = {
        names: [mean.name, variance.name],
        ...{ places, stored },
        buffer: gpu.buffer(8 * stored, `running moments of ${layer.name}`),
      };
      running.set(mean.name, own);
      this.#places.set(mean.name, { running: own, first: 0 });
      this.#places.set(variance.name, { running: own, first: stored });
    }
    this.matrices = matrices;
    this.running = running;
  }

  /** Those that learn. */
  get learning(): readonly Matrix[] {
    return [...this.matrices.values()].filter(({ layer }) => !this.#frozen.has(layer));
  }

  isFrozen(layer: number): boolean {
    return this.#frozen.has(layer);
  }

  /** Frees the arrays of training, too. */
  freeze(layers: readonly number[]): void {
    this.#frozen = new Set(layers);
    for (const { parts } of this.matrices.values()) {
      for (const { arrays } of parts) {
        for (const [name, buffer] of arrays) {
          if (name === 'weights') continue;
          buffer.destroy();
          arrays.delete(name);
        }
      }
    }
  }

  /** Allocates an array of the parameters that learn, if it is missing. Its values are 0. */
  ensure(name: Exclude<ArrayName, 'weights'>): void {
    for (const matrix of this.learning) this.#make(matrix, name);
  }

  #make({ parts, layout }: Matrix, name: ArrayName): void {
    for (const { arrays, floats } of parts) {
      if (!arrays.has(name)) arrays.set(name, this.#gpu.buffer(4 * floats, `${name} of ${layout.weightName}`));
    }
  }

  /** Starts a moment at 0, or the average at the weights. */
  start(name: MomentName): void {
    this.ensure(name);
    const encoder = this.#gpu.device.createCommandEncoder();
    for (const { parts } of this.learning) {
      for (const { arrays, floats } of parts) {
        const own = arrays.get(name)!;
        if (name === 'average') encoder.copyBufferToBuffer(arrays.get('weights')!, 0, own, 0, 4 * floats);
        else encoder.clearBuffer(own);
      }
    }
    this.#gpu.device.queue.submit([encoder.finish()]);
  }

  swapAverage(): void {
    const { device } = this.#gpu;
    for (const { parts } of this.learning) {
      for (const { arrays, floats } of parts) {
        const [weights, average] = [arrays.get('weights')!, arrays.get('average')!];
        const between = this.#gpu.buffer(4 * floats, 'between');
        const encoder = device.createCommandEncoder();
        encoder.copyBufferToBuffer(weights, 0, between, 0, 4 * floats);
        encoder.copyBufferToBuffer(average, 0, weights, 0, 4 * floats);
        encoder.copyBufferToBuffer(between, 0, average, 0, 4 * floats);
        device.queue.submit([encoder.finish()]);
        between.destroy();
      }
    }
  }

  /** Reads all tensors of a group. */
  async write(group: TensorGroup, source: WeightSource): Promise<void> {
    if (group !== 'weights') this.ensure(group);
    for (const matrix of group === 'weights' ? this.matrices.values() : this.learning) {
      await this.#writeMatrix(matrix, group, source);
    }
    if (group !== 'weights') return;
    for (const { names, places, stored, buffer } of this.running.values()) {
      const values = new Float32Array(2 * stored);
      for (const [i, name] of names.entries()) {
        const given = new Float32Array(places.length);
        await source.read(name, 0, given);
        given.forEach((value, channel) => {
          values[i * stored + places[channel]!] = value;
        });
      }
      this.#gpu.device.queue.writeBuffer(buffer, 0, values);
    }
  }

  async #writeMatrix({ layout, parts }: Matrix, group: TensorGroup, source: WeightSource): Promise<void> {
    const { weightName, biasName, rowStride, out, channels, taps } = layout;
    // The rows of vectors are in any order, so they are written at once.
    const isVectors = layout.rows !== undefined;
    const most = isVectors ? layout.storedOut : Math.max(1, Math.floor(partValues / rowStride));
    for (const { firstRow, rows, arrays, floats } of parts) {
      for (let first = firstRow; first < firstRow + rows; first += most) {
        const end = Math.min(first + most, firstRow + rows);
        const memory = new Float32Array(isVectors ? floats : (end - first) * rowStride);
        const moved = isVectors ? layout : movedTo(layout, first);
        const from = isVectors ? 0 : first;
        const count = Math.max(0, Math.min(end, out) - from);
        await copy(source, weightName, from * channels * taps, count * channels * taps, (at, values) =>
          storePart(memory, tensorOf(moved, false), at, values),
        );
        if (biasName !== undefined)
          await copy(source, biasName, from, count, (at, values) =>
            storePart(memory, tensorOf(moved, true), at, values),
          );
        const offset = isVectors ? 0 : 4 * (first - firstRow) * rowStride;
        this.#gpu.device.queue.writeBuffer(arrays.get(group)!, offset, memory);
      }
    }
  }

  tensors(group: TensorGroup | 'gradients'): WeightSource {
    const learns = (name: string): boolean => {
      const place = this.#places.get(name)!;
      return 'matrix' in place && !this.#frozen.has(place.matrix.layer);
    };
    const all = tensorsOf(this.#network).filter(({ name }) => group === 'weights' || learns(name));
    return {
      shapes: new Map(all.map(({ name, shape }) => [name, shape])),
      read: (name, from, into) => this.#read(group, this.#places.get(name)!, from, into),
    };
  }

  async #read(group: ArrayName, place: Place, from: number, into: Float32Array): Promise<void> {
    if (into.length === 0) return;
    if ('running' in place) {
      const { buffer, places, stored } = place.running;
      const values = new Float32Array(await this.#gpu.read([{ buffer, offset: 0, bytes: 8 * stored }]));
      for (let i = 0; i < into.length; i++) into[i] = values[place.first + places[from + i]!]!;
      return;
    }
    const { matrix, isBias } = place;
    const { layout, parts } = matrix;
    if (layout.rows) {
      const [{ arrays, floats }] = parts as readonly [Part];
      const bytes = 4 * floats;
      const values = new Float32Array(await this.#gpu.read([{ buffer: arrays.get(group)!, offset: 0, bytes }]));
      readPart(values, tensorOf(layout, isBias), from, into);
      return;
    }
    const { rowStride, channels, taps, bias } = layout;
    const inRow = isBias ? 1 : channels * taps;
    const first = Math.floor(from / inRow);
    const end = Math.ceil((from + into.length) / inRow);
    const ranges: Range[] = [];
    for (const { firstRow, rows, arrays } of parts) {
      const [begin, stop] = [Math.max(first, firstRow), Math.min(end, firstRow + rows)];
      const buffer = arrays.get(group)!;
      const offset = 4 * (begin - firstRow) * rowStride;
      if (begin >= stop) continue;
      if (!isBias) ranges.push({ buffer, offset, bytes: 4 * (stop - begin) * rowStride });
      // Only the biases of rows, which may be long.
      else
        for (let row = begin; row < stop; row++)
          ranges.push({ buffer, offset: 4 * ((row - firstRow) * rowStride + bias), bytes: 16 });
    }
    const values = new Float32Array(await this.#gpu.read(ranges));
    if (isBias) for (let i = 0; i < into.length; i++) into[i] = values[4 * i]!;
    else readPart(values, tensorOf(movedTo(layout, first), false), from, into);
  }

  destroy(): void {
    for (const { parts } of this.matrices.values())
      for (const { arrays } of parts) for (const buffer of arrays.values()) buffer.destroy();
    for (const { buffer } of this.running.values()) buffer.destroy();
  }
}

const tensorOf = (matrix: MatrixLayout, isBias: boolean): StoredTensor => ({
  ...{ operation: 0, matrix, isBias, staged: false },
});

/** A layout in memory that starts with a row. */
const movedTo = (layout: MatrixLayout, row: number): MatrixLayout => ({
  ...layout,
  offset: -row * layout.rowStride,
  bias: layout.bias - row * layout.rowStride,
});

/** Passes `count` values of a tensor on, by parts. */
async function copy(
  source: WeightSource,
  name: string,
  from: number,
  count: number,
  pass: (at: number, values: Float32Array) => void,
): Promise<void> {
  for (let done = 0; done < count; done += partValues) {
    const values = new Float32Array(Math.min(partValues, count - done));
    await source.read(name, from + done, values);
    pass(from + done, values);
  }
}

/** The stored channels that a batch normalization has, and the place of each in them. */
export function channelsOf({ input, flattened }: { input: readonly number[]; flattened: boolean }): {
  readonly places: Int32Array;
  readonly stored: number;
} {
  const map = mapOf(input);
  const own = flattened ? map : { ...map, height: 1, width: 1 };
  return { places: flattenedPlaces(own), stored: own.height * own.width * own.stored };
}

function layoutOf(node: ReturnType<typeof graphOf>[number], layer: NetworkLayer): MatrixLayout | undefined {
  if (node.kind === 'batchNorm') {
    const { places, stored } = channelsOf(node);
    return node.spec.affine ? vectorsLayout(layer, stored, places) : undefined;
  }
  if (node.kind !== 'convolution' && node.kind !== 'linear') return undefined;
  const map = mapOf(node.input);
  const taps = node.kind === 'linear' ? map.height * map.width : node.spec.kernel[0] * node.spec.kernel[1];
  const values = taps * map.stored;
  const [weight, bias] = layer.parameters;
  const storedOut = roundUp(node.spec.out, 4);
  const rowStride = values + 4;
  return {
    ...{ weightName: weight!.name, biasName: bias?.name, offset: 0, rowStride, storedOut, out: node.spec.out },
    ...{ taps, channels: map.channels, stored: map.stored, bias: values, biasStep: rowStride },
    ...{ length: storedOut * rowStride, staged: false },
  };
}

/** @throws VggError if four rows do not fit a buffer. */
function partsOf(name: string, { rows: order, storedOut, rowStride, length }: MatrixLayout, mostBytes: number): Part[] {
  if (order) return [{ firstRow: 0, rows: storedOut, floats: length, arrays: new Map() }];
  const most = Math.floor(mostBytes / (16 * rowStride)) * 4;
  if (most === 0) {
    throw new VggError(
      `${name}: this GPU has buffers of at most ${mostBytes} bytes, too few for the weights of one layer; use another device`,
    );
  }
  const parts: Part[] = [];
  for (let firstRow = 0; firstRow < storedOut; firstRow += most) {
    const rows = Math.min(most, storedOut - firstRow);
    parts.push({ firstRow, rows, floats: rows * rowStride, arrays: new Map() });
  }
  return parts;
}

