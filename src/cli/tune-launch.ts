/**
 * Who works on a study: child processes here, or a Slurm job array. Workers do not need the one that started them: it
 * may be killed, and started again finds those that still run.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { constants, existsSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { crc32 } from 'node:zlib';
import * as z from 'zod';
import { UsageError, VggError } from '../errors.ts';
import {
  cannotRun,
  cannotWrite,
  openRegularSync,
  readTailSync,
  writeJson,
  writeWhole,
} from '../files/files.ts';
import { silentSeconds } from '../files/liveness.ts';
import { makeFolder } from '../files/make-folder.ts';
import { parseConfig } from '../train/config.ts';
import type { StudyFolder } from '../tune/folder.ts';
import { readWorkers } from '../tune/heartbeat.ts';
import type { Interruption } from './interrupt.ts';
import { continueWithoutOutput, note, print, printJson } from './output.ts';
import { viewOf } from './tune-progress.ts';

export interface LaunchOptions {
  readonly jobs: number;
  readonly threads?: number;
  readonly slurm?: string;
  readonly dryRun?: true;
  readonly json?: true;
}

/** Between two looks at a study. */
const lookMilliseconds = 300;

/** The words that start a worker. */
function workerCommand(folder: StudyFolder, threads: number | undefined): readonly string[] {
  const bin = fileURLToPath(new URL('../../bin/vgg.js', import.meta.url));
  const own = threads === undefined ? [] : ['--threads', String(threads)];
  return [process.execPath, bin, 'tune', 'work', folder.folder, ...own];
}

/**
 * Keeps `jobs` workers on this machine until nothing is left, those of an earlier driver counted. One that dies is
 * replaced. @throws VggError where they die again and again.
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
  interruption.kept = `What was tried is in ${folder.folder}; vgg tune --study ${folder.folder} goes on.`;
  continueWithoutOutput(`The search continues, and ${folder.folder} keeps its results.`);
  await removeStop(folder);
  makeFolder(folder.path('logs'));
  const [program, ...args] = workerCommand(folder, threads);
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
    const isOver = nothingLeft || signal.aborted || existsSync(folder.path('stop'));
    if (isOver && running.size === 0 && (signal.aborted || others.length === 0)) break;
    const ended = study.trials.filter(({ state }) => state === 'complete' || state === 'pruned').length;
    if (ended > trialsBefore) deaths = 0;
    trialsBefore = ended;
    if (failure || (!isOver && deaths > 2 * jobs)) {
      for (const child of running) child.kill('SIGTERM');
      if (failure) throw failure;
      throw new VggError(`the workers end before their time, see ${log}:\n${tailOf(log)}`);
    }
    for (let count = running.size + others.length; !isOver && count < jobs; count++) start();
    view.update();
    await sleep(lookMilliseconds);
  }
  view.update();
  signal.throwIfAborted();
}

/** Lets workers begin again after `tune stop`. */
async function removeStop(folder: StudyFolder): Promise<void> {
  const stop = folder.path('stop');
  await rm(stop, { force: true }).catch((error: unknown) => {
    throw cannotWrite(stop, error);
  });
}

/** Opens what the workers' output is appended to. */
function openLog(path: string): number {
  try {
    return openRegularSync(path, constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT);
  } catch (error) {
    throw cannotWrite(path, error);
  }
}

const tailOf = (path: string): string =>
  readTailSync(path, mostLog).trimEnd().split('\n').slice(-5).join('\n');

/** Bytes of a log or of a small file. */
const mostLog = 65_536;

/** Follows a study until nobody works on it any more. */
export async function watchStudy(
  folder: StudyFolder,
  json: boolean,
  interruption: Interruption,
): Promise<void> {
  interruption.kept = 'The study goes on without its watcher.';
  using study = await folder.open();
  const view = viewOf(folder, study, json);
  for (;;) {
    view.update();
    const signs = readWorkers(folder.path('workers')).filter(
      ({ liveness, age }) => liveness === 'alive' || (liveness === 'unknown' && age < silentSeconds),
    );
    if (signs.length === 0 && (await queuedJobs(folder)).length === 0) return view.update();
    await sleep(lookMilliseconds);
  }
}

/** Asks all workers to end, and Slurm to forget their job; waits until they have. */
export async function stopStudy(
  folder: StudyFolder,
): Promise<{ readonly workers: number; readonly jobs?: readonly string[] }> {
  const working = (): number =>
    readWorkers(folder.path('workers')).filter(
      ({ liveness, age }) => liveness === 'alive' || (liveness === 'unknown' && age < silentSeconds),
    ).length;
  await writeWhole(folder.path('stop'), '');
  const workers = working();
  for (let waited = 0; working() > 0 && waited < 90_000; waited += lookMilliseconds)
    await sleep(lookMilliseconds);
  const jobs = await queuedJobs(folder);
  if (jobs.length > 0) await run('scancel', jobs);
  return { workers, ...(jobs.length > 0 && { jobs }) };
}

