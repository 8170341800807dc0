/**
 * The Slurm commands that the launcher needs (Node only): submit a study's job array, find its jobs, cancel them.
 *
 * Invariants: no command goes through a shell, and each has a time limit. A query that fails throws; it never yields an
 * empty list. `slurm.json` is not trusted: a job is canceled only if Slurm confirms everything that the file says.
 */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { userInfo } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import * as z from 'zod';
import { UsageError, VggError } from '../errors.ts';
import { cannotRun, isMissing, isThere, readChecked, writeJson } from '../files/files.ts';
import type { StudyFolder } from '../tune/folder.ts';
import { note } from './output.ts';

/** Slurm did not answer, or not in a form that we understand: nothing is known. */
export class SlurmError extends VggError {
  override name = 'SlurmError';
}

/** The command is not installed. */
export class SlurmMissing extends VggError {
  override name = 'SlurmMissing';
}

/** Whether a job was submitted is unknown, so the study must stay. */
export class SubmissionUnknown extends VggError {
  override name = 'SubmissionUnknown';
}

type Place = Pick<StudyFolder, 'folder' | 'path'>;

/** `slurm.json`: written without a job before `sbatch`, completed after it. */
export interface JobRecord {
  /** Of the array. */
  readonly job?: string | undefined;
  readonly name?: string | undefined;
  readonly user?: string | undefined;
  readonly cluster?: string | undefined;
  /** UTC, by the controller's clock. */
  readonly submitted?: string | undefined;
  /** Whether the cluster is another one than this machine's, named with --clusters. */
  readonly elsewhere?: boolean | undefined;
}

/** A task, or several pending ones, as `squeue` shows them. */
export interface QueuedTask {
  /** Of the array. */
  readonly job: string;
  readonly name: string;
  readonly user: string;
  readonly cluster: string;
  /** UTC. */
  readonly submitted: string;
  /** How often Slurm queued it again, which renews its time of submission. */
  readonly restarts: number;
}

const word = z.string().regex(/^[\w.@+-]{0,200}$/);
const recordSchema: z.ZodType<JobRecord> = z.object({
  job: z
    .string()
    .regex(/^\d{1,10}$/)
    .optional(),
  name: word.optional(),
  user: word.optional(),
  cluster: word.optional(),
  submitted: z
    .string()
    .regex(/^[\dT:-]{19}$/)
    .optional(),
  elsewhere: z.boolean().optional(),
});

/** Undefined if the study was never submitted. @throws DataError if the file is damaged. */
export async function readJobRecord({ path }: Place): Promise<JobRecord | undefined> {
  return isThere(path('slurm')) ? readChecked(path('slurm'), recordSchema) : undefined;
}

/** The name of a study's jobs, which finds them even if their number was not written down. */
export const jobName = ({ folder }: Pick<StudyFolder, 'folder'>): string =>
  `vgg-tune-${createHash('sha256').update(folder).digest('hex').slice(0, 12)}`;

interface Answer {
  /** Null if a signal ended it. */
  readonly code: number | null;
  /** `exit code 1`, `SIGKILL`. */
  readonly ending: string;
  readonly output: string;
  /** What it printed on standard error. */
  readonly message: string;
}

/** Seconds that each command may take; `sbatch` waits while the controller is busy. */
const limits = { squeue: 30, sbatch: 120, scancel: 60 } as const;
/** Characters that a command may print; a line of `squeue` has about 100. */
const mostOutput = 16 << 20;

/** Environment variables that would hide jobs, ask questions, or change names and time formats. */
const disturbing = /^(?:SQUEUE_|SCANCEL_|SLURM_TIME_FORMAT$|SBATCH_JOB_NAME$|SBATCH_ARRAY_INX$)/;

/** @throws SlurmMissing if the command is not installed, SlurmError if it does not start or end. */
export function runSlurm(
  command: keyof typeof limits,
  args: readonly string[],
  { input = '', seconds = limits[command] }: { readonly input?: string; readonly seconds?: number } = {},
): Promise<Answer> {
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !disturbing.test(name)));
  // Times are compared, perhaps on machines in other time zones. `sbatch` keeps the zone, for options such as --begin.
  if (command === 'squeue') env.TZ = 'UTC';
  return new Promise((resolve, reject) => {
    const fail = (error: unknown): void =>
      reject(
        isMissing(error)
          ? new SlurmMissing(`${command} is not installed on this machine, or is not on the PATH`)
          : new SlurmError(cannotRun(command, error).message),
      );
    // In its own process group: a site's wrapper script ends with everything that it started.
    const child = spawn(command, args, { stdio: 'pipe', env, detached: true });
    const abandon = (problem: string): void => {
      clearTimeout(timer);
      try {
        process.kill(-child.pid!, 'SIGKILL');
      } catch {
        // It ended just now.
      }
      reject(new SlurmError(`${command} ${problem}`));
    };
    const timer = setTimeout(abandon, seconds * 1000, `did not answer within ${seconds} s`);
    let output = '';
    let message = '';
    const bounded = (text: string): string => {
      if (text.length <= mostOutput) return text;
      abandon('printed more than a list of jobs');
      return '';
    };
    child.stdout?.setEncoding('utf8').on('data', (text: string) => (output = bounded(output + text)));
    child.stderr?.setEncoding('utf8').on('data', (text: string) => (message = bounded(message + text)));
    child.stdin?.on('error', () => undefined).end(input);
    child.once('error', (error) => {
      clearTimeout(timer);
      fail(error);
    });
    child.once('close', (code, signal) => {
      clearTimeout(timer);
      resolve({ code, ending: signal ?? `exit code ${code}`, output, message: message.trim() });
    });
  });
}

