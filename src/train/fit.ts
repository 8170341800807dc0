/**
 * The whole training: epochs of steps, a test after each epoch, checkpoints at any step, and early stopping. `trainer`
 * is the lecture's loop; `fit` can be interrupted and resumed at any step with the same bits, because its whole state
 * is a `LoopState` and the session's `TrainingState`.
 *
 * Output (lines, files, images) is left to callbacks, which are awaited in order.
 */
import type { DataLoader } from '../data/loader.ts';
import type { EvaluateResult, OptimizerOptions, StepOptions, TrainingState } from '../engine/backend.ts';
import { updatesIn, wholeGroups } from '../engine/step.ts';
import { UsageError, VggError } from '../errors.ts';
import type { Weights } from '../model/layer.ts';
import { checkOptions, checkWhole, type KnownKeys, longestTimer } from '../options.ts';
import { counted } from '../words.ts';
import { notFinite, requireFinite, requireFiniteLoss } from './finite.ts';
import type { Model } from './model.ts';
import type { EpochEvent, Reporter } from './reporters.ts';
import { constantSchedule, nextPlateau, type Schedule } from './schedules.ts';

/** The progress of a training. */
export interface LoopState {
  /** The current epoch, from 1; after the last epoch, the number of the next one. */
  readonly epoch: number;
  /** Batches done in the current epoch. */
  readonly step: number;
  /** Batches done in the whole training. */
  readonly totalSteps: number;
  /** Optimizer steps; fewer than batches if gradients are accumulated. */
  readonly optimizerSteps: number;
  /** Sums over the images of the epoch so far. */
  readonly running: { readonly lossSum: number; readonly correct: number; readonly images: number };
  /** The best epoch so far and its accuracy; null before the first test. */
  readonly best: { readonly epoch: number; readonly value: number } | null;
  /** `sinceBest`: epochs since the best one. `plateaus`, `lowestLoss`, `waited`: see `PlateauState`. */
  readonly counters: Readonly<Record<string, number>>;
  /** The training is complete. */
  readonly finished: boolean;
}

/** What a callback may keep: enough to resume the training, or to use the network as it is now. */
export interface Snapshot {
  readonly loop: LoopState;
  /** For `best`, the weights are those that were tested: the moving average if there is one. */
  readonly state: TrainingState;
  /** Time spent in the current epoch, over all processes. Not in checkpoints, whose bytes do not depend on time. */
  readonly timed?: Timed;
}

/** Seconds spent in training steps, and the number of images in them. */
export interface Timed {
  readonly seconds: number;
  readonly images: number;
}

export interface Callback {
  readonly step?: Reporter['step'];
  readonly epoch?: (event: EpochEvent) => void | Promise<void>;
  /** Called where the training can be resumed: after each epoch, at each `checkpointEvery`, and on interruption. */
  readonly checkpoint?: (snapshot: Snapshot) => void | Promise<void>;
  /** Called after the test of the best epoch so far, with the weights that were tested. */
  readonly best?: (snapshot: Snapshot, event: EpochEvent) => void | Promise<void>;
}

export interface FitOptions extends StepOptions {
  readonly model: Model;
  readonly trainLoader: DataLoader;
  readonly testLoader: DataLoader;
  /**
   * Images that select the best epoch and detect plateaus. Without them the test images are used, and the best test
   * accuracy is then slightly optimistic.
   */
  readonly validationLoader?: DataLoader;
  readonly optimizer: OptimizerOptions;
  /** By default the optimizer's rate throughout. */
  readonly schedule?: Schedule;
  /** A plateau is more than this many epochs without a lower loss; 10 by default, as in torch. */
  readonly patience?: number;
  readonly epochs: number;
  /**
   * Stops after this many batches in total, even mid-epoch, and tests. With `accumulate`, stops after the last full
   * group.
   */
  readonly steps?: number;
  /** Stops after this many epochs without a better accuracy and restores the best weights. 0: never. */
  readonly earlyStopping?: number;
  readonly checkpointEvery?: { readonly steps: number } | { readonly seconds: number };
  readonly callbacks?: readonly Callback[];
  /** Contents of a checkpoint. Early stopping needs `bestWeights` from the best checkpoint. */
  readonly resume?: Snapshot & { readonly bestWeights?: Weights };
  /** Stops after the current step, writes a checkpoint and throws the signal's reason. */
  readonly signal?: AbortSignal;
}

