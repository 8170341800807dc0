/**
 * Starts and stops a study's workers: child processes on this machine, or a Slurm job array. Workers do not need the
 * command that started them. If it is killed and started again, it finds the workers that still run.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { constants } from 'node:fs';
import { rm } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { type DeviceName, devices, gpuDevices } from '../engine/backend.ts';
import { UsageError, VggError } from '../errors.ts';
import {
  cannotRun,
  cannotWrite,
  isThere,
  openRegularSync,
  readTailSync,
  writeWhole,
} from '../files/files.ts';
import { silentSeconds } from '../files/liveness.ts';
import { makeFolder } from '../files/make-folder.ts';
import type { PlannedStudy, StudyFolder } from '../tune/folder.ts';
import { readWorkers, type WorkerSign } from '../tune/heartbeat.ts';
import { allFailed } from '../tune/lineage.ts';
import type { Study } from '../tune/study.ts';
import { counted, shellWord } from '../words.ts';
import type { Interruption } from './interrupt.ts';
import { continueWithoutOutput, note, print, printJson, printVerbatim } from './output.ts';
import {
  type Cancellation,
  cancelJobs,
  jobName,
  jobsOf,
  patiently,
  queuedTasks,
  readJobRecord,
  SlurmError,
  SlurmMissing,
  SubmissionUnknown,
  submit,
} from './slurm.ts';
import { viewOf } from './tune-progress.ts';

export interface LaunchOptions {
  readonly jobs: number;
  readonly threads?: number;
  readonly slurm?: string;
  /** Where trials compute, if it is not searched. */
  readonly device?: DeviceName;
  readonly adapter?: string;
  readonly dryRun?: true;
  readonly json?: true;
}

/** Between two looks at a study. */
const lookMilliseconds = 300;
/** Between two questions to Slurm; longer after a failed one, up to a minute. */
const slurmMilliseconds = 5000;

/** The command of a worker, word by word. */
function workerCommand(folder: string, threads: number | undefined): readonly string[] {
  const bin = fileURLToPath(new URL('../../bin/vgg.js', import.meta.url));
  const own = threads === undefined ? [] : ['--threads', String(threads)];
  return [process.execPath, bin, 'tune', 'work', folder, ...own];
}

/**
 * Keeps `jobs` workers running on this machine until nothing is left to do, counting workers of an earlier command. A
 * worker that dies is replaced.
 * @throws VggError if workers die repeatedly, or if every trial failed.
 */