/** The name of a study's jobs: they are found by it also where a driver was killed before it wrote their number down. */
const jobName = (folder: StudyFolder): string => `vgg-tune-${crc32(folder.folder).toString(16)}`;

/** Jobs that Slurm still has tasks of, by `squeue` alone: accounting is not needed. */
async function queuedJobs(folder: StudyFolder): Promise<readonly string[]> {
  const recorded = recordedJob(folder);
  const looks = [['-n', jobName(folder)], ...(recorded === undefined ? [] : [['-j', recorded]])];
  const found = await Promise.all(looks.map((look) => run('squeue', ['-h', '-o', '%F', ...look])));
  return [...new Set(found.flatMap(({ code, output }) => (code === 0 ? output.split(/\s+/) : [])))].filter(
    Boolean,
  );
}

/** The job that was submitted last. */
function recordedJob(folder: StudyFolder): string | undefined {
  try {
    const text = readTailSync(folder.path('slurm'), mostLog);
    return z.object({ job: z.string() }).parse(JSON.parse(text)).job;
  } catch {
    return undefined;
  }
}

/** Runs a command of Slurm's. Where there is none, that is a code. */
async function run(
  command: string,
  args: readonly string[],
  input = '',
): Promise<{ readonly code: number | null; readonly output: string }> {
  const child = spawn(command, args, {
    stdio: ['pipe', 'pipe', command === 'sbatch' ? 'inherit' : 'ignore'],
  });
  let output = '';
  child.stdout.on('data', (text) => (output += text));
  child.stdin.on('error', () => undefined);
  child.stdin.end(input);
  const missing = once(child, 'error').then(() => [127]);
  const [code] = (await Promise.race([once(child, 'close'), missing])) as [number | null];
  return { code, output };
}

/** The job array's script: one worker a task. */
export function slurmScript(folder: StudyFolder, { jobs, slurm = '', threads }: LaunchOptions): string {
  const quoted = workerCommand(folder, threads).map((word) => `'${word.replaceAll("'", "'\\''")}'`);
  return [
    '#!/bin/bash',
    `#SBATCH --job-name=${jobName(folder)}`,
    `#SBATCH --array=0-${jobs - 1}`,
    `#SBATCH --output=${folder.folder}/slurm-%A-%a.log`,
    '#SBATCH --open-mode=append',
    '# A minute before its time limit a task is told (USR1): its worker writes a checkpoint, and it queues itself again.',
    '# Preempted (TERM), the worker does the same, and Slurm queues the task again.',
    '#SBATCH --requeue',
    '#SBATCH --signal=B:USR1@60',
    ...(slurm.trim() === '' ? [] : [`#SBATCH ${slurm.trim()}`]),
    "trap 'near_limit=1; kill -TERM $worker' USR1",
    "trap 'kill -TERM $worker' TERM",
    `${quoted.join(' ')} &`,
    'worker=$!',
    '# A signal ends a wait before the worker has ended.',
    'until wait $worker; code=$?; ! kill -0 $worker 2>/dev/null; do :; done',
    '[ -n "$near_limit" ] && [ $code -ne 0 ] && scontrol requeue "$SLURM_JOB_ID"',
    'exit $code',
    '',
  ].join('\n');
}

/** Submits the job array, and ends. */
export async function launchOnSlurm(folder: StudyFolder, options: LaunchOptions): Promise<void> {
  const { jobs, slurm = '', dryRun, json } = options;
  if (/--gres\S*gpu|--gpus/.test(slurm)) {
    note(`--slurm asks for a GPU, which the device of these trials (${deviceOf(folder)}) leaves idle.`);
  }
  const script = slurmScript(folder, options);
  if (dryRun) return print(script.trimEnd());
  const earlier = await queuedJobs(folder);
  if (earlier.length > 0) {
    throw new UsageError(
      `job ${earlier.join(', ')} works on this study already; vgg tune watch ${folder.folder} follows it, vgg tune stop ends it`,
    );
  }
  await removeStop(folder);
  const { code, output } = await run('sbatch', ['--parsable'], script);
  if (code === 127) {
    throw new UsageError('--launcher slurm needs sbatch on the path; --launcher local runs the trials here');
  }
  if (code !== 0) throw new UsageError(`sbatch refused the job (exit code ${code}); see its message above`);
  const job = output.trim().split(';')[0]!;
  await writeJson(folder.path('slurm'), { job });
  if (json) return printJson({ event: 'submitted', job, study: folder.folder });
  print(`Job ${job}: ${jobs} tasks. vgg tune watch ${folder.folder} follows them, vgg tune stop ends them,`);
  print(`and vgg tune --study ${folder.folder} --launcher slurm --jobs ${jobs} goes on.`);
}

const deviceOf = (folder: StudyFolder): string => parseConfig(folder.space.fixed, 'the space').device;