export interface FitResult {
  /** Why the training ended. */
  readonly reason: 'finished' | 'earlyStopped';
  /** The last epoch, or the best one after early stopping. Undefined if nothing was left to do. */
  readonly last: EpochEvent | undefined;
  readonly best: LoopState['best'];
  readonly loop: LoopState;
}

const start: LoopState = {
  epoch: 1,
  step: 0,
  totalSteps: 0,
  optimizerSteps: 0,
  running: { lossSum: 0, correct: 0, images: 0 },
  best: null,
  counters: {},
  finished: false,
};
const fitKeys: KnownKeys<FitOptions> = {
  model: 'required',
  trainLoader: 'required',
  testLoader: 'required',
  validationLoader: 'optional',
  optimizer: 'required',
  schedule: 'optional',
  patience: 'optional',
  epochs: 'required',
  steps: 'optional',
  earlyStopping: 'optional',
  checkpointEvery: 'optional',
  callbacks: 'optional',
  resume: 'optional',
  signal: 'optional',
  accumulate: 'optional',
  labelSmoothing: 'optional',
  clipNorm: 'optional',
  averageDecay: 'optional',
  mixup: 'optional',
};

const untimed: Timed = { seconds: 0, images: 0 };

/**
 * Trains to the end. The model then has the weights that were tested: the moving average if there is one, the best
 * weights after early stopping.
 * @throws VggError if a loss, a test result or a weight is not finite; the signal's reason if it was aborted.
 */