export async function launchHere(
  folder: StudyFolder,
  { jobs, json, threads = Math.max(1, Math.floor(availableParallelism() / jobs)) }: LaunchOptions,
  interruption: Interruption,
): Promise<void> {
  const { trials } = folder.settings;
  if (!json) note(`Study: ${folder.folder}, ${trials} trials, ${jobs} at a time, ${threads} threads each`);
  interruption.stopsItself = true;
  interruption.graceMilliseconds = 60_000;
  interruption.kept = `All results so far are in ${folder.folder}; vgg tune --study ${shellWord(folder.folder)} continues.`;
  continueWithoutOutput(`The search continues, and ${folder.folder} keeps its results.`);
  await removeStop(folder);
  makeFolder(folder.path('logs'));
  const [program, ...args] = workerCommand(folder.folder, threads);
  const log = join(folder.path('logs'), `workers-${process.pid}.log`);
  const output = openLog(log);
  const running = new Set<ChildProcess>();
  let nothingLeft = false;
  let deaths = 0;
  let failure: VggError | undefined;
  const start = (): void => {
    // In a process group of its own: a terminal's signal reaches it once, passed on from here.
    const child = spawn(program!, args, { stdio: ['ignore', output, output], detached: true });
    running.add(child);
    let unstarted: unknown;
    child.once('error', (error) => {
      unstarted = error;
    });
    child.once('close', (code) => {
      running.delete(child);
      if (unstarted !== undefined) failure ??= cannotRun(program!, unstarted);
      else if (code === 0) nothingLeft = true;
      else deaths++;
    });
  };
  const { signal } = interruption;
  const endWorkers = (): void => {
    for (const child of running) child.kill('SIGTERM');
  };
  signal.addEventListener('abort', endWorkers);
  // A second signal ends the workers as it ends this process: at once.
  process.once('exit', endWorkers);
  using study = await folder.open();
  const view = viewOf(folder, study, json === true);
  let trialsBefore = 0;
  for (;;) {
    const own = new Set([...running].map(({ pid }) => pid));
    const others = readWorkers(folder.path('workers')).filter(
      ({ worker, liveness }) => liveness === 'alive' && !own.has(Number(worker.split('+')[2])),
    );
    const isOver = nothingLeft || signal.aborted || isThere(folder.path('stop'));
    if (isOver && running.size === 0 && (signal.aborted || others.length === 0)) break;
    const ended = study.trials.filter(({ state }) => state === 'complete' || state === 'pruned').length;
    if (ended > trialsBefore) deaths = 0;
    trialsBefore = ended;
    if (failure || (!isOver && deaths > 2 * jobs)) {
      endWorkers();
      throw (
        failure ?? new VggError(`${deaths} workers in a row failed. ${await whyWorkersFail(folder, log)}`)
      );
    }
    for (let count = running.size + others.length; !isOver && count < jobs; count++) start();
    view.update();
    await sleep(lookMilliseconds);
  }
  view.update();
  signal.throwIfAborted();
  refuseAllFailed(folder, study);
}

/** Lets workers start again after `tune stop`. */
async function removeStop({ path }: StudyFolder): Promise<void> {
  const stop = path('stop');
  await rm(stop, { force: true }).catch((error: unknown) => {
    throw cannotWrite(stop, error);
  });
}

/** Opens the file that the workers' output is appended to. */
function openLog(path: string): number {
  try {
    return openRegularSync(path, constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT);
  } catch (error) {
    throw cannotWrite(path, error);
  }
}

/** Bytes that are read of the end of a log. */
const mostLog = 65_536;

/** A disk that is full has no room for the workers' own messages, so it is asked first. */
async function whyWorkersFail({ path }: StudyFolder, log: string): Promise<string> {
  const probe = join(path('logs'), 'probe');
  try {
    await writeWhole(probe, 'x'.repeat(4096));
    await rm(probe, { force: true });
  } catch (error) {
    if (!(error instanceof VggError)) throw error;
    return `${error.message}. Their trials wait and run again once it can be written`;
  }
  const tail = readTailSync(log, mostLog).trimEnd().split('\n').slice(-5).join('\n');
  return `The last lines of ${log}:\n${tail}`;
}

/** @throws VggError if all trials of a study have failed and nobody works on it. */
function refuseAllFailed({ folder, path }: StudyFolder, study: Study): void {
  const failed = allFailed(study.trials);
  // A study that was stopped may have had better trials to come.
  if (failed === undefined || isThere(path('stop'))) return;
  const { count, reason } = failed;
  throw new VggError(
    `${count === 1 ? 'the only trial' : `all ${count} trials`} failed${reason === undefined ? '' : `: ${reason}`}. ` +
      `After a change, vgg tune --study ${shellWord(folder)} --retry-failed runs them again`,
  );
}

/** Workers that certainly or probably still run. */
const working = (folder: StudyFolder): readonly WorkerSign[] =>
  readWorkers(folder.path('workers')).filter(
    ({ liveness, age }) => liveness === 'alive' || (liveness === 'unknown' && age < silentSeconds),
  );

/**
 * Follows a study until no worker runs and no job is queued. While Slurm does not answer, that is unknown, and the
 * study is followed further.
 * @throws VggError if every trial failed; SlurmMissing if a job was submitted and this machine has no Slurm.
 */
