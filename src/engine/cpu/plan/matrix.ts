/** Copies parts of tensors, in PyTorch's order [out][channels][taps], between the caller and matrices in memory. */
import { type MatrixLayout, matrixOf, type Operations } from './operations.ts';

/** A tensor of a layer: its matrix of weights, or its biases. */
export interface StoredTensor {
  /** Index of its operation. */
  readonly operation: number;
  readonly matrix: MatrixLayout;
  readonly isBias: boolean;
  /** Whether it is written to memory of the moment. */
  readonly staged: boolean;
}

/** The parameters of a network's operations, by name. */
export function storedTensors({ list }: Operations): ReadonlyMap<string, StoredTensor> {
  const tensors = new Map<string, StoredTensor>();
  list.forEach((owner, operation) => {
    const matrix = matrixOf(owner);
    if (!matrix) return;
    const { weightName, biasName, staged, biasStep } = matrix;
    tensors.set(weightName, { operation, matrix, isBias: false, staged });
    if (biasName === undefined) return;
    tensors.set(biasName, { operation, matrix, isBias: true, staged: staged && biasStep !== 1 });
  });
  return tensors;
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