export async function fit(options: FitOptions): Promise<FitResult> {
  checkOptions<FitOptions>('fit', options, fitKeys);
  const { model, trainLoader, testLoader, validationLoader, optimizer, epochs, signal } = options;
  const { schedule = constantSchedule(optimizer.lr), patience = 10, earlyStopping = 0 } = options;
  const { callbacks = [], checkpointEvery, resume, accumulate = 1 } = options;
  const { labelSmoothing = 0, clipNorm = 0, averageDecay = 0, mixup = 0 } = options;
  const stepOptions = { accumulate, labelSmoothing, clipNorm, averageDecay, mixup };
  const stepsPerEpoch = trainLoader.length;
  checkWhole('fit', 'epochs', epochs, 1);
  checkWhole('fit', 'accumulate', accumulate, 1);
  checkWhole('fit', 'steps', options.steps ?? 1, 1);
  checkInterval(checkpointEvery);
  checkWhole('fit', 'patience', patience, 0);
  checkWhole('fit', 'earlyStopping', earlyStopping, 0);
  checkRange({ labelSmoothing, averageDecay }, 1);
  checkRange({ clipNorm, mixup }, Infinity);
  const lastTotal = lastStep({ ...options, stepsPerEpoch });

  let loop: LoopState = { ...(resume?.loop ?? start), finished: false };
  let bestWeights = resume?.bestWeights;
  let last: EpochEvent | undefined;
  let bestEvent: EpochEvent | undefined;
  let reason: FitResult['reason'] = 'finished';
  let timed = resume?.timed ?? untimed;
  if (resume) {
    requireSound(resume);
    await model.setState(resume.state);
  }

  /** The session's state. Weights that are not finite must never be kept. */
  const finiteState = async (): Promise<TrainingState> => {
    const state = await model.state();
    requireFinite([state.weights, state.moments.average], placeOf(loop), rateOf(Math.max(0, loop.step - 1)));
    return state;
  };
  const checkpoint = async (known?: TrainingState): Promise<void> => {
    if (!callbacks.some((callback) => callback.checkpoint)) return;
    const now: Snapshot = { loop, state: known ?? (await finiteState()), timed };
    for (const callback of callbacks) await callback.checkpoint?.(now);
  };
  const stopIfAborted = async (): Promise<void> => {
    if (!signal?.aborted) return;
    await checkpoint();
    signal.throwIfAborted();
  };
  /** The learning rate of a step of the current epoch. */
  const rateOf = (step: number): number =>
    schedule({
      ...{ epoch: loop.epoch, step, stepsPerEpoch, epochs },
      totalSteps: lastTotal,
      plateaus: loop.counters.plateaus ?? 0,
    });
  /** The end of the group of accumulated batches that contains `step`. */
  const groupEnd = (step: number): number =>
    Math.min(stepsPerEpoch, Math.ceil(step / accumulate) * accumulate);

  /** Optimizer steps in the first `step` batches of an epoch. */
  const updates = (step: number): number => updatesIn(step, stepsPerEpoch, accumulate);

  /** Trains the current epoch up to step `to` or the next checkpoint; returns true if a checkpoint is due. */
  async function trainPart(to: number): Promise<boolean> {
    const from = loop.step;
    const due = new AbortController();
    let end = to;
    let timer: ReturnType<typeof setTimeout> | undefined;
    if (checkpointEvery && 'steps' in checkpointEvery) {
      const every = checkpointEvery.steps;
      end = Math.min(to, groupEnd(from + every - (loop.totalSteps % every)));
    } else if (checkpointEvery) timer = setTimeout(() => due.abort(), checkpointEvery.seconds * 1000);
    const rates = Float64Array.from({ length: end - from }, (_, i) => rateOf(from + i));
    const { epoch } = loop;
    try {
      const result = await model.train(trainLoader, {
        ...stepOptions,
        epoch,
        optimizer,
        from,
        steps: end,
        rates,
        signal: signal ? AbortSignal.any([signal, due.signal]) : due.signal,
        onStep: ({ step, loss }) => {
          const lr = rates[step - from - 1]!;
          const event = { epoch, epochs, step, steps: stepsPerEpoch, loss, lr };
          for (const callback of callbacks) callback.step?.(event);
        },
      });
      let { lossSum, correct, images } = loop.running;
      for (const [i, loss] of result.losses.entries()) {
        const batch = batchOf(trainLoader, from + i);
        lossSum += loss * batch;
        correct += result.correct[i]!;
        images += batch;
      }
      loop = {
        ...loop,
        step: from + result.steps,
        totalSteps: loop.totalSteps + result.steps,
        optimizerSteps: loop.optimizerSteps + updates(from + result.steps) - updates(from),
        running: { lossSum, correct, images },
      };
      timed = { seconds: timed.seconds + result.seconds, images: timed.images + result.images };
      return from + result.steps < to;
    } finally {
      clearTimeout(timer);
    }
  }

  // A finished training continues only if epochs or steps were raised.
  const ended = resume?.loop.finished === true && !hasMore(resume.loop, { ...options, stepsPerEpoch });
  if (ended) {
    loop = resume.loop;
    const { earlyStopping = 0 } = options;
    const gaveUp = earlyStopping > 0 && (loop.counters.sinceBest ?? 0) >= earlyStopping;
    if (gaveUp || loop.totalSteps < lastTotal) reason = 'earlyStopped';
  }

  while (!ended && (loop.totalSteps < lastTotal || loop.step > 0)) {
    // Train.
    const { epoch } = loop;
    const to = Math.min(stepsPerEpoch, lastTotal - (epoch - 1) * stepsPerEpoch);
    while (loop.step < to) {
      await stopIfAborted();
      const due = await trainPart(to);
      if (due && !signal?.aborted) await checkpoint();
    }
    await stopIfAborted();

    // Check the weights before they are tested or kept; the test does not change them.
    const state = await finiteState();

    // Test.
    const lr = rateOf(Math.max(0, loop.step - 1));
    if (averageDecay > 0) await model.swapAverage();
    let test: EvaluateResult;
    let validation: EvaluateResult | undefined;
    try {
      validation = validationLoader && (await model.evaluate(validationLoader, signal));
      test = await model.evaluate(testLoader, signal);
    } finally {
      if (averageDecay > 0) await model.swapAverage();
    }
    await stopIfAborted();
    if (validation) requireFiniteLoss('validation', validation.loss, placeOf(loop), lr);
    requireFiniteLoss('test', test.loss, placeOf(loop), lr);
    const { lossSum, correct, images: seen } = loop.running;
    last = {
      epoch,
      epochs,
      step: loop.totalSteps,
      lr,
      trainLoss: lossSum / seen,
      trainAccuracy: correct / seen,
      ...(validation && { validationLoss: validation.loss, validationAccuracy: validation.accuracy }),
      testLoss: test.loss,
      testAccuracy: test.accuracy,
      testTopFive: test.topFive,
      trainSeconds: timed.seconds,
      testSeconds: test.seconds + (validation?.seconds ?? 0),
      imagesPerSecond: timed.seconds > 0 ? timed.images / timed.seconds : 0,
    };

    // Update the loop's state.
    const chosenBy = validation ?? test;
    const whole = loop.step === stepsPerEpoch;
    // A partial epoch is not recorded as the best or a plateau: after a resume, the whole epoch counts.
    const better = loop.best === null || (whole && chosenBy.accuracy > loop.best.value);
    const { lowestLoss = Infinity, waited = 0, plateaus = 0 } = loop.counters;
    const plateau = nextPlateau({ lowest: lowestLoss, waited, plateaus }, chosenBy.loss, patience);
    const sinceBest = better ? 0 : (loop.counters.sinceBest ?? 0) + 1;
    const stopped = whole && earlyStopping > 0 && sinceBest >= earlyStopping;
    if (whole) {
      timed = untimed;
      loop = {
        ...loop,
        ...{ epoch: epoch + 1, step: 0, running: start.running },
        best: better ? { epoch, value: chosenBy.accuracy } : loop.best,
        counters: {
          sinceBest,
          plateaus: plateau.plateaus,
          waited: plateau.waited,
          // JSON, and so a checkpoint, cannot hold Infinity.
          ...(plateau.lowest < Infinity && { lowestLoss: plateau.lowest }),
        },
      };
    }
    loop = { ...loop, finished: stopped || loop.totalSteps >= lastTotal };
    for (const callback of callbacks) await callback.epoch?.(last);
    if (better && (earlyStopping > 0 || callbacks.some((callback) => callback.best))) {
      let tested = state;
      if (averageDecay > 0) {
        await model.swapAverage();
        tested = await model.state();
        await model.swapAverage();
      }
      if (earlyStopping > 0) bestWeights = tested.weights;
      bestEvent = last;
      const now: Snapshot = { loop, state: tested, timed };
      for (const callback of callbacks) await callback.best?.(now, last);
    }
    await checkpoint(state);
    if (stopped) {
      reason = 'earlyStopped';
      break;
    }
    if (loop.finished) break;
    await stopIfAborted();
  }

  if (reason === 'earlyStopped' && bestWeights) {
    await model.setWeights(bestWeights);
    if (bestEvent) last = bestEvent;
    else if (last) {
      // The best epoch was before the training was resumed.
      const { loss, accuracy, topFive } = await model.evaluate(testLoader);
      const validation = validationLoader && (await model.evaluate(validationLoader));
      last = {
        ...last,
        epoch: loop.best!.epoch,
        ...(validation && { validationLoss: validation.loss, validationAccuracy: validation.accuracy }),
        ...{ testLoss: loss, testAccuracy: accuracy, testTopFive: topFive },
      };
    }
  } else if (averageDecay > 0) await model.swapAverage();
  // In a training of less than one epoch, the partial epoch is the best one.
  const part = last && { epoch: last.epoch, value: last.validationAccuracy ?? last.testAccuracy };
  return { reason, last, best: loop.best ?? part ?? null, loop };
}