export async function watchStudy(
  folder: StudyFolder,
  json: boolean,
  interruption: Interruption,
): Promise<void> {
  interruption.kept = 'The study continues without its watcher.';
  using study = await folder.open();
  const view = viewOf(folder, study, json);
  let wait = 0;
  let next = 0;
  for (;;) {
    view.update();
    if (working(folder).length === 0 && performance.now() >= next) {
      try {
        const record = await readJobRecord(folder);
        // A study that was never submitted asks nobody.
        const tasks = record === undefined ? [] : await queuedTasks(folder, record);
        // A task may have begun, or ended, while Slurm was asked.
        if (tasks.length === 0 && working(folder).length === 0) break;
        wait = slurmMilliseconds;
      } catch (error) {
        if (!(error instanceof SlurmError)) throw error;
        wait = Math.min(Math.max(1000, 2 * wait), 60_000);
        note(`${error.message}, so it is unknown whether a job is queued; asking again in ${wait / 1000} s.`);
      }
      next = performance.now() + wait;
    }
    await sleep(lookMilliseconds);
  }
  view.update();
  refuseAllFailed(folder, study);
}

export interface Stopped {
  /** How many workers were running. */
  readonly workers: number;
  /** How many of them had not ended after 90 seconds. */
  readonly left: number;
  readonly jobs: Cancellation;
}

/**
 * Asks all workers to end and waits for them, then cancels the study's Slurm job.
 * @throws VggError if it is unknown whether a job is queued, or if a job could not be canceled.
 */
export async function stopStudy(folder: StudyFolder): Promise<Stopped> {
  await writeWhole(folder.path('stop'), '');
  const workers = working(folder).length;
  for (let waited = 0; working(folder).length > 0 && waited < 90_000; waited += lookMilliseconds)
    await sleep(lookMilliseconds);
  try {
    return { workers, left: working(folder).length, jobs: await cancelJobs(folder) };
  } catch (error) {
    if (!(error instanceof VggError)) throw error;
    throw new VggError(
      `the workers were told to end, but a Slurm job of this study may still be queued: ${error.message}. ` +
        `Run vgg tune stop ${shellWord(folder.folder)} again later`,
      { cause: error },
    );
  }
}

/** A file name in an `#SBATCH` line: in its own kind of quotes, and with `%` doubled, which else begins a variable. */
const sbatchQuoted = (path: string): string => `"${path.replaceAll('%', '%%').replaceAll('"', '\\"')}"`;

/**
 * The job array's script: one worker for each task.
 * @throws UsageError for a folder or options that cannot be written into it.
 */
export function slurmScript(
  { folder }: Pick<StudyFolder, 'folder'>,
  { jobs, slurm = '', threads, adapter }: LaunchOptions,
): string {
  const wrong = /[\\\p{Cc}]/u.exec(folder)?.[0];
  if (wrong !== undefined) {
    throw new UsageError(
      `the study's folder ${JSON.stringify(folder)} contains ${wrong === '\\' ? 'a backslash' : 'a control character'}, ` +
        "which Slurm's log paths cannot contain; choose another --study, or --launcher local",
    );
  }
  const reserved = /(?<!\S)(?:--(?:job-name|array)(?![\w-])|-[Ja])/.exec(slurm)?.[0];
  if (reserved !== undefined) {
    throw new UsageError(
      `--slurm cannot set ${reserved}: vgg tune finds a study's jobs by their name, and --jobs sets the size of the array`,
    );
  }
  return [
    '#!/bin/bash',
    `#SBATCH --job-name=${jobName({ folder })}`,
    `#SBATCH --array=0-${jobs - 1}`,
    `#SBATCH --output=${sbatchQuoted(`${folder}/slurm-`)}%A-%a.log`,
    '#SBATCH --open-mode=append',
    '# One minute before its time limit a task receives USR1: its worker writes a checkpoint, then the task is requeued.',
    '# Before a preemption it receives TERM: the worker does the same, and Slurm requeues the task.',
    '#SBATCH --requeue',
    '#SBATCH --signal=B:USR1@60',
    ...slurm
      .split('\n')
      .filter((line) => line.trim() !== '')
      .map((line) => `#SBATCH ${line.trim()}`),
    '# SLURM_JOB_ID alone may name the whole array.',
    `task="\${SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}\${SLURM_ARRAY_TASK_ID:+_$SLURM_ARRAY_TASK_ID}"`,
    "trap 'near_limit=1; kill -TERM $worker' USR1",
    "trap 'kill -TERM $worker' TERM",
    ...(adapter === undefined ? [] : [`export VGGNET_ADAPTER=${shellWord(adapter)}`]),
    `${workerCommand(folder, threads).map(shellWord).join(' ')} &`,
    'worker=$!',
    '# A signal ends a wait before the worker has ended.',
    'until wait $worker; code=$?; ! kill -0 $worker 2>/dev/null; do :; done',
    'if [ -n "$near_limit" ] && [ $code -ne 0 ]; then',
    '  for pause in 1 2 4 8 0; do scontrol requeue "$task" && break; sleep $pause; done',
    'fi',
    'exit $code',
    '',
  ].join('\n');
}

