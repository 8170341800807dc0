/**
 * The whole training: epochs of steps, a test after each epoch, checkpoints at any step, and early stopping. `trainer`
 * is the lecture's loop; `fit` can be interrupted and resumed at any step with the same bits, because its whole state
 * is a `LoopState` and the session's `TrainingState`.
 *
 * `TrainingLoop.run` is the loop; the rules by which its state changes are pure functions (`loop-state.ts`). Output (lines,
 * files, images) is left to callbacks, which are awaited in order.
 */
import type { DataLoader } from '../data/loader.ts';
import type { OptimizerOptions, StepOptions, TrainingState } from '../engine/backend.ts';
import { UsageError, VggError } from '../errors.ts';
import type { Weights } from '../model/layer.ts';
import { checkOptions, checkWhole, type KnownKeys, longestTimer } from '../options.ts';
import { notFinite, requireFinite, requireFiniteLoss } from './finite.ts';
import { type Extent, type Length, lastStep } from './length.ts';
import {
  afterEpoch,
  afterSteps,
  beginning,
  endReason,
  epochEvent,
  hasMore,
  type LoopState,
  placeOf,
  type Snapshot,
  testFigures,
  untimed,
} from './loop-state.ts';
import type { Model } from './model.ts';
import { choosingMetric } from './records.ts';
import type { EpochEvent, Reporter } from './reporters.ts';
import { constantSchedule, type Schedule } from './schedules.ts';
import { checkStepOptions, stepKeys, stepOptionsOf } from './step-options.ts';

export interface Callback {
  readonly step?: Reporter['step'];
  readonly epoch?: (event: EpochEvent) => void | Promise<void>;
  /** Called where the training can be resumed: after each epoch, at each `checkpointEvery`, and on interruption. */
  readonly checkpoint?: (snapshot: Snapshot) => void | Promise<void>;
  /** Called after the test of the best epoch so far, with the weights that were tested. */
  readonly best?: (snapshot: Snapshot, event: EpochEvent) => void | Promise<void>;
}

export interface FitOptions extends Length, StepOptions {
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
  /** Factors of the learning rate for layers, by patterns of their names: `{ features: 0.1 }`. */
  readonly lrGroups?: Readonly<Record<string, number>>;
  /** Layers that are frozen, by patterns of their names, as in `compile`. By default those that the model has frozen. */
  readonly freeze?: readonly string[];
  /** Epochs after which all layers are trained, with a fresh state of the optimizer; needs `freeze`. */
  readonly unfreezeAfter?: number;
  /** A plateau is more than this many epochs without a lower loss; 10 by default, as in torch. */
  readonly patience?: number;
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

const fitKeys: KnownKeys<FitOptions> = {
  model: 'required',
  trainLoader: 'required',
  testLoader: 'required',
  validationLoader: 'optional',
  optimizer: 'required',
  schedule: 'optional',
  lrGroups: 'optional',
  freeze: 'optional',
  unfreezeAfter: 'optional',
  patience: 'optional',
  epochs: 'required',
  steps: 'optional',
  earlyStopping: 'optional',
  checkpointEvery: 'optional',
  callbacks: 'optional',
  resume: 'optional',
  signal: 'optional',
  ...stepKeys,
};

/**
 * Trains to the end. The model then has the weights that were tested: the moving average if there is one, the best
 * weights after early stopping.
 * @throws VggError if a loss, a test result or a weight is not finite; the signal's reason if it was aborted.
 */
export async function fit(options: FitOptions): Promise<FitResult> {
  checkOptions<FitOptions>('fit', options, fitKeys);
  const { resume } = options;
  const training = new TrainingLoop(options, settingsOf(options));
  if (!resume) return training.run();
  requireSound(resume);
  await training.restore(resume);
  // A finished training continues only if epochs or steps were raised.
  return resume.loop.finished && !hasMore(resume.loop, training.extent)
    ? training.end(endReason(resume.loop, training.extent))
    : training.run();
}

/** Options with their defaults. */
interface Settings {
  readonly schedule: Schedule;
  readonly patience: number;
  readonly earlyStopping: number;
  readonly callbacks: readonly Callback[];
  readonly perStep: Required<StepOptions>;
}

/** @throws UsageError if an option is out of range. */
function settingsOf(options: FitOptions): Settings {
  const { optimizer, epochs, steps = 1, checkpointEvery, callbacks = [] } = options;
  const { schedule = constantSchedule(optimizer.lr), patience = 10, earlyStopping = 0 } = options;
  const perStep = stepOptionsOf(options);
  checkWhole('fit', 'epochs', epochs, 1);
  checkWhole('fit', 'steps', steps, 1);
  checkInterval(checkpointEvery);
  checkWhole('fit', 'patience', patience, 0);
  const { freeze, unfreezeAfter } = options;
  if (unfreezeAfter !== undefined) {
    checkWhole('fit', 'unfreezeAfter', unfreezeAfter, 1);
    if (!freeze) throw new UsageError('fit: unfreezeAfter has no effect without freeze; give both');
  }
  checkWhole('fit', 'earlyStopping', earlyStopping, 0);
  checkStepOptions('fit', perStep);
  return { schedule, patience, earlyStopping, callbacks, perStep };
}

/** A training in progress. */
class TrainingLoop {
  readonly extent: Extent;
  readonly #options: FitOptions;
  readonly #settings: Settings;
  /** Batches of the whole training. */
  readonly #totalSteps: number;
  #loop: LoopState;
  #timed: Snapshot['timed'] & {};
  #last: EpochEvent | undefined;
  /** Kept for early stopping; the event is unknown if the epoch was before a resume. */
  #best: { readonly weights: Weights; readonly event?: EpochEvent } | undefined;

