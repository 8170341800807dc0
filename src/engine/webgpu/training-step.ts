/** A training step as a list of dispatches, and its numbers. */
import { muonSettings, muonValues } from '../../kernels/muon.ts';
import { adamSettings, adamValues, averageShare, sgdSettings, sgdValues } from '../../kernels/optimizer.ts';
import type { OptimizerOptions } from '../backend.ts';
import { momentsOf } from '../session.ts';
import { type Step, stepOf, type TrainPass } from '../step.ts';
import { all, type Bindable, cells, type Dispatch, folded, type Piece } from './dispatch.ts';
import { ownShareAt } from './images.ts';
import { gradientScaleAt, imageLosses, stepLoss } from './loss.ts';
import type { Scratch } from './memory.ts';
import { muonStep } from './muon.ts';
import type { Operation, Shared } from './operations.ts';
import { averageShareAt, clippingFactor, squares, squaresOf, sumGradient, update } from './optimizer.ts';
import type { Part } from './parameters.ts';
import { stepNumbers } from './wgsl.ts';
import type { Workspace } from './workspace.ts';

/** What the dispatches of a step depend on, beside its number of images. */
export interface StepKind {
  readonly optimizer: OptimizerOptions['kind'];
  readonly labelSmoothing: number;
  readonly clipNorm: number;
  readonly averages: boolean;
  readonly mixes: boolean;
  readonly accumulated: Step['accumulated'];
  readonly updates: boolean;
  /** For each layer, the row of its rate, 0 if absent; and the number of rows of a step. */
  readonly rateOf: readonly number[];
  readonly rates: number;
  /** Only gradients are wanted. */
  readonly onlyGradients: boolean;
}

/** Buffers of training, beside those that all passes share. */
export interface TrainingBuffers {
  readonly labels: Scratch;
  /** Numbers of steps, losses of steps, losses of a step's images. */
  readonly table: Scratch;
  readonly ring: Scratch;
  readonly results: Scratch;
  /** Sums of squares of gradients, and the factor that clips them. */
  readonly sums: Scratch;
  readonly clipping: Scratch;
  /** Muon's matrices on the shorter side of weights, and their norm. */
  readonly orthogonalization: readonly [Scratch, Scratch, Scratch, Scratch, Scratch, Scratch];
}

/** Muon's buffers. */
export const orthogonalizationOf = (
  scratch: (label: string) => Scratch,
): TrainingBuffers['orthogonalization'] => {
  const own = (): Scratch => scratch('orthogonalization');
  return [own(), own(), own(), own(), own(), own()];
};

/** The table of steps `from` … `to`: a row for each step and each factor of the learning rate. */
export function tableOf(
  pass: TrainPass,
  from: number,
  to: number,
  factors: readonly number[],
): Float32Array<ArrayBuffer> {
  const { optimizer, options } = pass;
  const table = new Float32Array((to - from) * factors.length * stepNumbers);
  for (let index = from; index < to; index++) {
    const step = stepOf(pass, index);
    for (const [i, factor] of factors.entries()) {
      const row = table.subarray(((index - from) * factors.length + i) * stepNumbers);
      for (const [at, value] of settingsOf(optimizer, step, factor).entries()) row[at] = value;
      row[averageShareAt] =
        options.averageDecay > 0 ? averageShare(options.averageDecay, step.optimizerSteps) : 0;
      row[gradientScaleAt] = step.gradientScale;
      row[ownShareAt] = step.ownShare;
    }
  }
  return table;
}

/** The optimizer's numbers, in float64, as on the CPU. */
function settingsOf(optimizer: OptimizerOptions, { rate, optimizerSteps }: Step, factor: number): number[] {
  const lr = rate * factor;
  switch (optimizer.kind) {
    case 'sgd': {
      const values = sgdValues({ ...optimizer, lr });
      return sgdSettings.map((name) => values[name]);
    }
    case 'muon': {
      const values = muonValues({ ...optimizer, lr });
      return muonSettings.map((name) => values[name]);
    }
    default: {
      const values = adamValues({ ...optimizer, lr }, optimizerSteps);
      return adamSettings.map((name) => values[name]);
    }
  }
}

/** The row of a table for gradients alone. */
export function gradientRow(batch: number): Float32Array<ArrayBuffer> {
  const row = new Float32Array(stepNumbers);
  row[gradientScaleAt] = 1 / batch;
  row[ownShareAt] = 1;
  return row;
}

