/**
 * Tensors between the host and the GPU, by parts of at most 1 MiB: weights and moments in PyTorch's order on one side, rows
 * of matrices on the other.
 */
import type { Network } from '../../model/layer.ts';
import { tensorsOf } from '../../model/network.ts';
import { partValues, type WeightSource } from '../../model/weight-streams.ts';
import type { MomentName } from '../backend.ts';
import type { TensorGroup } from '../driver.ts';
import { type MatrixLayout, readPart, type StoredTensor, storePart } from '../matrix.ts';
import type { Gpu, Range } from './device.ts';
import type { ArrayName, Matrix, Parameters, Part, TensorPlace } from './parameters.ts';

/** Starts a moment at 0, or the average at the weights. */
export function startMoment(gpu: Gpu, parameters: Parameters, name: MomentName): void {
  parameters.ensure(name);
  const encoder = gpu.device.createCommandEncoder();
  for (const { parts } of parameters.learning) {
    for (const { arrays, floats } of parts) {
      const own = arrays.get(name)!;
      if (name === 'average') encoder.copyBufferToBuffer(arrays.get('weights')!, 0, own, 0, 4 * floats);
      else encoder.clearBuffer(own);
    }
  }
  gpu.device.queue.submit([encoder.finish()]);
}

/** Swaps the weights with their average. */
export function swapAverage(gpu: Gpu, parameters: Parameters): void {
  const { device } = gpu;
  for (const { parts } of parameters.learning) {
    for (const { arrays, floats } of parts) {
      const [weights, average] = [arrays.get('weights')!, arrays.get('average')!];
      const between = gpu.buffer(4 * floats, 'between');
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
export async function writeTensors(
  gpu: Gpu,
  parameters: Parameters,
  group: TensorGroup,
  source: WeightSource,
): Promise<void> {
  if (group !== 'weights') parameters.ensure(group);
  for (const matrix of group === 'weights' ? parameters.matrices.values() : parameters.learning) {
    await writeMatrix(gpu, matrix, group, source);
  }
  if (group !== 'weights') return;
  for (const { names, places, stored, buffer } of parameters.running.values()) {
    const values = new Float32Array(2 * stored);
    for (const [i, name] of names.entries()) {
      const given = new Float32Array(places.length);
      await source.read(name, 0, given);
      given.forEach((value, channel) => {
        values[i * stored + places[channel]!] = value;
      });
    }
    gpu.device.queue.writeBuffer(buffer, 0, values);
  }
}

async function writeMatrix(
  gpu: Gpu,
  { layout, parts }: Matrix,
  group: TensorGroup,
  source: WeightSource,
): Promise<void> {
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
      gpu.device.queue.writeBuffer(arrays.get(group)!, offset, memory);
    }
  }
}

/** The tensors of a group, as they are when they are read. */
export function tensorsOn(
  gpu: Gpu,
  network: Network,
  parameters: Parameters,
  group: TensorGroup | 'gradients',
): WeightSource {
  const learns = (name: string): boolean => {
    const place = parameters.placeOf(name);
    return 'matrix' in place && !parameters.isFrozen(place.matrix.layer);
  };
  const all = tensorsOf(network).filter(({ name }) => group === 'weights' || learns(name));
  return {
    shapes: new Map(all.map(({ name, shape }) => [name, shape])),
    read: (name, from, into) => readPlace(gpu, group, parameters.placeOf(name), from, into),
  };
}

async function readPlace(
  gpu: Gpu,
  group: ArrayName,
  place: TensorPlace,
  from: number,
  into: Float32Array,
): Promise<void> {
  if (into.length === 0) return;
  if ('running' in place) {
    const { buffer, places, stored } = place.running;
    const values = new Float32Array(await gpu.read([{ buffer, offset: 0, bytes: 8 * stored }]));
    for (let i = 0; i < into.length; i++) into[i] = values[place.first + places[from + i]!]!;
    return;
  }
  const { matrix, isBias } = place;
  const { layout, parts } = matrix;
  if (layout.rows) {
    const [{ arrays, floats }] = parts as readonly [Part];
    const bytes = 4 * floats;
    const values = new Float32Array(await gpu.read([{ buffer: arrays.get(group)!, offset: 0, bytes }]));
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
  const values = new Float32Array(await gpu.read(ranges));
  if (isBias) for (let i = 0; i < into.length; i++) into[i] = values[4 * i]!;
  else readPart(values, tensorOf(movedTo(layout, first), false), from, into);
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