  constructor(options: FitOptions, settings: Settings) {
    const { trainLoader, resume } = options;
    this.extent = { ...options, ...settings.perStep, stepsPerEpoch: trainLoader.length };
    this.#options = options;
    this.#settings = settings;
    this.#totalSteps = lastStep(this.extent);
    this.#loop = resume?.loop ?? beginning;
    this.#timed = resume?.timed ?? untimed;
    this.#best = resume?.bestWeights && { weights: resume.bestWeights };
  }

  /** Sets the model to a checkpoint. */
  async restore({ loop, state }: Snapshot): Promise<void> {
    const { model } = this.#options;
    // At the start of an epoch, the state is still that of the last one's frozen layers.
    await this.#freeze(loop.step > 0 ? loop.epoch : Math.max(1, loop.epoch - 1));
    await model.setState(state);
  }

  /** Freezes the layers that are frozen in an epoch. */
  async #freeze(epoch: number): Promise<void> {
    const { model, freeze, unfreezeAfter = Infinity } = this.#options;
    if (freeze) await model.freeze(epoch > unfreezeAfter ? [] : freeze);
  }

  /** The training loop. */
  async run(): Promise<FitResult> {
    const { callbacks, patience } = this.#settings;
    this.#loop = { ...this.#loop, finished: false };
    while (this.#loop.totalSteps < this.#totalSteps || this.#loop.step > 0) {
      await this.#trainEpoch();
      // Check the weights before they are tested or kept; the test does not change them.
      const trained = await this.#finiteState();
      const event = await this.#test();

      const { loop, better, stopped } = afterEpoch(this.#loop, event, this.extent, patience);
      // The time of a partial epoch belongs to its checkpoint.
      if (loop.step === 0) this.#timed = untimed;
      this.#loop = loop;
      this.#last = event;

      for (const callback of callbacks) await callback.epoch?.(event);
      if (better) await this.#keepBest(trained, event);
      await this.#checkpoint(trained);
      if (stopped) return this.end('earlyStopped');
      if (loop.finished) break;
      await this.#stopIfAborted();
    }
    return this.end('finished');
  }

  /** Leaves the weights that were tested in the model. */
  async end(reason: FitResult['reason']): Promise<FitResult> {
    const { model } = this.#options;
    if (reason === 'earlyStopped' && this.#best) {
      await model.setWeights(this.#best.weights);
      this.#last = this.#best.event ?? (this.#last && (await this.#testBest(this.#last)));
    } else if (this.#settings.perStep.averageDecay > 0) await model.swapAverage();
    const last = this.#last;
    // In a training of less than one epoch, the partial epoch is the best one.
    const part = last && { epoch: last.epoch, value: choosingMetric(last).value };
    return { reason, last, best: this.#loop.best ?? part ?? null, loop: this.#loop };
  }

  /** Trains to the end of the epoch or of the training, with checkpoints on the way. */
  async #trainEpoch(): Promise<void> {
    const { stepsPerEpoch } = this.extent;
    const to = Math.min(stepsPerEpoch, this.#totalSteps - (this.#loop.epoch - 1) * stepsPerEpoch);
    while (this.#loop.step < to) {
      await this.#stopIfAborted();
      await this.#trainPart(to);
      if (this.#loop.step < to && !this.#options.signal?.aborted) await this.#checkpoint();
    }
    await this.#stopIfAborted();
  }

  /** Trains the current epoch up to step `to`, the next checkpoint or an abort. */
  async #trainPart(to: number): Promise<void> {
    const { model, trainLoader, optimizer, lrGroups, epochs, checkpointEvery, signal } = this.#options;
    const { unfreezeAfter } = this.#options;
    const { callbacks, perStep } = this.#settings;
    const { epoch, step: from } = this.#loop;
    await this.#freeze(epoch);
    const due = new AbortController();
    const timer =
      checkpointEvery && 'seconds' in checkpointEvery
        ? setTimeout(() => due.abort(), checkpointEvery.seconds * 1000)
        : undefined;
    const end = Math.min(to, this.#nextCheckpoint());
    const rates = Float64Array.from({ length: end - from }, (_, i) => this.#rateOf(from + i));
    try {
      const result = await model.train(trainLoader, {
        ...perStep,
        ...(lrGroups && { lrGroups }),
        epoch,
        optimizer,
        from,
        steps: end,
        rates,
        signal: signal ? AbortSignal.any([signal, due.signal]) : due.signal,
        onStep: ({ step, loss }) => {
          const lr = rates[step - from - 1]!;
          const event = { epoch, epochs, step, steps: trainLoader.length, loss, lr };
          for (const callback of callbacks) callback.step?.(event);
        },
      });
      // Where layers are unfrozen, the optimizer starts anew.
      const isFresh = from === 0 && epoch - 1 === unfreezeAfter;
      const before = isFresh ? { ...this.#loop, optimizerSteps: 0 } : this.#loop;
      this.#loop = afterSteps(before, result, trainLoader, perStep.accumulate);
      const { seconds, images } = this.#timed;
      this.#timed = { seconds: seconds + result.seconds, images: images + result.images };
    } finally {
      clearTimeout(timer);
    }
  }

  /** The step of the epoch at which a checkpoint is due: at the end of a group of accumulated batches. */
  #nextCheckpoint(): number {
    const { checkpointEvery: every, trainLoader } = this.#options;
    if (!every || !('steps' in every)) return trainLoader.length;
    const { accumulate } = this.#settings.perStep;
    const { step, totalSteps } = this.#loop;
    const next = step + every.steps - (totalSteps % every.steps);
    return Math.min(trainLoader.length, Math.ceil(next / accumulate) * accumulate);
  }

  /** Tests the weights, or their moving average if there is one. @throws VggError if a loss is not finite. */
  async #test(): Promise<EpochEvent> {
    const { model, testLoader, validationLoader, epochs, signal } = this.#options;
    const averaged = this.#settings.perStep.averageDecay > 0;
    if (averaged) await model.swapAverage();
    let tested: Pick<Parameters<typeof epochEvent>[1], 'test' | 'validation'>;
    try {
      const validation = validationLoader && (await model.evaluate(validationLoader, signal));
      tested = { validation, test: await model.evaluate(testLoader, signal) };
    } finally {
      if (averaged) await model.swapAverage();
    }
    await this.#stopIfAborted();
    const lr = this.#lastRate();
    const { test, validation } = tested;
    if (validation) requireFiniteLoss('validation', validation.loss, placeOf(this.#loop), lr);
    requireFiniteLoss('test', test.loss, placeOf(this.#loop), lr);
    return epochEvent(this.#loop, { epochs, lr, timed: this.#timed, ...tested });
  }

  /** The event of the best epoch if it was before the training was resumed; the model has its weights. */
  async #testBest(last: EpochEvent): Promise<EpochEvent> {
    const { model, testLoader, validationLoader } = this.#options;
    const test = await model.evaluate(testLoader);
    const validation = validationLoader && (await model.evaluate(validationLoader));
    return { ...last, epoch: this.#loop.best!.epoch, ...testFigures(test, validation) };
  }

  /** Keeps the weights that were tested, for early stopping and the callbacks. */
  async #keepBest(trained: TrainingState, event: EpochEvent): Promise<void> {
    const { model } = this.#options;
    const { callbacks, earlyStopping, perStep } = this.#settings;
    if (earlyStopping === 0 && !callbacks.some((callback) => callback.best)) return;
    let tested = trained;
    if (perStep.averageDecay > 0) {
      await model.swapAverage();
      tested = await model.state();
      await model.swapAverage();
    }
    if (earlyStopping > 0) this.#best = { weights: tested.weights, event };
    const snapshot = { loop: this.#loop, state: tested, timed: this.#timed };
    for (const callback of callbacks) await callback.best?.(snapshot, event);
  }

  async #checkpoint(known?: TrainingState): Promise<void> {
    const { callbacks } = this.#settings;
    if (!callbacks.some((callback) => callback.checkpoint)) return;
    const state = known ?? (await this.#finiteState());
    const snapshot = { loop: this.#loop, state, timed: this.#timed };
    for (const callback of callbacks) await callback.checkpoint?.(snapshot);
  }

  async #stopIfAborted(): Promise<void> {
    const { signal } = this.#options;
    if (!signal?.aborted) return;
    await this.#checkpoint();
    signal.throwIfAborted();
  }

  /** The session's state. Weights that are not finite must never be kept. */
  async #finiteState(): Promise<TrainingState> {
    const state = await this.#options.model.state();
    requireFinite([state.weights, state.moments.average], placeOf(this.#loop), this.#lastRate());
    return state;
  }

  /** The learning rate of a step of the current epoch. */
  #rateOf(step: number): number {
    const { epoch, counters } = this.#loop;
    const { stepsPerEpoch, epochs } = this.extent;
    const { plateaus = 0 } = counters;
    return this.#settings.schedule({
      ...{ epoch, step, stepsPerEpoch, epochs, totalSteps: this.#totalSteps, plateaus },
    });
  }

  #lastRate(): number {
    return this.#rateOf(Math.max(0, this.#loop.step - 1));
  }
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
