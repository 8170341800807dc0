/**
 * A worker of a study (Node only): asks for a trial, trains it in a run folder of its own, reports each epoch and tells
 * the end, until nothing is left. Any number of workers on any machines share a study's folder; one that ends in the
 * middle of a trial, killed or told to, leaves a run that another takes up from its checkpoint.
 */
import { existsSync } from 'node:fs';
import { copyFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { DatasetSplits } from '../data/dataset.ts';
import { VggError } from '../errors.ts';
import { cannotWrite, checkReplaceable, readTailSync } from '../files/files.ts';
import { makeFolder } from '../files/make-folder.ts';
import { runFiles } from '../runs/folder.ts';
import { runTraining } from '../runs/training.ts';
import type { TrainConfig } from '../train/config.ts';
import type { EpochEvent } from '../train/reporters.ts';
import { checkTrials } from './check.ts';
import type { Params } from './distributions.ts';
import { checkRuns, runNumbers, type StudyFolder } from './folder.ts';
import { clearGoneWorkers, goneWorkers, startHeartbeat } from './heartbeat.ts';
import { attributes, parentOf } from './lineage.ts';
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
  /** Threads of each training; the space's or all by default. */
  readonly threads?: number;
  /** Ends after the running step; its trial goes on elsewhere. */
  readonly signal?: AbortSignal;
  readonly onEvent?: (event: WorkEvent) => void;
  readonly onNotice?: (line: string) => void;
  /** Milliseconds between two looks at a study whose last trials run elsewhere. */
  readonly patience?: number;
}

/** What an epoch is worth: its accuracy on the pictures kept apart, or else on the test's. */
const worthOf = ({ validationAccuracy, testAccuracy }: EpochEvent): number =>
  validationAccuracy ?? testAccuracy;

/** Works until nothing is left, here or elsewhere, or the study is stopped. */
export async function workOn(folder: StudyFolder, options: WorkOptions = {}): Promise<void> {
  const stopped = new AbortController();
  const watch = setInterval(() => {
    if (existsSync(folder.path('stop'))) stopped.abort(new Error('the study was stopped'));
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
  // Who submitted the job may have seen another machine.
  if (job !== undefined) await checkTrials(folder.space, options.onNotice ?? (() => {}));
  using heartbeat = startHeartbeat(folder.path('workers'), job === undefined ? {} : { facts: { job } });
  const runs = runNumbers(folder.path('runs'));
  using study = await folder.open(heartbeat.worker);
  checkRuns(folder.folder, runs, study.trials);
  while (!signal?.aborted) {
    const gone = await study.failTrialsOf(
      goneWorkers(folder.path('workers')),
      'its worker ended',
      ({ number }) => logTail(folder.runOf(number)),
    );
    for (const trial of gone) await study.retry(trial, retries);
    clearGoneWorkers(folder.path('workers'));
    const trial = await study.ask({ trials });
    if (trial) {
      await runTrial(folder, study, trial, options);
      continue;
    }
    // One that runs elsewhere may yet earn a promotion, or lose its worker.
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
  { threads, signal, onEvent = () => {}, onNotice = () => {} }: WorkOptions,
): Promise<void> {
  const { number, params, parent } = trial;
  onEvent({ event: 'trial', trial: number, params, ...(parent !== undefined && { parent }) });
  const stop = new AbortController();
  const run = folder.runOf(number);
  // Before the trial is told, so that each that ended has one, whenever its worker dies.
  let splits: DatasetSplits | undefined;
  const report = (): Promise<void> => reportTrial(folder, trial.frozen, { threads, splits, onNotice });
  try {
    const config: TrainConfig = {
      ...folder.configOf(params),
      ...(threads !== undefined && { threads }),
    };
    // A predecessor may have ended before it had a checkpoint of its own.
    let goesOn = false;
    for (let from = parent; from !== undefined && !goesOn; from = parentOf(study.trials[from]!)) {
      goesOn = await takeOver(folder.runOf(from), run);
    }
    const { last, training } = await runTraining(config, {
      ...(goesOn ? { resume: run } : { folder: run }),
      onNotice,
      onStart: (started) => {
        splits = started.splits;
      },
      signal: signal ? AbortSignal.any([signal, stop.signal]) : stop.signal,
      callbacks: [
        {
          async epoch(event) {
            const value = worthOf(event);
            await trial.report(value, event.epoch);
            onEvent({ event: 'epoch', trial: number, epoch: event.epoch, value });
            if (event.epoch < event.epochs && trial.shouldPrune()) stop.abort(new TrialPruned());
          },
        },
      ],
    });
    await training.model.close();
    const value = last ? worthOf(last) : lastValue(trial);
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
    // Told to end: the next one that asks goes on from the checkpoint.
    if (signal?.aborted) {
      await study.release(trial, 'its worker was told to end');
      return;
    }
    if (!(error instanceof VggError)) throw error;
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
 * Makes `to` a copy of a run that did not come to its end, whole or not at all. False where that one never had a
 * checkpoint.
 */
async function takeOver(from: string, to: string): Promise<boolean> {
  if (!existsSync(join(from, runFiles.last)) || !existsSync(join(from, runFiles.config))) return false;
  const copy = `${to}.part`;
  try {
    await rm(copy, { recursive: true, force: true });
    makeFolder(copy);
    for (const name of Object.values(runFiles)) {
      if (name === runFiles.log || name === runFiles.report || !existsSync(join(from, name))) continue;
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