/** The options that decide where a training ends. */
export interface Extent extends Pick<FitOptions, 'epochs' | 'steps' | 'accumulate' | 'earlyStopping'> {
  readonly stepsPerEpoch: number;
}

/** Whether a training at `loop` still has a step or a test to do. */
export function hasMore({ totalSteps, step, finished, counters }: LoopState, extent: Extent): boolean {
  const { earlyStopping = 0 } = extent;
  if (totalSteps >= lastStep(extent)) return step > 0 && !finished;
  return !(finished && earlyStopping > 0 && (counters.sinceBest ?? 0) >= earlyStopping);
}

/** The progress of a training in words: `after epoch 2, step 14`. */
export function placeOf({ epoch, step }: Pick<LoopState, 'epoch' | 'step'>): string {
  if (step > 0) return `after epoch ${epoch}, step ${step}`;
  return epoch > 1 ? `after epoch ${epoch - 1}` : 'from the start';
}

/**
 * Batches of the whole training.
 * @throws UsageError if it would end inside the first group of accumulated batches.
 */
export function lastStep({ epochs, stepsPerEpoch, steps = Infinity, accumulate = 1 }: Extent): number {
  const last = wholeGroups(Math.min(steps, epochs * stepsPerEpoch), stepsPerEpoch, accumulate);
  if (last > 0) return last;
  throw new UsageError(
    `steps ${steps} ends the training before its first optimizer step, which needs ${accumulate} batches ` +
      `(accumulate ${accumulate}); use at least ${accumulate} steps`,
  );
}

