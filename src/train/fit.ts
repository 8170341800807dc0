/**
 * The whole training: epochs of steps, a test after each, checkpoints at any step, an end before its time where there
 * is no progress. `trainer` is the lecture's loop; this one can be left and taken up again anywhere, with the same
 * bits: all that it knows is in a `LoopState` and the session's `TrainingState`.
 *
 * What becomes of it (lines, files, images) is up to callbacks, which are awaited in order.
 */
import type { DataLoader } from '../data/loader.ts';
import { updatesIn, wholeGroups } from '../engine/accumulation.ts';
import type { EvaluateResult, OptimizerOptions, StepOptions, TrainingState } from '../engine/backend.ts';
import { UsageError, VggError } from '../errors.ts';
import type { Weights } from '../model/layer.ts';
import { checkOptions, type KnownKeys, longestTimer } from '../options.ts';
import { counted } from '../words.ts';
import { notFinite, requireFinite, requireFiniteLoss } from './finite.ts';
import type { Model } from './model.ts';
import type { EpochEvent, Reporter } from './reporters.ts';
import { constantSchedule, nextPlateau, type Schedule } from './schedules.ts';

/** Where a training stands. */
export interface LoopState {
  /** Counts from 1: the epoch under way, or the next one where all are done. */
  readonly epoch: number;
  /** Batches done inside the epoch. */
  readonly step: number;
  /** Batches done in the whole training. */
  readonly totalSteps: number;
  /** Steps of the optimizer, fewer than batches where gradients are accumulated. */
  readonly optimizerSteps: number;
  /** Sums over the images of the epoch so far. */
  readonly running: { readonly lossSum: number; readonly correct: number; readonly images: number };
  /** The best epoch so far and its accuracy; null before the first. */
  readonly best: { readonly epoch: number; readonly value: number } | null;
  /** `sinceBest`: epochs without a better one. `plateaus`, `lowestLoss`, `waited`: of the plateau schedule. */
  readonly counters: Readonly<Record<string, number>>;
  /** The training has come to its end. */
  readonly finished: boolean;
}

/** What a callback may keep: enough to go on, or to use the network as it is now. */
export interface Snapshot {
  readonly loop: LoopState;
  /** With the moving average in the weights' place where there is one and `tested` is set. */
  readonly state: TrainingState;
  /** Of the epoch under way, by all processes that trained in it. Not in checkpoints: their bytes tell no time. */
  readonly timed?: Timed;
}

/** Seconds that training steps took, and the images in them. */
export interface Timed {
  readonly seconds: number;
  readonly images: number;
}

export interface Callback {
  readonly step?: Reporter['step'];
  readonly epoch?: (event: EpochEvent) => void | Promise<void>;
  /** Where the training can be taken up: after each epoch, each `checkpointEvery`, and where it is interrupted. */
  readonly checkpoint?: (snapshot: Snapshot) => void | Promise<void>;
  /** After the test of the best epoch so far, with the weights that were tested. */
  readonly best?: (snapshot: Snapshot, event: EpochEvent) => void | Promise<void>;
}

export interface FitOptions extends StepOptions {
  readonly model: Model;
  readonly trainLoader: DataLoader;
  readonly testLoader: DataLoader;
  /**
   * Images to choose the best epoch by and to see plateaus on; without them the test images serve, and the best
   * accuracy is then a flattering one.
   */
  readonly validationLoader?: DataLoader;
  readonly optimizer: OptimizerOptions;
  /** The optimizer's own rate all along by default. */
  readonly schedule?: Schedule;
  /** Epochs without a lower loss that make a plateau; 10 by default, as torch's. */
  readonly patience?: number;
  readonly epochs: number;
  /**
   * Ends after this many batches in all, inside an epoch too; a test follows. With `accumulate` after the last whole
   * group within them.
   */
  readonly steps?: number;
  /** Ends after this many epochs without a better accuracy, with the best weights. 0: never. */
  readonly earlyStopping?: number;
  readonly checkpointEvery?: { readonly steps: number } | { readonly seconds: number };
  readonly callbacks?: readonly Callback[];
  /** What a checkpoint held; `bestWeights` for early stopping, from the best one. */
  readonly resume?: Snapshot & { readonly bestWeights?: Weights };
  /** Stops after the running step: a checkpoint follows, and `fit` throws the signal's reason. */
  readonly signal?: AbortSignal;
}

