/**
 * Matrices of parameters in memory, and copies of parts of tensors, in PyTorch's order [out][channels][taps], between
 * them and the caller.
 */
import type { NetworkLayer } from '../model/layer.ts';
import { flattenedPlaces, type MapShape, roundUp, unevenStride } from './map-shape.ts';

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

/** The most values of a tensor, up to a limit, that are whole rows in memory. */
export function wholeRows({ matrix, isBias }: StoredTensor, most: number): number {
  const inRow = isBias ? 1 : matrix.channels * matrix.taps;
  return inRow > most ? most : most - (most % inRow);
}

/** Copies values `from …` of a tensor to `memory`, which starts at the parameters. */
export function storePart(
  memory: Float32Array,
  { matrix, isBias }: StoredTensor,
  from: number,
  values: Float32Array,
): void {
  if (isBias) {
    for (let i = 0; i < values.length; i++) memory[biasPlace(matrix, from + i)] = values[i]!;
    return;
  }
  const { places, arranged } = arrangementOf(matrix);
  for (const { row, inRow, part } of rowParts(matrix, from, values)) {
    // A part of a row: another worker may write the rest.
    if (part.length < places.length) {
      for (let i = 0; i < part.length; i++) memory[row + places[inRow + i]!] = part[i]!;
      continue;
    }
    // Whole rows are copied: V8 is ten times as slow with single values of memory that can grow.
    for (let i = 0; i < part.length; i++) arranged[places[i]!] = part[i]!;
    memory.set(arranged, row);
  }
}

/** Copies them back. */
export function readPart(
  memory: Float32Array,
  { matrix, isBias }: StoredTensor,
  from: number,
  values: Float32Array,
): void {
  if (isBias) {
    for (let i = 0; i < values.length; i++) values[i] = memory[biasPlace(matrix, from + i)]!;
    return;
  }
  const { places, found } = arrangementOf(matrix);
  for (const { row, inRow, part } of rowParts(matrix, from, values)) {
    found.set(memory.subarray(row, row + found.length));
    for (let i = 0; i < part.length; i++) part[i] = found[places[inRow + i]!]!;
  }
}

const biasPlace = ({ rows, bias, biasStep }: MatrixLayout, output: number): number =>
  bias + (rows?.[output] ?? output) * biasStep;

interface Arrangement {
  /** The place of each value of an output in its row. */
  readonly places: Int32Array;
  /** A row to write, in which padding is 0. */
  readonly arranged: Float32Array;
  /** A row that was read, with whatever is in its padding. */
  readonly found: Float32Array;
}

const arrangements = new WeakMap<MatrixLayout, Arrangement>();

function arrangementOf(matrix: MatrixLayout): Arrangement {
  const { channels, taps, stored } = matrix;
  const known = arrangements.get(matrix);
  if (known) return known;
  const places = flattenedPlaces({ channels, height: 1, width: taps, stored });
  const row = (): Float32Array => new Float32Array(taps * stored);
  const arrangement = { places, arranged: row(), found: row() };
  arrangements.set(matrix, arrangement);
  return arrangement;
}

/** Cuts values `from …` of a matrix by output: the start of its row in memory, and which of its values these are. */
function* rowParts(
  { rows, channels, taps, rowStride, offset }: MatrixLayout,
  from: number,
  values: Float32Array,
): Generator<{ readonly row: number; readonly inRow: number; readonly part: Float32Array }> {
  const perOutput = channels * taps;
  for (let done = 0; done < values.length; ) {
    const output = Math.floor((from + done) / perOutput);
    const inRow = from + done - output * perOutput;
    const part = values.subarray(done, done + perOutput - inRow);
    yield { row: offset + (rows?.[output] ?? output) * rowStride, inRow, part };
    done += part.length;
  }
}
