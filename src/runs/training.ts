/**
 * A whole training in a run folder (Node only), for `vgg train`, each seed of a series and each trial of a study. A run
 * that was interrupted resumes from its last checkpoint with the same bits.
 */
import type { PrepareProgress } from '../data/folders/prepare.ts';
import { withAbsolutePaths } from '../data/places.ts';
import { refuseContradictions } from '../model/info.ts';
import { checkOptions } from '../options.ts';
import { mergedChanges, settingsText } from '../train/changes.ts';
import { parseConfig } from '../train/config.ts';
import type { TrainConfig, TrainConfigInput } from '../train/config-table.ts';
import type { TrainingControl } from '../train/control.ts';
import { type Callback, type FitResult, fit as fitModel } from '../train/fit.ts';
import { guessingNotice } from '../train/guessing.ts';
import { hasMore, type Snapshot } from '../train/loop-state.ts';
import { readRun } from './folder.ts';
import { checkConfig, fitOptionsOf, prepareTraining, type Training } from './prepare.ts';
import { recordRun } from './recorder.ts';
import { finalAccuracy, stoppedEarly } from './records.ts';
import { recordEnvironment, resumedConfig } from './resume.ts';
import { createRun, openRun, type Run, removeFolder } from './run.ts';
import { type ResumedSnapshot, readSnapshot, statusBefore } from './snapshots.ts';

export interface TrainingOptions {
  /** Starts a run in this folder. Without `folder` and `resume`, nothing is written. */
  readonly folder?: string;
  /** Resumes the run in this folder. */
  readonly resume?: string;
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

export interface TrainingResult extends FitResult {
  readonly training: Training;
  /** The run's folder; undefined without a run. */
  readonly folder: string | undefined;
  /** Of the final weights; undefined if nothing was left to do in a run whose metrics are missing. */
  readonly testAccuracy: number | undefined;
}

/**
 * Trains according to `config`: all options of a new run, or those that change when a run resumes. The caller closes
 * `training.model`.
 * @throws UsageError if options contradict each other or cannot change; what `fit` throws, and the run's state then says
 * how it ended.
 */
export async function runTraining(
  config: TrainConfigInput,
  options: TrainingOptions = {},
): Promise<TrainingResult> {
  checkOptions<TrainingOptions>('runTraining', options, {
    folder: 'optional',
    resume: 'optional',
    onStart: 'optional',
    callbacks: 'optional',
    onNotice: 'optional',
    onPrepare: 'optional',
    control: 'optional',
    signal: 'optional',
  });
  const given = withAbsolutePaths(parseConfig(config, 'runTraining: config'));
  const { folder, resume, onNotice = console.warn, signal, onPrepare } = options;
  const waiting = { onWait: onNotice, signal };
  const run =
    resume !== undefined
      ? await openRun(resume, waiting)
      : folder !== undefined
        ? await createRun(folder, given, undefined, waiting)
        : undefined;
  const notice = (line: string): void => {
    onNotice(line);
    // A log that cannot be written must not stop the training.
    if (run) run.log(line).catch(() => undefined);
  };
  let start: Start | undefined;
  try {
    start =
      run && resume !== undefined
        ? await restart(run, config, { notice, signal, onPrepare })
        : await begin(run, given, { notice, signal, onPrepare });
    const result = await trainFrom(start, run, options, notice);
    const testAccuracy = result.last?.testAccuracy ?? (run && finalAccuracy(await readRun(run.folder)));
    return { ...result, training: start.training, folder: run?.folder, testAccuracy };
  } catch (error) {
    await start?.training.model.close();
    throw error;
  } finally {
    await run?.close();
    // A run that never started leaves no folder.
    if (run && !start && resume === undefined) await removeFolder(run.folder);
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
  readonly onPrepare: TrainingOptions['onPrepare'];
}

/** Prepares a new training. @throws UsageError if options contradict each other. */
async function begin(
  run: Run | undefined,
  config: TrainConfig,
  { notice, signal, onPrepare }: Told,
): Promise<Start> {
  checkConfig(config);
  const training = await prepareTraining(config, notice, signal, onPrepare);
  return orClose(training, async () => {
    signal?.throwIfAborted();
    if (run) await recordEnvironment(run, training, undefined, notice);
    return { training, from: undefined, resumed: false, left: true };
  });
}

/** Prepares a run to resume. @throws UsageError for changes that are not allowed, DataError if the run is damaged. */
async function restart(
  run: Run,
  changes: TrainConfigInput,
  { notice, signal, onPrepare }: Told,
): Promise<Start> {
  const config = resumedConfig(run.config, changes, (await statusBefore(run))?.step);
  const from = await readSnapshot(run, notice, { signal });
  if (from?.info)
    refuseContradictions(run.folder, from.info, config, (option, value) => `its ${option} ${value}`);
  // A checkpoint's weights replace the initial ones.
  const { init: _, initKey: __, ...others } = config;
  const withoutInit = { ...others, freshHead: false, deepen: false };
  const tiles = (await readRun(run.folder)).env?.tiles;
  const prepared = await prepareTraining(from ? withoutInit : config, notice, signal, onPrepare, tiles);
  const training = { ...prepared, config };
  return orClose(training, async () => {
    signal?.throwIfAborted();
    const left = !from || hasMore(from.loop, { ...config, stepsPerEpoch: training.trainLoader.length });
    // A run that does not continue keeps its options, and a machine that trains nothing is not recorded.
    if (left) {
      await recordEnvironment(run, training, from?.loop, notice);
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
  { training, from, resumed, left }: Start,
  run: Run | undefined,
  { onStart, callbacks = [], control, signal }: TrainingOptions,
  notice: (line: string) => void,
): Promise<FitResult> {
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
  try {
    onStart?.(training, from);
    const fitOptions = fitOptionsOf(training);
    const guessing = guessingNotice(model.network, fitOptions.optimizer, notice, from?.loop.totalSteps);
    const result = await fitModel({
      ...fitOptions,
      // The run's files come first: they must not wait for other callbacks.
      callbacks: [
        ...(run && recorder ? [recorder.callback, changes(run, config)] : []),
        guessing,
        ...callbacks,
      ],
      ...(control && { control }),
      ...(from && { resume: from }),
      ...(signal && { signal }),
    });
    await recorder?.close('finished', result.reason === 'earlyStopped' ? stoppedEarly : undefined);
    return result;
  } catch (error) {
    const interrupted = signal?.aborted === true && error === signal.reason;
    const reason = error instanceof Error ? error.message : String(error);
    // If the disk is the problem, closing may fail too, and must not hide the first error.
    await recorder?.close(interrupted ? 'interrupted' : 'failed', reason).catch(() => undefined);
    throw error;
  }
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