/** @throws VggError if a checkpoint's weights are not finite; older versions could write these. */
function requireSound({ state, bestWeights }: NonNullable<FitOptions['resume']>): void {
  for (const weights of [state.weights, state.moments.average, bestWeights]) {
    const found = weights && notFinite(weights);
    if (!found) continue;
    throw new VggError(
      `the checkpoint's training diverged (${found}) and cannot continue: start a new run with a lower ` +
        'learning rate (--lr) or with limited gradients (for instance --clip-norm 1)',
    );
  }
}

/**
 * Rejects a warm-up or early stopping that is longer than the training.
 * @throws UsageError that names the option, its value and the length of the training.
 */
export function checkLength({ warmup, ...extent }: Extent & { readonly warmup: number }): void {
  const { stepsPerEpoch, earlyStopping = 0 } = extent;
  const steps = lastStep(extent);
  const epochs = steps / stepsPerEpoch;
  const shown = `${Number.isInteger(epochs) ? '' : 'about '}${counted(Number(epochs.toPrecision(3)), 'epoch')}`;
  const refuse = (name: string, value: number): never => {
    throw new UsageError(
      `${name} ${value} is longer than the training of ${shown} (${counted(steps, 'step')}); choose a smaller value, or ` +
        'train longer (epochs, steps)',
    );
  };
  if (Math.round(warmup * stepsPerEpoch) > steps) refuse('warmup', warmup);
  if (earlyStopping > Math.ceil(epochs)) refuse('earlyStopping', earlyStopping);
}

/** @throws UsageError if the interval of checkpoints is out of range. */
export function checkInterval(every: FitOptions['checkpointEvery']): void {
  if (every === undefined) return;
  if ('steps' in every) {
    checkWhole('fit', 'checkpointEvery: steps', every.steps, 1);
    return;
  }
  const { seconds } = every;
  if (seconds > 0 && seconds <= longestTimer) return;
  throw new UsageError(
    `fit: checkpointEvery: seconds ${seconds} is not a number above 0 and up to ${longestTimer}`,
  );
}

function checkRange(options: Readonly<Record<string, number>>, below: number): void {
  for (const [name, value] of Object.entries(options)) {
    if (value >= 0 && value < below) continue;
    const upper = below === Infinity ? '' : ` and below ${below}`;
    throw new UsageError(`fit: ${name} ${value} is not a number of at least 0${upper}`);
  }
}

/** Images in the batch of a step; the last batch of an epoch may be smaller. */
function batchOf({ batchSize, dataset }: DataLoader, step: number): number {
  return Math.min(batchSize, dataset.length - step * batchSize);
}