export interface FitResult {
  /** Why it ended. */
  readonly reason: 'finished' | 'earlyStopped';
  /** The last epoch, or the best one where it ended early. Undefined where nothing was left to do. */
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
 * Trains until the end. The model then has the weights that were tested: the moving average where one was kept, the
 * best ones where it stopped early.
 * @throws VggError where a loss, a test result or a weight is not finite; the signal's reason where it was aborted.
 */
export async function fit(options: FitOptions): Promise<FitResult> {
  checkOptions<FitOptions>('fit', options, fitKeys);
  const { model, trainLoader, testLoader, validationLoader, optimizer, epochs, signal } = options;
  const { schedule = constantSchedule(optimizer.lr), patience = 10, earlyStopping = 0 } = options;
  const { callbacks = [], checkpointEvery, resume, accumulate = 1 } = options;
  const { labelSmoothing = 0, clipNorm = 0, averageDecay = 0, mixup = 0 } = options;
  const stepOptions = { accumulate, labelSmoothing, clipNorm, averageDecay, mixup };
  const stepsPerEpoch = trainLoader.length;
  checkWhole({ epochs, accumulate, steps: options.steps ?? 1 }, 1);
  checkInterval(checkpointEvery);
  checkWhole({ patience, earlyStopping }, 0);
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

  /** The session's state. What is not finite is kept nowhere. */
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
  /** The learning rate of a step of the epoch under way. */
  const rateOf = (step: number): number =>
    schedule({
      ...{ epoch: loop.epoch, step, stepsPerEpoch, epochs },
      totalSteps: lastTotal,
      plateaus: loop.counters.plateaus ?? 0,
    });
  /** The end of the group of accumulated batches that `step` is in. */
  const groupEnd = (step: number): number =>
    Math.min(stepsPerEpoch, Math.ceil(step / accumulate) * accumulate);

  /** Steps of the optimizer in the first `step` batches of an epoch. */
  const updates = (step: number): number => updatesIn(step, stepsPerEpoch, accumulate);

  /** Steps of the epoch under way up to `to`, or to the next checkpoint; true where one is due. */
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

  // A training that came to its end goes on only where its end was moved.
  const ended = resume?.loop.finished === true && !hasMore(resume.loop, { ...options, stepsPerEpoch });
  if (ended) {
    loop = resume.loop;
    const { earlyStopping = 0 } = options;
    const gaveUp = earlyStopping > 0 && (loop.counters.sinceBest ?? 0) >= earlyStopping;
    if (gaveUp || loop.totalSteps < lastTotal) reason = 'earlyStopped';
  }

  while (!ended && (loop.totalSteps < lastTotal || loop.step > 0)) {
    // The epoch's steps.
    const { epoch } = loop;
    const to = Math.min(stepsPerEpoch, lastTotal - (epoch - 1) * stepsPerEpoch);
    while (loop.step < to) {
      await stopIfAborted();
      const due = await trainPart(to);
      if (due && !signal?.aborted) await checkpoint();
    }
    await stopIfAborted();

    // Its state, which the test leaves as it is, before anything is made of it.
    const state = await finiteState();

    // Its test.
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

    // What follows from it.
    const chosenBy = validation ?? test;
    const whole = loop.step === stepsPerEpoch;
    // A part of an epoch counts for nothing: where it is taken up again, the whole epoch will.
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
          // JSON, and so a checkpoint, knows no infinity.
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
      // The best epoch was before the training was taken up again.
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
  // In a training of less than one epoch, its part is all that there is.
  const part = last && { epoch: last.epoch, value: last.validationAccuracy ?? last.testAccuracy };
  return { reason, last, best: loop.best ?? part ?? null, loop };
}

/** What says where a training ends. */
export interface Extent extends Pick<FitOptions, 'epochs' | 'steps' | 'accumulate' | 'earlyStopping'> {
  readonly stepsPerEpoch: number;
}

/** Whether a training that stands at `loop` has a step or a test before it. */
export function hasMore({ totalSteps, step, finished, counters }: LoopState, extent: Extent): boolean {
  const { earlyStopping = 0 } = extent;
  if (totalSteps >= lastStep(extent)) return step > 0 && !finished;
  return !(finished && earlyStopping > 0 && (counters.sinceBest ?? 0) >= earlyStopping);
}

/** Where a training stands, by what is done: `after epoch 2, step 14`. */
export function placeOf({ epoch, step }: Pick<LoopState, 'epoch' | 'step'>): string {
  if (step > 0) return `after epoch ${epoch}, step ${step}`;
  return epoch > 1 ? `after epoch ${epoch - 1}` : 'from its start';
}

/**
 * Batches of the whole training.
 * @throws UsageError where it would end inside the first group of accumulated batches.
 */
export function lastStep({ epochs, stepsPerEpoch, steps = Infinity, accumulate = 1 }: Extent): number {
  const last = wholeGroups(Math.min(steps, epochs * stepsPerEpoch), stepsPerEpoch, accumulate);
  if (last > 0) return last;
  throw new UsageError(
    `steps ${steps} ends the training before its first step of the optimizer, which accumulate ${accumulate} makes ` +
      `of ${accumulate} batches; use at least as many steps`,
  );
}

/** @throws VggError for a checkpoint whose weights are not finite; older versions wrote such ones. */
function requireSound({ state, bestWeights }: NonNullable<FitOptions['resume']>): void {
  for (const weights of [state.weights, state.moments.average, bestWeights]) {
    const found = weights && notFinite(weights);
    if (!found) continue;
    throw new VggError(
      `the checkpoint is of a training that diverged (${found}) and cannot continue: start a new run with a lower ` +
        'learning rate (--lr) or with limited gradients (--clip-norm 1, for instance)',
    );
  }
}

/**
 * Refuses what would outlast the training: a warm-up that never reaches its rate, early stopping that never stops.
 * @throws UsageError that names the option, its value and the length of the training.
 */
export function checkLength({ warmup, ...extent }: Extent & { readonly warmup: number }): void {
  const { stepsPerEpoch, earlyStopping = 0 } = extent;
  const steps = lastStep(extent);
  const epochs = steps / stepsPerEpoch;
  const shown = `${Number.isInteger(epochs) ? '' : 'about '}${counted(Number(epochs.toPrecision(3)), 'epoch')}`;
  const refuse = (name: string, value: number): never => {
    throw new UsageError(
      `${name} ${value} is longer than the training of ${shown} (${counted(steps, 'step')}); choose a shorter one, or ` +
        'train longer (epochs, steps)',
    );
  };
  if (Math.round(warmup * stepsPerEpoch) > steps) refuse('warmup', warmup);
  if (earlyStopping > Math.ceil(epochs)) refuse('earlyStopping', earlyStopping);
}

function checkInterval(every: FitOptions['checkpointEvery']): void {
  if (every === undefined) return;
  if ('steps' in every) {
    checkWhole({ 'checkpointEvery: steps': every.steps }, 1);
    return;
  }
  const { seconds } = every;
  if (seconds > 0 && seconds <= longestTimer) return;
  throw new UsageError(
    `fit: checkpointEvery: seconds ${seconds} is not a number above 0 and at most ${longestTimer}`,
  );
}

function checkWhole(options: Readonly<Record<string, number>>, least: number): void {
  for (const [name, value] of Object.entries(options)) {
    if (Number.isInteger(value) && value >= least) continue;
    throw new UsageError(`fit: ${name} ${value} is not a whole number ≥ ${least}`);
  }
}

function checkRange(options: Readonly<Record<string, number>>, below: number): void {
  for (const [name, value] of Object.entries(options)) {
    if (value >= 0 && value < below) continue;
    const upper = below === Infinity ? '' : ` and below ${below}`;
    throw new UsageError(`fit: ${name} ${value} is not a number of at least 0${upper}`);
  }
}

/** Images of a step: the last one of an epoch may have fewer. */
function batchOf({ batchSize, dataset }: DataLoader, step: number): number {
  return Math.min(batchSize, dataset.length - step * batchSize);
}
