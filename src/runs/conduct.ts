/**
 * A whole training in a run, wherever it is: `training.ts` runs it in a folder on disk, `browser/training.ts` in a
 * browser's store. A run that was interrupted resumes from its last checkpoint with the same bits.
 */
import type { PrepareProgress } from '../data/folders/prepare.ts';
import { TrainingStopped } from '../errors.ts';
import { refuseContradictions } from '../model/info.ts';
import { type LiveSettings, mergedChanges, settingsText } from '../train/changes.ts';
import type { TrainConfig, TrainConfigInput } from '../train/config-table.ts';
import { TrainingControl } from '../train/control.ts';
import { type Callback, type FitResult, fit as fitModel } from '../train/fit.ts';
import { guessingNotice } from '../train/guessing.ts';
import { lastStep } from '../train/length.ts';
import { hasMore, type LoopState, type Snapshot } from '../train/loop-state.ts';
import {
  checkConfigAt,
  fitOptionsOf,
  optimizerOf,
  type Place,
  prepareTrainingAt,
  type Training,
} from './prepare.ts';
import { recordRun } from './recorder.ts';
import { finalAccuracy, stoppedEarly } from './records.ts';
import { recordEnvironment, resumedConfigAt } from './resume.ts';
import { type Run, readEnvironment, readRecord } from './run-folder.ts';
import { type ResumedSnapshot, readSnapshot, statusBefore } from './snapshots.ts';

/** Who is told of a training, and what stops it. */
export interface RunCallbacks {
  /** Called when everything is ready, before the first step. */
  readonly onStart?: (training: Training, from: Snapshot | undefined) => void;
  readonly callbacks?: readonly Callback[];
  /** Receives notes, one line each; `console.warn` by default. */
  readonly onNotice?: (line: string) => void;
  /** Told how many image files are prepared, where a data set needs it. */
  readonly onPrepare?: (progress: PrepareProgress) => void;
  /** Pauses, steps and changes the training while it runs. The run's config records the changes. */
  readonly control?: TrainingControl;
  /** Stops after the current step, writes a checkpoint and throws the signal's reason. */
  readonly signal?: AbortSignal;
}

/** What somebody outside sees of a training, and may do with it. */
export interface ListenOptions {
  readonly control: TrainingControl;
  /** Stops the training. */
  readonly stop: () => void;
  readonly batchSize: number;
  readonly epochs: number;
  readonly stepsPerEpoch: number;
  readonly totalSteps: number;
  /** The optimizer's settings without changes. */
  readonly settings: LiveSettings;
  /** Where a resumed training continues. */
  readonly from: LoopState | undefined;
}

/** A training that is watched and steered from outside. */
export interface Listening {
  readonly callback: Callback;
  readonly close: () => Promise<void>;
}

export type Listen = (run: Run, options: ListenOptions) => Promise<Listening>;

export interface ConductOptions extends RunCallbacks {
  /** Called before the first step. */
  readonly listen?: Listen;
}

/** A training and its run. */
export interface Conducted extends FitResult {
  readonly training: Training;
  /** Of the final weights; undefined if nothing was left to do in a run whose metrics are missing. */
  readonly testAccuracy: number | undefined;
}

/** What to train: all options of a new run, or those that change when a run resumes. */
export type Work =
  | { readonly run: Run | undefined; readonly config: TrainConfig }
  | { readonly run: Run; readonly changes: TrainConfigInput };

/**
 * Trains, records it in the run, and closes the run. `discard` removes the files of a new run that never started.
 * @throws UsageError if options contradict each other or cannot change; what `fit` throws, and the run's state then says
 * how it ended.
 */
export async function conduct(
  place: Place,
  work: Work,
  options: ConductOptions,
  discard: () => Promise<void>,
): Promise<Conducted> {
  const { onNotice = console.warn, signal, onPrepare } = options;
  const { run } = work;
  const notice = (line: string): void => {
    onNotice(line);
    // A log that cannot be written must not stop the training.
    if (run) run.log(line).catch(() => undefined);
  };
  let start: Start | undefined;
  try {
    const told = { notice, signal, onPrepare };
    start =
      'changes' in work
        ? await restart(place, work.run, work.changes, told)
        : await begin(place, run, work.config, told);
    const result = await trainFrom(start, run, options, notice);
    const recorded = run && !result.last ? await readRecord(run.files, run.config, true) : undefined;
    const testAccuracy = result.last?.testAccuracy ?? (recorded && finalAccuracy(recorded));
    return { ...result, training: start.training, testAccuracy };
  } catch (error) {
    await start?.training.model.close();
    throw error;
  } finally {
    await run?.close();
    if (!start && !('changes' in work)) await discard();
  }
}

/** A training that is ready to start or to continue. */
interface Start {
  readonly training: Training;
  /** The checkpoint to continue from; undefined if none was written yet. */
  readonly from: ResumedSnapshot | undefined;
  readonly resumed: boolean;
  /** Whether steps are left to do. */
  readonly left: boolean;
}

/** Who is told what, and what stops. */
interface Told {
  readonly notice: (line: string) => void;
  readonly signal: AbortSignal | undefined;
  readonly onPrepare: RunCallbacks['onPrepare'];
}

/** Prepares a new training. @throws UsageError if options contradict each other. */
async function begin(
  place: Place,
  run: Run | undefined,
  config: TrainConfig,
  { notice, signal, onPrepare }: Told,
): Promise<Start> {
  checkConfigAt(place, config);
  const training = await prepareTrainingAt(place, config, { onNotice: notice, signal, onPrepare });
  return orClose(training, async () => {
    signal?.throwIfAborted();
    if (run) await recordEnvironment(place, run, training, undefined, notice);
    return { training, from: undefined, resumed: false, left: true };
  });
}