/** The dispatches of a step of `count` images, behind those that load them. */
export function trainingStep(
  shared: Shared,
  buffers: TrainingBuffers,
  workspace: Workspace,
  count: number,
  kind: StepKind,
): Dispatch[] {
  const { parameters, slots } = shared;
  const pieces = workspace.pieces(count);
  const { clipNorm, accumulated, onlyGradients } = kind;
  // Gradients are kept where the whole of them is needed; else each changes its parameters at once.
  const { optimizer } = kind;
  const keepsGradients = clipNorm > 0 || accumulated !== undefined || onlyGradients || optimizer === 'muon';
  if (keepsGradients) parameters.ensure('gradients');
  const learns = ({ matrix }: Operation): boolean =>
    matrix !== undefined && !parameters.isFrozen(matrix.layer);
  const list = [
    ...workspace.forward(pieces),
    ...lossOf(shared, buffers, workspace, pieces, kind),
    ...workspace.backward(pieces, learns, (part, { layer }, slices) => {
      if (!keepsGradients) return [updateOf(shared, buffers, kind, part, layer, slots, slices)];
      const vectors = part.floats / 4;
      const kernel = sumGradient({ vectors, slices }, accumulated === 'more');
      return [cells(kernel, [slots, part.arrays.get('gradients')!], all, vectors)];
    }),
  ];
  if (onlyGradients) return list;
  for (const operation of workspace.operations) list.push(...(operation.after?.() ?? []));
  if (!keepsGradients || !kind.updates) return list;
  const parts = parameters.learning.flatMap(({ layer, parts: own }) => own.map((part) => ({ layer, part })));
  if (clipNorm > 0)
    list.push(
      ...clip(
        buffers,
        parts.map(({ part }) => part),
        clipNorm,
      ),
    );
  const isOrthogonalized = (layer: number): boolean =>
    optimizer === 'muon' && parameters.orthogonalized.has(layer);
  for (const { layer, part } of parts) {
    if (isOrthogonalized(layer)) continue;
    list.push(updateOf(shared, buffers, kind, part, layer, part.arrays.get('gradients')!, 1));
  }
  for (const matrix of parameters.learning)
    if (isOrthogonalized(matrix.layer)) list.push(...muonStep(shared, buffers, kind, matrix));
  return list;
}

/** The optimizer's step of a part, whose gradient is the sum of slices. */
export function updateOf(
  { run }: Shared,
  { table, clipping }: TrainingBuffers,
  { optimizer, averages, clipNorm, rateOf, rates }: StepKind,
  part: Part,
  layer: number,
  gradient: Bindable,
  slices: number,
): Dispatch {
  const vectors = part.floats / 4;
  const clips = clipNorm > 0;
  const names = [...momentsOf(optimizer), ...(averages ? (['average'] as const) : [])];
  const kernel = update({
    kind: optimizer,
    averages,
    clips,
    vectors,
    slices,
    rates,
    rate: rateOf[layer] ?? 0,
  });
  const own = [part.arrays.get('weights')!, ...names.map((name) => part.arrays.get(name)!)];
  return cells(
    kernel,
    [run, table, gradient, ...own, ...(clips ? [clipping] : [])],
    all,
    vectors,
    40 * vectors,
  );
}

/** The factor that scales all gradients down. */
function clip({ sums, clipping }: TrainingBuffers, parts: readonly Part[], clipNorm: number): Dispatch[] {
  let count = 0;
  const list = parts.map(({ floats, arrays }): Dispatch => {
    const vectors = floats / 4;
    const groups = Math.ceil(vectors / squaresOf);
    const kernel = squares(vectors, count);
    count += groups;
    const buffers = [arrays.get('gradients')!, sums];
    return { kernel, buffers, piece: all, groups: folded(groups), operations: 8 * vectors };
  });
  sums.require(4 * count);
  const kernel = clippingFactor(count, clipNorm);
  return [...list, { kernel, buffers: [sums, clipping], piece: all, groups: [1, 1, 1], operations: count }];
}

function lossOf(
  { run }: Shared,
  { labels, table, results, ring }: TrainingBuffers,
  workspace: Workspace,
  pieces: readonly Piece[],
  { labelSmoothing, mixes, rates }: StepKind,
): Dispatch[] {
  const { output, capacity } = workspace;
  const { height, width, stored, channels } = workspace.outputShape;
  const places = height * width;
  const kernel = imageLosses({
    ...{ classes: channels * places, places, stored, labelSmoothing, mixes, rates },
    masked: workspace.operations.at(-1)?.endsInRelu ?? false,
  });
  results.require(8 * capacity);
  return [
    ...pieces.map((piece): Dispatch => {
      const gradient = workspace.gradients![0][piece.index]!;
      const buffers = [output[piece.index]!, labels, run, table, results, gradient];
      const operations = 10 * piece.count * stored * places;
      return { kernel, buffers, piece, groups: folded(piece.count), operations };
    }),
    { kernel: stepLoss, buffers: [results, run, ring], piece: all, groups: [1, 1, 1], operations: 1e3 },
  ];
}
