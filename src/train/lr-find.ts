/**
 * The learning rate range test (Smith, "Cyclical Learning Rates for Training Neural Networks", WACV 2017): the rate
 * rises by the same factor at each step, and the loss shows which rates train and which diverge.
 */
import type { DataLoader } from '../data/loader.ts';
import type { OptimizerOptions, StepOptions } from '../engine/backend.ts';
import { UsageError, VggError } from '../errors.ts';
import { checkOptions } from '../options.ts';
import type { Model } from './model.ts';
import { stepKeys, stepOptionsOf } from './step-options.ts';

export interface FindOptions extends StepOptions {
  readonly model: Model;
  readonly loader: DataLoader;
  readonly optimizer: OptimizerOptions;
  /** The first and the last rate; 1e-6 and 1 by default. */
  readonly from?: number;
  readonly to?: number;
  /** Steps between them; 200 by default. */
  readonly steps?: number;
  readonly signal?: AbortSignal;
  readonly onStep?: (step: number, point: RatePoint) => void;
}

export interface RatePoint {
  readonly lr: number;
  readonly loss: number;
  /** Exponential moving average of the losses so far, bias-corrected. */
  readonly smoothed: number;
}

export interface FoundRates {
  readonly points: readonly RatePoint[];
  /** The rate at which the smoothed loss falls fastest (by log rate); undefined if it never falls. */
  readonly steepest: number | undefined;
  /** A tenth of the rate at which the smoothed loss is lowest: the usual other choice. */
  readonly tenthOfLowest: number;
}

/** Weight of the past in the smoothed loss. */
const smoothing = 0.95;
/** The sweep ends when the smoothed loss exceeds this many times its lowest value. */
const diverged = 4;

/**
 * Sweeps the rate, then restores the model's state.
 * @throws UsageError if the rates do not rise or are too few, VggError if the first loss is not finite.
 */
export async function findLearningRate(options: FindOptions): Promise<FoundRates> {
  checkOptions<FindOptions>('findLearningRate', options, {
    model: 'required',
    loader: 'required',
    optimizer: 'required',
    from: 'optional',
    to: 'optional',
    steps: 'optional',
    signal: 'optional',
    onStep: 'optional',
    ...stepKeys,
  });
  const { model, loader, optimizer, from = 1e-6, to = 1, steps = 200, signal, onStep } = options;
  if (!(from > 0 && to > from && to < Infinity)) {
    throw new UsageError(
      `lr-find: rates from ${from} to ${to} do not rise; use two numbers above 0, the smaller one first`,
    );
  }
  if (!Number.isInteger(steps) || steps < 10) {
    throw new UsageError(
      `lr-find: ${steps} steps are too few for a curve; use a whole number of at least 10`,
    );
  }
  // Nothing tests the average of a sweep's weights.
  const perStep = { ...stepOptionsOf(options), averageDecay: 0 };
  const rateOf = (step: number): number => from * (to / from) ** (step / (steps - 1));
  const points: RatePoint[] = [];
  const stop = new AbortController();
  let average = 0;
  let lowest = Infinity;
  const before = await model.state();
  try {
    for (let done = 0, epoch = 1; done < steps && !stop.signal.aborted && !signal?.aborted; epoch++) {
      const first = done;
      const count = Math.min(loader.length, steps - done);
      await model.train(loader, {
        ...perStep,
        optimizer,
        epoch,
        steps: count,
        rates: Float64Array.from({ length: count }, (_, i) => rateOf(first + i)),
        signal: signal ? AbortSignal.any([signal, stop.signal]) : stop.signal,
        onStep: ({ loss }) => {
          // A device may still report steps after the one that ended the sweep.
          if (stop.signal.aborted) return;
          average = smoothing * average + (1 - smoothing) * loss;
          const smoothed = average / (1 - smoothing ** (done + 1));
          const point = { lr: rateOf(done), loss, smoothed };
          if (!Number.isFinite(smoothed) || (done >= 10 && smoothed > diverged * lowest)) {
            stop.abort();
            return;
          }
          lowest = Math.min(lowest, smoothed);
          points.push(point);
          done++;
          onStep?.(done, point);
        },
      });
    }
  } catch (error) {
    // A loss that is not finite is a normal end of the sweep.
    if (!(error instanceof VggError && stop.signal.aborted)) throw error;
  } finally {
    await model.setState(before);
  }
  signal?.throwIfAborted();
  if (points.length === 0) {
    throw new VggError(
      `lr-find: the loss is not finite in the first step, at learning rate ${from}: start lower (--from), or ` +
        'check the data and the initial weights',
    );
  }
  return { points, ...suggestions(points) };
}

/** Reads both rates off the loss curve. The first tenth is left out: its average covers too few steps. */
function suggestions(points: readonly RatePoint[]): Pick<FoundRates, 'steepest' | 'tenthOfLowest'> {
  const seen = points.slice(Math.floor(points.length / 10));
  const lowest = seen.reduce((a, b) => (b.smoothed < a.smoothed ? b : a));
  let steepest: number | undefined;
  let fastest = 0;
  // Slopes over a few steps, since single losses are noisy.
  const reach = Math.max(1, Math.floor(seen.length / 40));
  for (let i = reach; i < seen.length - reach; i++) {
    const [a, b] = [seen[i - reach]!, seen[i + reach]!];
    const slope = (b.smoothed - a.smoothed) / Math.log(b.lr / a.lr);
    if (slope < fastest) {
      fastest = slope;
      steepest = seen[i]!.lr;
    }
  }
  return { steepest, tenthOfLowest: lowest.lr / 10 };
}
