/**
 * The update after a batch's gradients: slots → gradient → optimizer → derived matrices, by ranges of parameters. If the
 * gradient's norm is needed, all workers meet between the gradient and the optimizer.
 */
import type { OptimizerOptions, StepOptions } from '../../backend.ts';
import type { MatrixLayout } from '../../matrix.ts';
import { deriveConvolution } from '../lower/convolution/derived.ts';
import { Code, type Emit, emit, type Instruction } from './code.ts';
import { firstLayerOf, isSplit, matrixOf, type Operation, onWholeBatch } from './operations.ts';
import { orthogonalizedOperations, orthogonalizePhases } from './orthogonalize.ts';
import { averageSetting, type ParameterLayout } from './parameters.ts';
import { rateGroups } from './rates.ts';

/** A rule that changes the weights, and their average if there is one. */
export interface Rule {
  readonly kind: 'adam' | 'sgd' | 'muon';
  readonly average: boolean;
  /** For each layer, which of the different learning rates it has; absent if all have the same. */
  readonly rates?: readonly number[];
}

/** `factors` are those of the layers' learning rates; empty if all are 1. */
export function ruleOf(
  { kind }: Pick<OptimizerOptions, 'kind'>,
  { averageDecay = 0 }: StepOptions,
  factors: readonly number[] = [],
): Rule {
  const { ofLayers } = rateGroups(factors);
  return {
    kind: kind === 'adamw' ? 'adam' : kind,
    average: averageDecay > 0,
    ...(ofLayers.length > 0 && { rates: ofLayers }),
  };
}

/** What follows a batch's gradients. */
export interface Update {
  /** Absent while gradients are still accumulated. */
  readonly rule: Rule | undefined;
  /** Whether gradients of several batches are accumulated, and whether this batch is the first. */
  readonly accumulated: 'first' | 'more' | undefined;
  /** Whether the gradient's norm is needed first. */
  readonly clip: boolean;
}

/**
 * The rule that split layers apply to each part of their gradient as soon as it is known; undefined if all of the
 * gradient is needed first. Muon needs whole matrices.
 */
export const ruleInPlace = ({ rule, accumulated, clip }: Update): Rule | undefined =>
  accumulated === undefined && !clip && rule?.kind !== 'muon' ? rule : undefined;

/** The work between two barriers of the workers. */
export interface Phase {
  readonly items: readonly (readonly Instruction[])[];
  /** Done once for all, by the last worker to reach the end. */
  readonly once?: readonly Instruction[];
  /** Whether the losses of all images are known at its end. */
  readonly computesLoss?: boolean;
}

/** Floats of an item: few, so that workers end together. */
const updateFloats = 4096;

/** Parameters that one item updates: a part of an operation's matrix by whole outputs, or its biases. */
interface UpdateRange {
  /** Index of the operation. */
  readonly index: number;
  /** Floats from the start of the parameters. */
  readonly from: number;
  readonly length: number;
  readonly isBias?: true;
  /** The outputs, if they are a convolution's: matrices are derived from them. */
  readonly outputs?: readonly [from: number, to: number];
}

/** Outputs of a convolution's update range. */
const rangeRows = ({ rowStride }: MatrixLayout): number =>
  Math.max(16, Math.floor(updateFloats / rowStride / 16) * 16);

function rangesOf(operation: Operation, index: number): UpdateRange[] {
  const matrix = matrixOf(operation);
  if (!matrix) return [];
  const { offset, rowStride, storedOut } = matrix;
  const ranges: UpdateRange[] = [];
  if (operation.kind === 'convolution') {
    // A range of 16 outputs has whole cache lines of a derived matrix whose columns are a multiple of 16.
    const rows = rangeRows(matrix);
    for (let from = 0; from < storedOut; from += rows) {
      const to = Math.min(from + rows, storedOut);
      const length = (to - from) * rowStride;
      ranges.push({ index, from: offset + from * rowStride, length, outputs: [from, to] });
    }
  } else {
    const floats = storedOut * rowStride;
    for (let at = 0; at < floats; at += updateFloats) {
      ranges.push({ index, from: offset + at, length: Math.min(updateFloats, floats - at) });
    }
  }
  if (matrix.biasStep === 1) ranges.push({ index, from: matrix.bias, length: storedOut, isBias: true });
  return ranges;
}

