/** The options of `fit`: their types, defaults and ranges. */
import type { DataLoader } from '../data/loader.ts';
import type { OptimizerOptions, StepOptions } from '../engine/backend.ts';
import { groupEnd } from '../engine/step.ts';
import { UsageError, VggError } from '../errors.ts';
import type { Weights } from '../model/layer.ts';
import { checkOptions, checkWhole, type KnownKeys, longestTimer } from '../options.ts';
import { type Change, checkChanges, mergedChanges, withSettings } from './changes.ts';
import type { TrainingControl } from './control.ts';
import { notFinite } from './finite.ts';
import type { Length } from './length.ts';
import type { LoopState, Snapshot } from './loop-state.ts';
import type { Model } from './model.ts';
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
  /** Called when changed settings take effect. */
  readonly change?: (change: Change, loop: LoopState) => void | Promise<void>;
  /** Called when a pause takes effect (true), and when it ends. */
  readonly pause?: (paused: boolean, loop: LoopState) => void | Promise<void>;
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
  /** Pauses, steps and changes the training while it runs. */
  readonly control?: TrainingControl;
  /**
   * Changes of settings that are known beforehand, as `TrainingControl` or a checkpoint's `loop.changes` lists them. With
   * `accumulate`, each takes effect at the next optimizer step.
   */
  readonly changes?: readonly Change[];
  /** Stops after the current step, writes a checkpoint and throws the signal's reason. */
  readonly signal?: AbortSignal;
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
  control: 'optional',
  changes: 'optional',
  signal: 'optional',
  ...stepKeys,
};

/** Options with their defaults. */
export interface Settings {
  readonly schedule: Schedule;
  readonly patience: number;
  readonly earlyStopping: number;
  readonly callbacks: readonly Callback[];
  readonly perStep: Required<StepOptions>;
  /** At ends of groups of accumulated batches. */
  readonly changes: readonly Change[];
}

/** @throws UsageError if an option is out of range. */
export function settingsOf(options: FitOptions): Settings {
  checkOptions<FitOptions>('fit', options, fitKeys);
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
  const changes = plannedChanges(options, perStep.accumulate);
  return { schedule, patience, earlyStopping, callbacks, perStep, changes };
}

/** @throws UsageError for changes that are out of range, or that do not fit the optimizer or the checkpoint. */
function plannedChanges(
  { changes = [], optimizer, trainLoader, resume }: FitOptions,
  accumulate: number,
): readonly Change[] {
  checkChanges('fit', changes);
  for (const change of changes) withSettings(`fit: change at step ${change.step}`, optimizer, change);
  const made = resume?.loop.changes ?? [];
  const planned = changes.map((change) => ({
    ...change,
    step: groupEnd(change.step, trainLoader.length, accumulate),
  }));
  const late = planned.find(
    ({ step }) => step < (resume?.loop.totalSteps ?? 0) && !made.some((change) => change.step === step),
  );
  if (late) {
    throw new UsageError(
      `fit: the change at step ${late.step} is before the checkpoint's step ${resume?.loop.totalSteps}, where it had not been ` +
        'made; leave it out, or start anew',
    );
  }
  return mergedChanges(planned, made);
}

/** @throws VggError if a checkpoint's weights are not finite; older versions could write these. */
export function requireSound({ state, bestWeights }: NonNullable<FitOptions['resume']>): void {
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
