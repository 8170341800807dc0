/** Lowers each operation of a network to kernel calls. */
import type { PlanBuffers } from '../plan/buffers.ts';
import { isTapped, type Taps } from '../plan/features.ts';
import { type Operation, readsVector } from '../plan/operations.ts';
import type { ParameterLayout } from '../plan/parameters.ts';
import type { Timeline } from '../plan/timeline.ts';
import type { Rule } from '../plan/update.ts';
import { lowerAdaptivePool } from './adaptive-pool.ts';
import { lowerAveragePool } from './average-pool.ts';
import { lowerBatchNorm } from './batch-norm.ts';
import { lowerConvolution } from './convolution/convolution.ts';
import { lowerDenseLinear } from './dense-linear.ts';
import { lowerDropout } from './dropout.ts';
import { lowerLinear } from './linear.ts';
import { lowerLocalResponseNorm } from './local-response-norm.ts';
import { type Lowered, type LoweringContext, marked, withClearedHalos, withOwnRelu } from './lowering.ts';
import { lowerPool } from './pool.ts';
import { lowerRelu } from './relu.ts';
import { withTaps } from './taps.ts';

/** A kind without an entry does not compile. */
const lowerings: {
  readonly [K in Operation['kind']]: (
    operation: Extract<Operation, { readonly kind: K }>,
    context: LoweringContext,
  ) => Lowered;
} = {
  convolution: (operation, context) => withOwnRelu(lowerConvolution(operation, context), context),
  linear: (operation, context) => withOwnRelu(lowerLinear(operation, context), context),
  batchNorm: lowerBatchNorm,
  pool: lowerPool,
  averagePool: lowerAveragePool,
  adaptivePool: lowerAdaptivePool,
  localResponseNorm: lowerLocalResponseNorm,
  relu: lowerRelu,
  dropout: lowerDropout,
  denseLinear: lowerDenseLinear,
};

/** Whether an operation ends in a ReLU whose gradient must be applied to the gradient of its output. */
const endsInRelu = (operation: Operation | undefined): boolean =>
  (operation?.kind === 'convolution' && operation.relu && !operation.pool) ||
  ((operation?.kind === 'linear' || operation?.kind === 'batchNorm') && operation.relu);

export interface LoweringPlan {
  readonly layout: ParameterLayout;
  readonly timeline: Timeline;
  readonly buffers: PlanBuffers;
  readonly worker: number;
  readonly inPlace: Rule | undefined;
  /** Operations of the plan. */
  readonly list: readonly Operation[];
  /** What is copied after each of them. */
  readonly taps: readonly Taps[] | undefined;
}

/** Lowers operation `i` of a plan. */
export function lowerOperation(i: number, plan: LoweringPlan): Lowered {
  const { layout, timeline, buffers, worker, inPlace, list, taps } = plan;
  const operation = list[i]!;
  const { maps, gradients } = buffers;
  const { segment, level } = timeline.levelOf(i);
  const [dx, dy] = [gradients[i], gradients[i + 1]];
  const passesBack = timeline.training && i >= timeline.backwardFrom;
  const toImages = timeline.inference && i === 0 && dx !== undefined;
  /**
   * Whether operation `k` applies the ReLU before it to the gradient that it writes. The loss does not, and a gradient
   * that is copied is the one behind the ReLU.
   */
  const masks = (k: number): boolean =>
    k < list.length && endsInRelu(list[k - 1]) && !isTapped(taps?.[k - 1]);
  const context: LoweringContext = {
    ...buffers.of(i),
    layout,
    worker,
    images: timeline.byTasks ? timeline.batch : segment.levels[level]!.images,
    byTasks: timeline.byTasks,
    training: passesBack,
    inference: timeline.isInference(i),
    toImages,
    adjacent:
      !timeline.byTasks &&
      timeline.forwardPhase(i) === timeline.backwardPhase(i) &&
      segment.levels.length === 1,
    x: maps[i]!,
    y: maps[i + 1]!,
    dx,
    dy,
    dyHasHalo: !readsVector(list[i + 1]),
    masksInput: masks(i),
    masksOutput: endsInRelu(operation) && !masks(i + 1),
    // Given gradients are added everywhere.
    dxStays: dx !== undefined && !dx.shares && dx !== gradients[i - 1] && !isTapped(taps?.[i - 1]),
    inPlace,
  };
  // The table's entry fits the operation's kind, which TypeScript cannot see.
  const lower = lowerings[operation.kind] as (operation: Operation, context: LoweringContext) => Lowered;
  const lowered = withClearedHalos(lower(operation, context), context);
  if (!taps) return marked(lowered, i);
  const isLast = i === list.length - 1;
  return marked(withTaps(lowered, context, { taps: taps[i]!, isLast, passesBack, toImages }), i);
}