/** Number of sums of squares. Counted, not listed: a network that is far too large would have billions. */
export function squareCount({
  operations,
  trained,
}: Pick<ParameterLayout, 'operations' | 'trained'>): number {
  return operations.list.reduce((sum, operation) => {
    const matrix = matrixOf(operation);
    if (!matrix || trained.isFrozen(operation)) return sum;
    const { storedOut, rowStride } = matrix;
    const ranges =
      operation.kind === 'convolution'
        ? storedOut / rangeRows(matrix)
        : (storedOut * rowStride) / updateFloats;
    return sum + Math.ceil(ranges) + (matrix.biasStep === 1 ? 1 : 0);
  }, 0);
}

/** Sums the slots of parameters `from` … `from + length` of an operation into the first slot. */
export function reduceSlots(
  code: Code,
  layout: ParameterLayout,
  operation: Operation,
  slots: number,
  from: number,
  length: number,
): void {
  if (onWholeBatch(operation) || slots < 2) return;
  code.call('reduceSlots', {
    gradient: layout.slot(0, operation) + from,
    slots: layout.slot(0, operation) + from,
    slotStride: layout.trained.slotLength,
    slotCount: slots,
    length,
  });
}

/** Applies a rule to `length` parameters of an operation from `from` on, whose gradient is at an address. */
export function applyRule(
  code: Code,
  layout: ParameterLayout,
  worker: number,
  rule: Rule,
  operation: Operation,
  from: number,
  length: number,
  gradient: number,
): void {
  const { kind } = rule;
  const settings = settingsOf(layout, worker, rule, operation);
  const parameters = layout.parameters.at + from;
  const common = { parameters, gradient, length, settings };
  const first = layout.arrayOf('firstMoments', operation) + from;
  switch (kind) {
    case 'adam': {
      const secondMoment = layout.arrayOf('secondMoments', operation) + from;
      code.call('adam', { ...common, firstMoment: first, secondMoment });
      break;
    }
    case 'sgd':
    case 'muon':
      code.call('sgd', { ...common, momentum: first });
      break;
    default:
      kind satisfies never;
  }
  moveAverage(code, layout, worker, rule, operation, from, length);
}

const settingsOf = (layout: ParameterLayout, worker: number, { rates }: Rule, operation: Operation): number =>
  layout.settings(worker, rates?.[firstLayerOf(operation)]);

/** Moves the average of `length` parameters from `from` on, if there is one. */
function moveAverage(
  code: Code,
  layout: ParameterLayout,
  worker: number,
  rule: Rule,
  operation: Operation,
  from: number,
  length: number,
): void {
  if (!rule.average) return;
  code.call('moveAverage', {
    average: layout.arrayOf('averages', operation) + from,
    parameters: layout.parameters.at + from,
    length,
    settings: settingsOf(layout, worker, rule, operation) + averageSetting,
  });
}

/** Turns gradients of weights that Muon orthogonalizes into directions, with which it also changes biases between them. */
function writeDirection(
  code: Code,
  layout: ParameterLayout,
  worker: number,
  rule: Rule,
  operation: Operation,
  { from, length, outputs }: UpdateRange,
  gradient: number,
): void {
  const settings = settingsOf(layout, worker, rule, operation);
  const parameters = layout.parameters.at + from;
  const momentum = layout.arrayOf('firstMoments', operation) + from;
  code.call('muonDirection', { parameters, momentum, gradient, length, settings });
  const { bias, biasStep, offset } = matrixOf(operation)!;
  if (biasStep === 1 || !outputs) return;
  const [at, to] = outputs;
  code.call('muonBias', {
    parameters: parameters + bias - offset,
    direction: gradient + bias - offset,
    stride: biasStep,
    rows: to - at,
    settings,
  });
}

/** The matrices that are derived from a range of weights. */
function derive(code: Code, layout: ParameterLayout, { index, outputs }: UpdateRange): void {
  const operation = layout.operations.list[index]!;
  if (operation.kind !== 'convolution' || !outputs) return;
  deriveConvolution(code, operation, layout.derivedOf(operation)!, layout.parameters.at, ...outputs);
}

