/**
 * The whole training: epochs of steps, a test after each epoch, checkpoints at any step, and early stopping. `trainer`
 * is the lecture's loop; `fit` can be interrupted and resumed at any step with the same bits, because its whole state
 * is a `LoopState` and the session's `TrainingState`.
 *
 * `TrainingLoop.run` is the loop; the rules by which its state changes are pure functions (`loop-state.ts`). Output (lines,
 * files, images) is left to callbacks, which are awaited in order.
 */
import type { TrainingState } from '../engine/backend.ts';
import { groupEnd } from '../engine/step.ts';
import type { Weights } from '../model/layer.ts';
import {
  type Change,
  changedRate,
  type LiveSettings,
  mergedChanges,
  settingsAt,
  withSettings,
} from './changes.ts';
import { type Steering, steer } from './control.ts';
import { requireFinite, requireFiniteLoss } from './finite.ts';
import { type FitOptions, requireSound, type Settings, settingsOf } from './fit-options.ts';
import { type Extent, lastStep } from './length.ts';
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
import { choosingMetric } from './records.ts';
import type { EpochEvent } from './reporters.ts';

export { type Callback, checkInterval, type FitOptions } from './fit-options.ts';

export interface FitResult {
  /** Why the training ended. */
  readonly reason: 'finished' | 'earlyStopped';
  /** The last epoch, or the best one after early stopping. Undefined if nothing was left to do. */
  readonly last: EpochEvent | undefined;
  readonly best: LoopState['best'];
  readonly loop: LoopState;
}

/**
 * Trains to the end. The model then has the weights that were tested: the moving average if there is one, the best
 * weights after early stopping.
 * @throws VggError if a loss, a test result or a weight is not finite; the signal's reason if it was aborted.
 */
export async function fit(options: FitOptions): Promise<FitResult> {
  const settings = settingsOf(options);
  const { resume } = options;
  const training = new TrainingLoop(options, settings);
  if (!resume) return training.run();
  requireSound(resume);
  await training.restore(resume);
  // A finished training continues only if epochs or steps were raised.
  return resume.loop.finished && !hasMore(resume.loop, training.extent)
    ? training.end(endReason(resume.loop, training.extent))
    : training.run();
}

/** A training in progress. */
class TrainingLoop {
  readonly extent: Extent;
  readonly #options: FitOptions;
  readonly #settings: Settings;
  /** Batches of the whole training. */
  readonly #totalSteps: number;
  #steering: Steering | undefined;
  /** Those of the loop's state, and planned ones. */
  #changes: readonly Change[];
  #loop: LoopState;
  /** When the last checkpoint was written, or the training began, in `performance.now()` milliseconds. */
  #saved = performance.now();
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
    this.#changes = settings.changes;
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

  /** Trains to the end. */
  async run(): Promise<FitResult> {
    const { control, optimizer } = this.#options;
    const check = (changed: LiveSettings): unknown => withSettings('TrainingControl', optimizer, changed);
    this.#steering = control && steer(control, check, this.#loop.changes ?? []);
    try {
      return await this.#run();
    } finally {
      this.#steering?.detach();
    }
  }