/** What was submitted, and to which study. */
export interface Submitted {
  readonly folder: StudyFolder;
  readonly job: string;
}

/**
 * Writes the study and submits its job array. If Slurm rejects the job, the study stays as it was before. With
 * `dryRun` the script is printed and nothing is written.
 * @throws UsageError if Slurm rejects the job or already has one, VggError if it does not answer.
 */
export async function launchOnSlurm(
  plan: PlannedStudy,
  options: LaunchOptions,
  prepare: (folder: StudyFolder) => Promise<void>,
): Promise<void> {
  const { jobs, slurm = '', device = 'auto', dryRun, json } = options;
  const { folder } = plan;
  if (/--gres\S*gpu|--gpus/.test(slurm) && devices[device] !== 'gpu') {
    note(
      `--slurm asks for a GPU, but trials compute on the CPU and leave it idle; --device ${gpuDevices.join(' or ')} uses it.`,
    );
  }
  const script = slurmScript(plan, options);
  if (dryRun) return printVerbatim(script.trimEnd());
  const job = await submitStudy(plan, script, prepare);
  if (json) return printJson({ event: 'submitted', job, study: folder });
  const place = shellWord(folder);
  print(`Submitted job ${job} with ${counted(jobs, 'task')}. Follow, stop or continue the study:`);
  print(`  vgg tune watch ${place}`);
  print(`  vgg tune stop ${place}`);
  print(`  vgg tune --study ${place} --launcher slurm --jobs ${jobs}`);
}

async function submitStudy(
  plan: PlannedStudy,
  script: string,
  prepare: (folder: StudyFolder) => Promise<void>,
): Promise<string> {
  try {
    const record = await readJobRecord(plan);
    const earlier = jobsOf(await patiently(() => queuedTasks(plan, record)));
    if (earlier.length > 0) {
      const place = shellWord(plan.folder);
      throw new UsageError(
        `job ${earlier.join(', ')} already works on this study; follow it with vgg tune watch ${place}, or end it with vgg tune stop ${place}`,
      );
    }
    try {
      const folder = await plan.write();
      await prepare(folder);
      await removeStop(folder);
      return await submit(folder, script);
    } catch (error) {
      // If Slurm may have the job, its tasks need the study.
      if (!(error instanceof SubmissionUnknown)) await plan.undo();
      throw error;
    }
  } catch (error) {
    if (error instanceof SlurmMissing) {
      throw new UsageError(`--launcher slurm: ${error.message}; --launcher local runs the trials here`);
    }
    if (error instanceof SlurmError) {
      throw new VggError(
        `${error.message}, so it is unknown whether a job already works on this study; nothing was submitted. Try again later`,
      );
    }
    throw error;
  }
}