/** The phases of an update. `usedSlots` are the slots that hold a part of each operation's gradient. */
export function updatePhases(
  layout: ParameterLayout,
  usedSlots: readonly number[],
  worker: number,
  update: Update,
): readonly Phase[] {
  const { rule, accumulated, clip } = update;
  const { list } = layout.operations;
  const inPlace = ruleInPlace(update) !== undefined;
  const matrices = rule?.kind === 'muon' ? orthogonalizedOperations(layout.operations, layout.trained) : [];
  const isOrthogonalized = ({ index, isBias }: UpdateRange): boolean =>
    !isBias && matrices.some((matrix) => matrix.index === index);
  /** Address of a range's final gradient. */
  const gradientOf = ({ index, from }: Pick<UpdateRange, 'index' | 'from'>): number =>
    from + (accumulated ? layout.arrayOf('accumulated', list[index]!) : layout.gradientOf(list[index]!));

  const sum = (code: Code, range: UpdateRange): void => {
    const { index, from, length } = range;
    reduceSlots(code, layout, list[index]!, usedSlots[index]!, from, length);
    if (!accumulated) return;
    const own = layout.gradientOf(list[index]!) + from;
    const all = gradientOf(range);
    code.call('reduceSlots', {
      gradient: all,
      slots: accumulated === 'first' ? own : all,
      slotStride: own - all,
      slotCount: accumulated === 'first' ? 1 : 2,
      length,
    });
  };
  const apply = (code: Code, range: UpdateRange): void => {
    if (!rule) return;
    const { index, from, length } = range;
    const operation = list[index]!;
    if (isOrthogonalized(range)) {
      writeDirection(code, layout, worker, rule, operation, range, gradientOf(range));
      return;
    }
    applyRule(code, layout, worker, rule, operation, from, length, gradientOf(range));
    derive(code, layout, range);
  };
  /** What follows the change of orthogonalized weights. */
  const follow = (code: Code, range: UpdateRange): void => {
    const { index, from, length } = range;
    moveAverage(code, layout, worker, rule!, list[index]!, from, length);
    derive(code, layout, range);
  };
  const squares = (code: Code, range: UpdateRange, item: number): void =>
    code.call('sumSquares', {
      out: layout.array('squares') + item,
      values: gradientOf(range),
      length: range.length,
    });

  const ranges = list.flatMap((operation, index) =>
    layout.trained.isFrozen(operation) || (inPlace && isSplit(operation)) ? [] : rangesOf(operation, index),
  );
  const phaseOf = (
    own: readonly UpdateRange[],
    ...parts: ((...values: Parameters<typeof squares>) => void)[]
  ): Phase => ({
    items: own.map((range, item) => {
      const code = new Code();
      code.within(range.index, () => {
        for (const part of parts) part(code, range, item);
      });
      return code.instructions;
    }),
  });
  const phases =
    rule && clip ? [phaseOf(ranges, sum, squares), phaseOf(ranges, apply)] : [phaseOf(ranges, sum, apply)];
  if (rule?.kind !== 'muon') return phases;
  const directions = matrices.map(({ operation, index }) => ({
    index,
    gradient: gradientOf({ index, from: 0 }),
    settings: settingsOf(layout, worker, rule, operation),
  }));
  return [
    ...phases,
    ...orthogonalizePhases(layout, directions),
    phaseOf(ranges.filter(isOrthogonalized), follow),
  ];
}

/** Sums all slots into the first. */
export const reduceAll =
  (layout: ParameterLayout, usedSlots: readonly number[]): Emit =>
  (code) => {
    layout.operations.list.forEach((operation, i) => {
      const matrix = matrixOf(operation);
      if (!matrix || layout.trained.isFrozen(operation)) return;
      reduceSlots(code, layout, operation, usedSlots[i]!, matrix.offset, matrix.length);
    });
  };

/**
 * Computes the matrices derived from the weights of all operations, or of one whose weights are at an address, in
 * independent items.
 */
export function deriveItems(
  layout: ParameterLayout,
  only?: { readonly operation: number; readonly weights: number },
): readonly (readonly Instruction[])[] {
  return layout.operations.list.flatMap((operation, index) => {
    const derived = layout.derivedOf(operation);
    if (operation.kind !== 'convolution' || !derived || (only && only.operation !== index)) return [];
    const parameters = only ? only.weights : layout.parameters.at;
    return rangesOf(operation, index).flatMap(({ outputs }) =>
      outputs ? [emit((code) => deriveConvolution(code, operation, derived, parameters, ...outputs))] : [],
    );
  });
}
