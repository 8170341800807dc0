/**
 * Matrices of parameters in memory, and copies of parts of tensors, in PyTorch's order [out][channels][taps], between
 * them and the caller.
 */
import type { NetworkLayer } from '../../../model/layer.ts';
import { type MapShape, roundUp, unevenStride } from './map-shape.ts';

/**
 * The layout of a layer's parameters, in floats from the start of the parameters: one row per output,
 * [out][taps][stored input channels], rows `rowStride` apart; biases start at `bias`, `biasStep` apart.
 */
export interface MatrixLayout {
  readonly weightName: string;
  readonly biasName: string | undefined;
  readonly offset: number;
  readonly rowStride: number;
  /** Rows including padding, a multiple of the granule. */
  readonly storedOut: number;
  readonly out: number;
  /** The row of each output, if rows are not in the outputs' order. */
  readonly rows?: Int32Array;
  /** Kernel positions; for a linear layer, positions of its input map. */
  readonly taps: number;
  readonly channels: number;
  readonly stored: number;
  readonly bias: number;
  readonly biasStep: number;
  /** Total floats, including biases. */
  readonly length: number;
  /** Whether the rows are written to memory of the moment, at offset 0, and not kept. */
  readonly staged: boolean;
}

/** Rows of patches and of their weights are a multiple of this length, so that the widest vectors have no tail. */
const columnMultiple = 16;

/** The layout of a convolution or linear layer, relative to its start. */
export function rowsLayout(
  layer: NetworkLayer,
  { channels, stored }: MapShape,
  storedOut: number,
  taps: number,
  bias: 'column' | 'vector',
): MatrixLayout {
  const weight = layer.parameters[0]!;
  const values = taps * stored;
  const rowStride = bias === 'column' ? roundUp(values + 1, columnMultiple) : unevenStride(values);
  const matrixLength = storedOut * rowStride;
  return {
    weightName: weight.name,
    biasName: layer.parameters[1]?.name,
    offset: 0,
    rowStride,
    storedOut,
    out: weight.shape[0]!,
    taps,
    channels,
    stored,
    bias: bias === 'column' ? values : matrixLength,
    biasStep: bias === 'column' ? rowStride : 1,
    staged: false,
    length: matrixLength + (bias === 'column' ? 0 : storedOut),
  };
}

/** The layout of a weight and a bias at each of `rows`, in vectors of `stored` floats. */
export const vectorsLayout = (layer: NetworkLayer, stored: number, rows: Int32Array): MatrixLayout => ({
  weightName: layer.parameters[0]!.name,
  biasName: layer.parameters[1]!.name,
  offset: 0,
  rowStride: 1,
  storedOut: stored,
  out: rows.length,
  rows,
  taps: 1,
  channels: 1,
  stored: 1,
  bias: stored,
  biasStep: 1,
  staged: false,
  length: 2 * stored,
});

/** A tensor of a layer: its matrix of weights, or its biases. */
export interface StoredTensor {
  /** Index of its operation. */
  readonly operation: number;
  readonly matrix: MatrixLayout;
  readonly isBias: boolean;
  /** Whether it is written to memory of the moment. */
  readonly staged: boolean;
}

/** Copies values `from …` of a tensor to `memory`, which starts at the parameters. */
export function storePart(
  memory: Float32Array,
  tensor: StoredTensor,
  from: number,
  values: Float32Array,
): void {
  visit(tensor, from, values.length, (place, step, first, count) => {
    for (let i = 0; i < count; i++) memory[place + i * step] = values[first + i]!;
  });
}

/** Copies them back. */
export function readPart(
  memory: Float32Array,
  tensor: StoredTensor,
  from: number,
  values: Float32Array,
): void {
  visit(tensor, from, values.length, (place, step, first, count) => {
    for (let i = 0; i < count; i++) values[first + i] = memory[place + i * step]!;
  });
}

/**
 * Visits `count` values of a tensor as runs of places in memory that are `step` apart: of a bias, all of them; of a
 * matrix, those of one output and channel, or of one output if there is one tap.
 */
function visit(
  { matrix, isBias }: StoredTensor,
  from: number,
  count: number,
  run: (place: number, step: number, first: number, count: number) => void,
): void {
  const { rows, channels, taps, stored, rowStride, offset, bias, biasStep } = matrix;
  const [runLength, step, perOutput] = isBias
    ? [1, 1, 1]
    : taps === 1
      ? [channels, 1, channels]
      : [taps, stored, channels * taps];
  if (isBias && !rows) {
    run(bias + from * biasStep, biasStep, 0, count);
    return;
  }
  for (let done = 0; done < count; ) {
    const value = from + done;
    const output = Math.floor(value / perOutput);
    const inOutput = value - output * perOutput;
    const runIndex = Math.floor(inOutput / runLength);
    const inRun = inOutput - runIndex * runLength;
    const length = Math.min(runLength - inRun, count - done);
    const row = rows?.[output] ?? output;
    const start = isBias ? bias + row * biasStep : offset + row * rowStride + runIndex;
    run(start + inRun * step, step, done, length);
    done += length;
  }
}