const columns = ['ArrayJobID', 'UserName', 'SubmitTime', 'RestartCnt', 'cluster', 'Name'];
const taskLine = /^(\d+)\|([^|]*)\|([^|]*)\|(\d+)\|([^|]*)\|(.*)\|$/;

/** What `squeue` lists for a name or a job. @throws SlurmError if this is unknown. */
async function queued(
  by: readonly ['-n' | '-j', string],
  elsewhere?: string,
): Promise<readonly QueuedTask[]> {
  const { code, ending, output, message } = await runSlurm('squeue', [
    ...(elsewhere === undefined ? [] : ['-M', elsewhere]),
    '-h',
    ...by,
    '-O',
    columns.map((column) => `${column}:|`).join(','),
  ]);
  if (code !== 0) {
    // This is how `squeue` says that the job has ended.
    if (by[0] === '-j' && /invalid job id/i.test(message)) return [];
    throw new SlurmError(`squeue failed (${firstLine(message) || ending})`);
  }
  return output
    .split('\n')
    .filter((line) => line.trim() !== '' && !line.startsWith('CLUSTER:'))
    .map((line) => {
      const [, job, user, submitted, restarts, cluster, name] = taskLine.exec(line.trimEnd()) ?? [];
      if (job === undefined)
        throw new SlurmError(`squeue printed a line of unknown form (${line.slice(0, 80)})`);
      return {
        job,
        user: user!,
        submitted: submitted!,
        restarts: Number(restarts),
        cluster: cluster!,
        name: name!,
      };
    });
}

const firstLine = (text: string): string => text.split('\n', 1)[0]!;

const elsewhereOf = (record: JobRecord | undefined): string | undefined =>
  record?.elsewhere ? record.cluster : undefined;

/** The tasks of a study that Slurm still has, whoever submitted them. @throws SlurmError if this is unknown. */
export const queuedTasks = (folder: Place, record: JobRecord | undefined): Promise<readonly QueuedTask[]> =>
  queued(['-n', jobName(folder)], elsewhereOf(record));

/** Seconds between two tries of a query. */
const waits: readonly number[] = [1, 2, 4, 8, 15];

/** Asks again while Slurm does not answer, and says so. @throws SlurmError if it never answers. */
export async function patiently<T>(ask: () => Promise<T>, pauses: readonly number[] = waits): Promise<T> {
  for (const seconds of pauses) {
    try {
      return await ask();
    } catch (error) {
      if (!(error instanceof SlurmError)) throw error;
      note(`${error.message}; trying again in ${seconds} s.`);
      await sleep(seconds * 1000);
    }
  }
  return ask();
}

/** Numbers of jobs, each once. */
export const jobsOf = (tasks: readonly QueuedTask[]): readonly string[] => [
  ...new Set(tasks.map(({ job }) => job)),
];

const me = (): string => {
  try {
    return userInfo().username;
  } catch {
    // An account without a name; Slurm then shows its number.
    return String(process.getuid?.() ?? '');
  }
};

/**
 * Submits the job array. `slurm.json` is written before and after, so that the study always knows of its job.
 * @throws SubmissionUnknown if Slurm may have accepted the job; any other error means that it did not.
 */
export async function submit(folder: Place, script: string): Promise<string> {
  const name = jobName(folder);
  const intent: JobRecord = { name, user: me() };
  await writeJson(folder.path('slurm'), intent);
  const { job, elsewhere } = await callSbatch(folder, script);
  const recorded: JobRecord = {
    ...intent,
    job,
    ...(elsewhere !== undefined && { cluster: elsewhere, elsewhere: true }),
  };
  // The job exists: from here on, nothing may fail.
  try {
    const tasks = await patiently(() => queuedTasks(folder, recorded));
    const own = tasks.find((task) => task.job === job);
    await writeJson(folder.path('slurm'), {
      ...recorded,
      ...(own && { cluster: elsewhere ?? own.cluster, submitted: own.submitted }),
    });
  } catch (error) {
    if (!(error instanceof VggError)) throw error;
    note(
      `${error.message}. So vgg tune stop cannot tell whether job ${job} is this study's; scancel ${job} cancels it.`,
    );
  }
  return job;
}

