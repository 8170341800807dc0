/**
 * A worker of a study (Node only): asks for a trial, trains it in a run folder of its own, reports each epoch and tells
 * the result, until nothing is left. Any number of workers on any machines share a study's folder. If one ends in the
 * middle of a trial, killed or told to, another worker continues the run from its checkpoint.
 *
 * Invariant: a trial fails only through its own values. A fault of the machine (a full disk, missing data, a damaged run folder) ends the
 * worker, and the trial waits for another one.
 */
import { copyFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { DatasetSplits } from '../data/dataset.ts';
import { loadDataset } from '../data/load.ts';
import type { AnyDataset } from '../data/stored.ts';
import { DataError, MachineError, VggError } from '../errors.ts';
import { cannotWrite, checkReplaceable, isThere, readTailSync } from '../files/files.ts';
import { makeFolder } from '../files/make-folder.ts';
import { isRun, runFiles } from '../runs/folder.ts';
import { runTraining } from '../runs/training.ts';
import type { TrainConfig } from '../train/config-table.ts';
import type { EpochEvent } from '../train/reporters.ts';
import { checkTrials } from './check.ts';
import type { Params } from './distributions.ts';
import { type MachineFault, machineFault } from './faults.ts';
import { checkRuns, runNumbers, type StudyFolder } from './folder.ts';
import { clearGoneWorkers, goneWorkers, leftWorkers, startHeartbeat } from './heartbeat.ts';
import { attributes, parentOf } from './lineage.ts';
import type { FrozenTrial } from './replay.ts';
import type { Study } from './study.ts';
import { type Trial, TrialPruned } from './trial.ts';
import { reportEnd, reportTrial } from './trial-reports.ts';

export type WorkEvent =
  | { readonly event: 'trial'; readonly trial: number; readonly params: Params; readonly parent?: number }
  | { readonly event: 'epoch'; readonly trial: number; readonly epoch: number; readonly value: number }
  | {
      readonly event: 'told';
      readonly trial: number;
      readonly state: 'complete' | 'pruned' | 'fail';
      readonly value?: number;
      readonly reason?: string;
    };

export interface WorkOptions {
  /** Threads of each training; by default the space's, or all. */
  readonly threads?: number;
  /** Ends the worker after the running step; another worker continues its trial. */
  readonly signal?: AbortSignal;
  readonly onEvent?: (event: WorkEvent) => void;
  readonly onNotice?: (line: string) => void;
  /** Milliseconds between two looks at a study whose last trials run elsewhere. */
  readonly patience?: number;
}

/** The score of an epoch: its accuracy on the validation images, or on the test images where there are none. */
const scoreOf = ({ validationAccuracy, testAccuracy }: EpochEvent): number =>
  validationAccuracy ?? testAccuracy;

/**
 * Works until nothing is left, here or elsewhere, or the study is stopped.
 * @throws VggError at a fault of this machine; the trial then waits for another worker.
 */
export async function workOn(folder: StudyFolder, options: WorkOptions = {}): Promise<void> {
  const stopped = new AbortController();
  const watch = setInterval(() => {
    try {
      if (isThere(folder.path('stop'))) stopped.abort(new Error('the study was stopped'));
    } catch {
      // Unknown for now; the next look may succeed.
    }
  }, 500).unref();
  const signals = [stopped.signal, ...(options.signal ? [options.signal] : [])];
  try {
    await workUntil(folder, { ...options, signal: AbortSignal.any(signals) });
  } finally {
    clearInterval(watch);
  }
}

async function workUntil(folder: StudyFolder, options: WorkOptions): Promise<void> {
  const { signal, patience = 2000 } = options;
  const { trials, retries } = folder.settings;
  const { SLURM_JOB_ID: job } = process.env;
  // The machine that submitted the job may differ from this node.
  if (job !== undefined) await checkTrials(folder.space, options.onNotice ?? (() => {}));
  using heartbeat = startHeartbeat(folder.path('workers'), job === undefined ? {} : { facts: { job } });
  const runs = runNumbers(folder.path('runs'));
  using study = await folder.open(heartbeat.worker);
  checkRuns(folder.folder, runs, study.trials);
  while (!signal?.aborted) {
    const workers = folder.path('workers');
    await study.giveBackTrialsOf(leftWorkers(workers), 'its worker could not write the result');
    const logOf = ({ number }: FrozenTrial): string | undefined => logTail(folder.runOf(number));
    await study.failTrialsOf(goneWorkers(workers), 'its worker ended', logOf, retries);
    clearGoneWorkers(workers);
    const trial = await study.ask({ trials });
    if (trial) {
      await runTrial(folder, study, trial, options);
      continue;
    }
    // A trial that runs elsewhere may still earn a promotion, or lose its worker.
    if (!study.trials.some(({ state }) => state === 'running')) {
      const { threads, onNotice = () => {} } = options;
      return reportEnd(folder, study, heartbeat.worker, { threads, onNotice });
    }
    await pause(patience, signal);
  }
}

async function runTrial(
  folder: StudyFolder,
  study: Study,
  trial: Trial,
  options: WorkOptions,
): Promise<void> {
  try {
    await trainTrial(folder, study, trial, options);
  } catch (error) {
    const fault = machineFault(error);
    if (fault !== undefined) throw await handBack(folder, study, trial, fault, error);
    // A bug: as with a worker that was killed, a retry may succeed.
    await study.tell(trial, { state: 'fail', reason: String(error), retries: folder.settings.retries });
    throw error;
  }
}

/** Lets the trial wait again. Returns the error that ends this worker. */
async function handBack(
  { settings }: StudyFolder,
  study: Study,
  trial: Trial,
  { message, isMemory }: MachineFault,
  cause: unknown,
): Promise<VggError> {
  let returns = true;
  try {
    returns = await study.giveBack(trial, message, isMemory ? settings.retries : undefined);
  } catch (error) {
    // If the journal is on the same disk, the next worker sees that this one has ended, and gives the trial back.
    if (machineFault(error) === undefined) throw error;
  }
  const next = returns
    ? `This is not counted as a result: trial ${trial.number} will run again`
    : `Trial ${trial.number} has no retries left and counts as failed`;
  return new VggError(`${message}. ${next}`, { cause });
}

/** Whether the data set or the initial weights cannot be read, which is not the trial's fault. */
async function lacksData(config: TrainConfig): Promise<boolean> {
  if (config.init !== undefined && !isThere(config.init)) return true;
  return loadDataset(config).then(
    () => false,
    () => true,
  );
}

/** Trains a trial and tells its result. @throws errors that say nothing about the trial's values. */
async function trainTrial(
  folder: StudyFolder,
  study: Study,
  trial: Trial,
  { threads, signal, onEvent = () => {}, onNotice = () => {} }: WorkOptions,
): Promise<void> {
  const { number, params, parent } = trial;
  onEvent({ event: 'trial', trial: number, params, ...(parent !== undefined && { parent }) });
  const stop = new AbortController();
  const run = folder.runOf(number);
  // Made before the result is told, so that each finished trial has a report, whenever its worker dies.
  let splits: DatasetSplits<AnyDataset> | undefined;
  const report = (): Promise<void> => reportTrial(folder, trial.frozen, { threads, splits, onNotice });
  try {
    const config: TrainConfig = {
      ...folder.configOf(params),
      ...(threads !== undefined && { threads }),
    };
    // A trial that was given back has its own run. A predecessor may have ended before its first checkpoint.
    let resumes = isRun(run);
    for (let from = parent; from !== undefined && !resumes; from = parentOf(study.trials[from]!)) {
      resumes = await takeOver(folder.runOf(from), run);
    }
    const { last, training } = await runTraining(resumes ? { threads: config.threads } : config, {
      ...(resumes ? { resume: run } : { folder: run }),
      live: 'watch',
      onNotice,
      onStart: (started) => {
        splits = started.splits;
      },
      signal: signal ? AbortSignal.any([signal, stop.signal]) : stop.signal,
      callbacks: [
        {
          async epoch(event) {
            const value = scoreOf(event);
            await trial.report(value, event.epoch);
            onEvent({ event: 'epoch', trial: number, epoch: event.epoch, value });
            if (event.epoch < event.epochs && trial.shouldPrune()) stop.abort(new TrialPruned());
          },
        },
      ],
    });
    await training.model.close();
    const value = last ? scoreOf(last) : lastValue(trial);
    await report();
    if (await study.tell(trial, value)) onEvent({ event: 'told', trial: number, state: 'complete', value });
  } catch (error) {
    if (error instanceof TrialPruned) {
      await report();
      if (await study.tell(trial, { state: 'pruned' })) {
        onEvent({ event: 'told', trial: number, state: 'pruned', value: lastValue(trial) });
      }
      return;
    }
    // Told to end: the next worker that asks continues from the checkpoint.
    if (signal?.aborted) {
      await study.release(trial, 'its worker was told to end');
      return;
    }
    if (!(error instanceof VggError) || machineFault(error)) throw error;
    if (error instanceof DataError && (await lacksData(folder.configOf(params))))
      throw new MachineError(error.message, { cause: error });
    const reason = error.message;
    await report();
    const log = logTail(run);
    if (log !== undefined) await trial.setUserAttr(attributes.log, log);
    if (await study.tell(trial, { state: 'fail', reason })) {
      onEvent({ event: 'told', trial: number, state: 'fail', reason });
    }
  }
}

const lastValue = ({ lastStep, frozen }: Trial): number =>
  (lastStep === undefined ? undefined : frozen.intermediateValues.get(lastStep)) ?? Number.NaN;

/**
 * Makes `to` a copy of an unfinished run, whole or not at all. False where that run never had a checkpoint.
 * @throws VggError where it cannot be copied.
 */
async function takeOver(from: string, to: string): Promise<boolean> {
  if (!isThere(join(from, runFiles.last)) || !isRun(from)) return false;
  const copy = `${to}.part`;
  try {
    await rm(copy, { recursive: true, force: true });
    makeFolder(copy);
    for (const name of Object.values(runFiles)) {
      if (name === runFiles.log || name === runFiles.report || !isThere(join(from, name))) continue;
      checkReplaceable(join(from, name));
      await copyFile(join(from, name), join(copy, name));
    }
    await rename(copy, to);
  } catch (error) {
    throw cannotWrite(to, error);
  }
  return true;
}

/** Bytes of a log's end. */
const mostLog = 65_536;

/** The last lines of a run's log. */
function logTail(run: string): string | undefined {
  try {
    return readTailSync(join(run, runFiles.log), mostLog).trimEnd().split('\n').slice(-10).join('\n');
  } catch {
    return undefined;
  }
}

function pause(milliseconds: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(done, milliseconds);
    function done(): void {
      clearTimeout(timer);
      signal?.removeEventListener('abort', done);
      resolve();
    }
    signal?.addEventListener('abort', done);
  });
}