/** Prepares a run to resume. @throws UsageError for changes that are not allowed, DataError if the run is damaged. */
async function restart(
  place: Place,
  run: Run,
  changes: TrainConfigInput,
  { notice, signal, onPrepare }: Told,
): Promise<Start> {
  const config = resumedConfigAt(place, run.config, changes, (await statusBefore(run))?.step);
  const from = await readSnapshot(run, notice, { signal });
  if (from?.info)
    refuseContradictions(run.folder, from.info, config, (option, value) => `its ${option} ${value}`);
  // A checkpoint's weights replace the initial ones.
  const { init: _, initKey: __, ...others } = config;
  const withoutInit = { ...others, freshHead: false, deepen: false };
  const kept = await readEnvironment(run.files);
  const prepared = await prepareTrainingAt(place, from ? withoutInit : config, {
    onNotice: notice,
    ...{ signal, onPrepare, kept },
  });
  const training = { ...prepared, config };
  return orClose(training, async () => {
    signal?.throwIfAborted();
    const left = !from || hasMore(from.loop, { ...config, stepsPerEpoch: training.trainLoader.length });
    // A run that does not continue keeps its options, and a machine that trains nothing is not recorded.
    if (left) {
      await recordEnvironment(place, run, training, from?.loop, notice);
      await run.writeConfig(config);
    }
    return { training, from, resumed: true, left };
  });
}

/** Closes the model if `body` fails. */
async function orClose<T>({ model }: Training, body: () => Promise<T>): Promise<T> {
  try {
    return await body();
  } catch (error) {
    await model.close();
    throw error;
  }
}

/** Trains to the end and records it in the run. */
async function trainFrom(
  start: Start,
  run: Run | undefined,
  options: ConductOptions,
  notice: (line: string) => void,
): Promise<FitResult> {
  const { training, from, resumed, left } = start;
  const { onStart, callbacks = [], listen } = options;
  const { config, model, trainLoader } = training;
  // A finished run without new steps stays unchanged.
  const rests = run && !left && (await statusBefore(run))?.state === 'finished';
  const recorder =
    run && !rests
      ? await recordRun(run, {
          stepInterval: config.logEvery,
          ...{ model, trainLoader, resumed, left },
          ...(from && { from }),
        })
      : undefined;
  const stop = new AbortController();
  const signal = options.signal ? AbortSignal.any([options.signal, stop.signal]) : stop.signal;
  const control = options.control ?? (listen && new TrainingControl());
  let listening: Listening | undefined;
  try {
    const fitOptions = fitOptionsOf(training);
    if (listen && control && run && left) {
      const facts = listenOptionsOf(start, control, stop);
      listening = await listen(run, facts).catch((error: unknown) => {
        // A training that nobody sees is no worse for it.
        notice(`This training cannot be watched: ${error instanceof Error ? error.message : error}`);
        return undefined;
      });
    }
    onStart?.(training, from);
    const guessing = guessingNotice(model.network, fitOptions.optimizer, notice, from?.loop.totalSteps);
    const result = await fitModel({
      ...fitOptions,
      // The run's files come first: they must not wait for other callbacks.
      callbacks: [
        ...(run && recorder ? [recorder.callback, changes(run, config)] : []),
        ...(listening ? [listening.callback] : []),
        guessing,
        ...callbacks,
      ],
      ...(control && { control }),
      ...(from && { resume: from }),
      signal,
    });
    await recorder?.close('finished', result.reason === 'earlyStopped' ? stoppedEarly : undefined);
    return result;
  } catch (error) {
    const interrupted = signal.aborted && error === signal.reason;
    const reason = error instanceof Error ? error.message : String(error);
    // If the disk is the problem, closing may fail too, and must not hide the first error.
    await recorder?.close(interrupted ? 'interrupted' : 'failed', reason).catch(() => undefined);
    throw error;
  } finally {
    await listening?.close();
  }
}

function listenOptionsOf(
  { training: { config, trainLoader }, from }: Start,
  control: TrainingControl,
  stop: AbortController,
): ListenOptions {
  const { batchSize, epochs } = config;
  const optimizer = optimizerOf(config);
  const { length: stepsPerEpoch } = trainLoader;
  return {
    control,
    stop: () => stop.abort(new TrainingStopped('the training was stopped by a command')),
    ...{ batchSize, epochs, stepsPerEpoch, totalSteps: lastStep({ ...config, stepsPerEpoch }) },
    settings: {
      lr: optimizer.lr,
      ...('momentum' in optimizer && { momentum: optimizer.momentum }),
      weightDecay: optimizer.weightDecay,
    },
    from: from?.loop,
  };
}

/** Records changed settings in the run's config before the next step, so that the config always repeats the run. */
function changes(run: Run, config: TrainConfig): Callback {
  let written = JSON.stringify(config.changes);
  return {
    async change(change, { totalSteps, changes: made = [] }) {
      await run.log(`step ${change.step}: ${settingsText(change)}`);
      const planned = (config.changes ?? []).filter(({ step }) => step > totalSteps);
      const all = mergedChanges(made, planned);
      if (JSON.stringify(all) === written) return;
      await run.writeConfig({ ...config, changes: all });
      written = JSON.stringify(all);
    },
    pause: (paused, { totalSteps }) => run.log(`${paused ? 'paused' : 'continued'} after step ${totalSteps}`),
  };
}
