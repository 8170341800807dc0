/** How much memory a session needs for some work, by category, before anything is allocated. */

import { counted } from '../../../words.ts';
import type { OptimizerOptions, StepOptions } from '../../backend.ts';
import { largestEvaluation } from '../../session.ts';
import type { Variant } from '../../variant.ts';
import { type ParameterLayout, trainingArrays } from './parameters.ts';
import { planMemory } from './plan.ts';
import { ruleOf } from './update.ts';

/** What a session does, with batches of a size. */
export interface Work {
  readonly kind: 'predict' | 'evaluate' | 'train';
  readonly batch: number;
  /** For training; by default SGD, which needs least, without further options. */
  readonly optimizer?: Pick<OptimizerOptions, 'kind'>;
  readonly options?: StepOptions;
  /** Indices of frozen layers; by default those of the layout. */
  readonly frozen?: readonly number[];
  /** For prediction: the network for images of another size. */
  readonly variant?: Variant | undefined;
}

/** Bytes by category. */
export interface MemoryUse {
  /** Parameters and what is derived from them for the forward pass. */
  readonly weights: number;
  /** Sums of gradients, and what is derived from weights for the backward pass. */
  readonly gradients: number;
  /** Moments, the weights' average, accumulated gradients. */
  readonly optimizer: number;
  /** Maps and their gradients that all threads share. */
  readonly maps: number;
  /** Maps and working memory of the threads. */
  readonly threads: number;
  /** All of them. */
  readonly bytes: number;
}

/** The memory that some work needs in addition to an image's bytes per thread. */
export function memoryUse(layout: ParameterLayout, work: Work): MemoryUse {
  const { kind, batch, optimizer = { kind: 'sgd' }, options = {}, frozen, variant } = work;
  const training = kind === 'train';
  const arrays = training ? trainingArrays(optimizer, options) : [];
  const whole = (frozen ? layout.freezing(frozen) : layout).with(arrays);
  const inPlace = whole.has('splitGradients') ? undefined : ruleOf(optimizer, options);
  const plan = planMemory(
    whole,
    training ? { batch, mode: 'train', inPlace } : { batch, mode: 'evaluate', variant },
  );
  const { weights, gradients, optimizer: state } = whole.sizes;
  return {
    weights: 4 * weights,
    gradients: 4 * gradients,
    optimizer: 4 * state,
    maps: 4 * plan.shared,
    threads: 4 * plan.scratch * layout.threads,
    bytes: 4 * plan.floats,
  };
}

/** The largest batch up to `work.batch` for which some work fits; 0 if none does. */
export function largestBatchWithin(layout: ParameterLayout, work: Work, bytes: number): number {
  const fits = (batch: number): boolean => memoryUse(layout, { ...work, batch }).bytes <= bytes;
  if (!fits(1)) return 0;
  let [largest, tooLarge] = [1, work.batch + 1];
  while (tooLarge - largest > 1) {
    const batch = Math.floor((largest + tooLarge) / 2);
    if (fits(batch)) largest = batch;
    else tooLarge = batch;
  }
  return largest;
}

/** Floats of maps for which an evaluation batch is made smaller: 256 MiB. */
export const evaluationFloats: number = 2 ** 26;

/** Images of an evaluation batch: all that a pass takes at most, unless their shared maps are large. */
export function evaluationBatchOf(layout: ParameterLayout): number {
  const sharedFor = (batch: number): number => planMemory(layout, { batch, mode: 'evaluate' }).shared;
  let batch = largestEvaluation;
  while (batch > 8 && sharedFor(batch) > evaluationFloats) batch = Math.floor(batch / 2);
  return batch;
}

const gibibytes = (bytes: number): string => `${(bytes / 2 ** 30).toFixed(1)} GiB`;

/** Says that some work does not fit, and what would. */
export function tooLarge(
  name: string,
  layout: ParameterLayout,
  work: Work,
  bytes: number,
  limitBytes: number,
): string {
  const { kind, batch } = work;
  const action =
    kind === 'train' ? `training with batches of ${batch}` : `predicting ${counted(batch, 'image')}`;
  const limit =
    limitBytes === 2 ** 32 ? "WebAssembly's limit of 4 GiB" : `the limit of ${gibibytes(limitBytes)}`;
  const problem = `${name}: ${action} on ${counted(layout.threads, 'thread')} needs ${gibibytes(bytes)}, above ${limit}`;
  const fitting = bytes > 2 ** 50 ? 0 : largestBatchWithin(layout, work, limitBytes);
  if (fitting > 0) {
    const accumulate =
      kind === 'train' ? ` and accumulate gradients over ${Math.ceil(batch / fitting)} batches` : '';
    return `${problem}; batches of ${fitting} fit: use them${accumulate}`;
  }
  return `${problem}; use fewer channels or hidden units, or smaller images`;
}