  /** The training loop. */
  async #run(): Promise<FitResult> {
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
      await this.#attend();
      const isDue = await this.#trainPart(to);
      if (isDue && this.#loop.step < to && !this.#options.signal?.aborted) await this.#checkpoint();
    }
    // A pause comes before the test.
    await this.#attend();
  }

  /** Between two parts: stops, pauses and changes settings as asked. */
  async #attend(): Promise<void> {
    await this.#stopIfAborted();
    for (const change of this.#changes.filter(({ step }) => step <= this.#loop.totalSteps)) {
      if (!this.#loop.changes?.some(({ step }) => step === change.step)) await this.#change(change);
    }
    if (!this.#steering) return;
    const { callbacks } = this.#settings;
    const hooks = {
      change: (settings: LiveSettings) => this.#change({ step: this.#loop.totalSteps, ...settings }),
      rest: async (resting: boolean) => {
        for (const callback of callbacks) await callback.pause?.(resting, this.#loop);
      },
    };
    await this.#steering.attend(hooks, this.#options.signal);
    await this.#stopIfAborted();
  }

  /** Settings change from here on. */
  async #change(change: Change): Promise<Change> {
    this.#changes = mergedChanges(this.#changes, [change]);
    this.#loop = { ...this.#loop, changes: mergedChanges(this.#loop.changes ?? [], [change]) };
    for (const callback of this.#settings.callbacks) await callback.change?.(change, this.#loop);
    return change;
  }

  /**
   * Trains the current epoch up to step `to`, or until a checkpoint, a change, a pause or an abort. Returns whether a
   * checkpoint is due.
   */
  async #trainPart(to: number): Promise<boolean> {
    const { model, trainLoader, optimizer, lrGroups, epochs, unfreezeAfter } = this.#options;
    const { callbacks, perStep } = this.#settings;
    const { epoch, step: from } = this.#loop;
    await this.#freeze(epoch);
    const due = new AbortController();
    const timer = this.#checkpointTimer(due);
    const checkpointAt = this.#nextCheckpoint();
    const end = Math.min(to, checkpointAt, this.#nextChange(), this.#nextPause());
    const signals = [due.signal, this.#options.signal ?? [], this.#steering?.signal ?? []].flat();
    // They do not change within a part.
    const settings = this.#settingsAt(from);
    const rates = Float64Array.from({ length: end - from }, (_, i) => this.#rateOf(from + i, settings));
    try {
      const result = await model.train(trainLoader, {
        ...perStep,
        ...(lrGroups && { lrGroups }),
        epoch,
        optimizer: withSettings('fit', optimizer, settings),
        from,
        steps: end,
        rates,
        signal: AbortSignal.any(signals),
        onStep: ({ step, loss }) => {
          this.#steering?.reported();
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
      this.#steering?.trained(result.steps);
      return due.signal.aborted || this.#loop.step >= checkpointAt;
    } finally {
      clearTimeout(timer);
    }
  }

  /** A timer that aborts `due` when a checkpoint is due; undefined if that does not depend on time. */
  #checkpointTimer(due: AbortController): ReturnType<typeof setTimeout> | undefined {
    const { checkpointEvery: every } = this.#options;
    if (!every || !('seconds' in every)) return undefined;
    const left = this.#saved + every.seconds * 1000 - performance.now();
    return setTimeout(() => due.abort(), Math.max(0, left));
  }

  /** The step of the epoch at which settings change next. */
  #nextChange(): number {
    const { step, totalSteps } = this.#loop;
    const next = this.#changes.find((change) => change.step > totalSteps);
    return next ? step + next.step - totalSteps : Infinity;
  }

  /** The step of the epoch after which the training pauses. */
  #nextPause(): number {
    const { step } = this.#loop;
    const { stepsPerEpoch } = this.extent;
    return groupEnd(
      step + (this.#steering?.left ?? Infinity),
      stepsPerEpoch,
      this.#settings.perStep.accumulate,
    );
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
    this.#saved = performance.now();
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
  #rateOf(step: number, settings: LiveSettings = this.#settingsAt(step)): number {
    const { epoch, counters } = this.#loop;
    const { stepsPerEpoch, epochs } = this.extent;
    const { plateaus = 0 } = counters;
    const rate = this.#settings.schedule({
      ...{ epoch, step, stepsPerEpoch, epochs, totalSteps: this.#totalSteps, plateaus },
    });
    return changedRate(rate, this.#options.optimizer.lr, settings);
  }

  /** The settings of a step of the current epoch. */
  #settingsAt(step: number): LiveSettings {
    return settingsAt(this.#changes, (this.#loop.epoch - 1) * this.extent.stepsPerEpoch + step);
  }

  #lastRate(): number {
    return this.#rateOf(Math.max(0, this.#loop.step - 1));
  }
}