async function callSbatch(
  folder: Place,
  script: string,
): Promise<{ readonly job: string; readonly elsewhere?: string | undefined }> {
  const problem = await (async () => {
    try {
      const { code, ending, output, message } = await runSlurm('sbatch', ['--parsable'], { input: script });
      if (message !== '' && code === 0) note(message);
      if (code === null) return `sbatch was ended by ${ending}`;
      if (code !== 0 && !noConnection.test(message)) {
        throw new UsageError(`sbatch rejected the job: ${message || ending}`);
      }
      // `--parsable` prints NUMBER or NUMBER;CLUSTER; a site's wrapper may print more before it.
      const [, job, elsewhere] = /^(\d{1,10})(?:;([\w.-]+))?$/.exec(output.trim().split('\n').at(-1)!) ?? [];
      if (code === 0 && job !== undefined) return { job, elsewhere };
      return code === 0 ? `sbatch printed no job number (${firstLine(output).slice(0, 80)})` : message;
    } catch (error) {
      if (error instanceof SlurmError) return error.message;
      throw error;
    }
  })();
  if (typeof problem !== 'string') return problem;
  const name = jobName(folder);
  try {
    const [task] = await patiently(() => queuedTasks(folder, undefined));
    if (task !== undefined) return { job: task.job };
  } catch (error) {
    if (!(error instanceof SlurmError)) throw error;
    // Nor is that known; see below.
  }
  throw new SubmissionUnknown(
    `${problem}: whether Slurm has the job is unknown. Look with squeue -n ${name} before you submit it again`,
  );
}

/** Errors after which Slurm may have the job. */
const noConnection = /time(?:d|[ -])? ?out|connect|contact|communicat/i;

/** What became of a study's jobs: canceled, or left alone and why. */
export interface Cancellation {
  readonly canceled: readonly string[];
  readonly kept: readonly { readonly job: string; readonly reason: string }[];
}

/** Cancels the study's job if everything that `slurm.json` says of it is true. @throws SlurmError, SlurmMissing. */
export async function cancelJobs(folder: Place, pauses: readonly number[] = waits): Promise<Cancellation> {
  const record = await readJobRecord(folder);
  if (record === undefined) return { canceled: [], kept: [] };
  const elsewhere = elsewhereOf(record);
  const tasks = await patiently(async () => {
    const named = await queuedTasks(folder, record);
    const { job } = record;
    if (job === undefined || named.some((task) => task.job === job)) return named;
    return [...named, ...(await queued(['-j', job], elsewhere))];
  }, pauses);
  const canceled: string[] = [];
  const kept: { job: string; reason: string }[] = [];
  for (const job of jobsOf(tasks)) {
    const problem = tasks
      .filter((task) => task.job === job)
      .map((task) => mismatch(record, task, jobName(folder)))
      .find((one) => one !== undefined);
    if (problem === undefined) canceled.push(job);
    else kept.push({ job, reason: problem });
  }
  if (canceled.length > 0) {
    const { code, ending, message } = await runSlurm('scancel', [
      ...(elsewhere === undefined ? [] : ['-M', elsewhere]),
      ...canceled,
    ]);
    // `scancel` reports an error if a job has ended meanwhile; for us this is none.
    const left = code === 0 ? [] : jobsOf(await patiently(() => queuedTasks(folder, record), pauses));
    if (left.some((job) => canceled.includes(job))) {
      throw new SlurmError(
        `scancel failed (${firstLine(message) || ending}): job ${left.join(', ')} still runs`,
      );
    }
  }
  return { canceled, kept };
}

/** Why a queued task is not the recorded one; undefined if everything matches. */
function mismatch(record: JobRecord, task: QueuedTask, name: string): string | undefined {
  const { job, user, cluster, submitted } = record;
  if (task.name !== name) return `its name is ${task.name}, and this study's jobs are called ${name}`;
  if (record.name !== name) return 'slurm.json was written for another folder';
  if (job === undefined) return 'slurm.json does not record its number';
  if (task.job !== job) return `slurm.json records job ${job}`;
  if (task.user !== user || user !== me()) return `it belongs to ${task.user}`;
  if (cluster === undefined || submitted === undefined)
    return 'slurm.json does not record its cluster and submit time';
  if (task.cluster !== cluster && !record.elsewhere)
    return `it is on the cluster ${task.cluster}, not on ${cluster}`;
  const isSame = task.submitted === submitted || (task.restarts > 0 && task.submitted > submitted);
  return isSame
    ? undefined
    : `it was submitted at ${task.submitted}, and slurm.json records ${submitted} (UTC)`;
}
