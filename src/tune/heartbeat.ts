/**
 * Heartbeats of a study's workers: one file for each worker in `STUDY/workers/`, rewritten every few seconds. In the
 * journal they would make it grow. `files/liveness.ts` defines when a worker is gone. Needs Node.
 */
import { readdirSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as z from 'zod';
import { UsageError } from '../errors.ts';
import { cannotRead, cannotWrite, isMissing, leadsNowhere, readTailSync } from '../files/files.ts';
import {
  beatSeconds,
  type Liveness,
  livenessOf,
  processIdentity,
  serverTime,
  silentSeconds,
} from '../files/liveness.ts';
import { makeFolder } from '../files/make-folder.ts';
import { checkOptions, longestTimer } from '../options.ts';
import { checkPath } from '../paths.ts';

export interface HeartbeatOptions {
  /** Seconds between two heartbeats; `beatSeconds` by default. */
  readonly interval?: number;
  /** JSON for other processes, such as the number of a Slurm job. */
  readonly facts?: Readonly<Record<string, unknown>>;
}

/** Beats until it is stopped or its process ends. */
export interface Heartbeat extends Disposable {
  /** The worker's name: the study's option `worker`. */
  readonly worker: string;
  stop(): void;
}

/** What a worker's file says. */
export interface WorkerSign {
  readonly worker: string;
  /** Seconds since its last heartbeat. */
  readonly age: number;
  readonly liveness: Liveness;
  readonly facts: Readonly<Record<string, unknown>>;
}

const ending = '.json';
const contents = z.object({ process: z.string(), facts: z.record(z.string(), z.unknown()) });
/** Bytes that are read of a file. */
const mostBytes = 65_536;
let count = 0;

/** Writes the first heartbeat before it returns. @throws VggError if it cannot be written. */
export function startHeartbeat(folder: string, options: HeartbeatOptions = {}): Heartbeat {
  checkPath('startHeartbeat: the folder', folder);
  checkOptions<HeartbeatOptions>('startHeartbeat', options, { interval: 'optional', facts: 'optional' });
  const { interval = beatSeconds, facts = {} } = options;
  if (!(interval > 0 && interval <= longestTimer)) {
    throw new UsageError(
      `startHeartbeat: interval ${interval} is not a number of seconds above 0 and at most ${longestTimer}`,
    );
  }
  const process = processIdentity();
  const worker = `${process}+${count++}`;
  const path = join(folder, `${worker}${ending}`);
  const sign = (): void => {
    makeFolder(folder);
    try {
      writeFileSync(`${path}.part`, JSON.stringify({ process, facts }));
      renameSync(`${path}.part`, path);
    } catch (error) {
      throw cannotWrite(path, error);
    }
  };
  sign();
  const timer = setInterval(() => {
    try {
      sign();
    } catch {
      // A full disk or an unreachable server: the next heartbeat may succeed, and others see the age of this one.
    }
  }, interval * 1000).unref();
  const stop = (): void => {
    clearInterval(timer);
    try {
      rmSync(path, { force: true });
    } catch {
      // A read-only disk, for instance. Others see that the process has ended.
    }
  };
  return { worker, stop, [Symbol.dispose]: stop };
}

/**
 * All workers whose heartbeat was not stopped. Other files are ignored.
 * @throws DataError if a heartbeat cannot be read: its worker may be alive.
 */
export function readWorkers(folder: string): readonly WorkerSign[] {
  const signs: WorkerSign[] = [];
  const now = serverTime(folder);
  for (const name of namesIn(folder)) {
    if (!name.endsWith(ending)) continue;
    const path = join(folder, name);
    let text: string;
    let mtimeMs: number;
    try {
      const stats = statSync(path);
      // Not a heartbeat.
      if (!stats.isFile()) continue;
      ({ mtimeMs } = stats);
      text = readTailSync(path, mostBytes);
    } catch (error) {
      // Stopped meanwhile, or not a heartbeat.
      if (isMissing(error) || leadsNowhere(error)) continue;
      throw cannotRead(path, error);
    }
    const sign = parseSign(text);
    if (sign === undefined) continue;
    const worker = name.slice(0, -ending.length);
    const age = Math.max(now - mtimeMs, 0) / 1000;
    signs.push({ worker, age, liveness: livenessOf(sign.process), facts: sign.facts });
  }
  return signs;
}

/** Undefined if the file is not a heartbeat. */
function parseSign(text: string): z.infer<typeof contents> | undefined {
  try {
    return contents.parse(JSON.parse(text));
  } catch {
    return undefined;
  }
}

/** Returns the heartbeat of a worker; undefined if it has no file. */
function signReader(folder: string): (worker: string) => WorkerSign | undefined {
  const read = (): Map<string, WorkerSign> => new Map(readWorkers(folder).map((sign) => [sign.worker, sign]));
  let signs = read();
  return (worker) => {
    // A worker that started after the first look has a file by now: it writes one before it asks for a trial.
    if (!signs.has(worker)) signs = read();
    return signs.get(worker);
  };
}

/**
 * Which workers are gone, for `study.failTrialsOf`: those whose process is known to have ended; those that cannot be
 * checked from here and had no heartbeat for `afterSeconds` (`silentSeconds` by default); those without a file.
 */
export function goneWorkers(
  folder: string,
  afterSeconds: number = silentSeconds,
): (worker: string) => boolean {
  const signOf = signReader(checkPath('goneWorkers: the folder', folder));
  return (worker) => {
    const sign = signOf(worker);
    if (sign === undefined || sign.liveness === 'dead') return true;
    return sign.liveness === 'unknown' && sign.age > afterSeconds;
  };
}

/**
 * Which workers ended normally, for `study.giveBackTrialsOf`: those that removed their file. If a trial of theirs is still
 * running, they could not write its result. A worker that was killed leaves its file.
 */
export function leftWorkers(folder: string): (worker: string) => boolean {
  const signOf = signReader(checkPath('leftWorkers: the folder', folder));
  return (worker) => signOf(worker) === undefined;
}

/** Removes the files of workers that are gone. */
export function clearGoneWorkers(folder: string, afterSeconds: number = silentSeconds): void {
  const isGone = goneWorkers(folder, afterSeconds);
  for (const { worker } of readWorkers(folder)) {
    if (isGone(worker)) rmSync(join(folder, `${worker}${ending}`), { force: true });
  }
}

function namesIn(folder: string): readonly string[] {
  try {
    return readdirSync(folder);
  } catch (error) {
    // No worker has started yet. Any other error says nothing about workers.
    if (isMissing(error)) return [];
    throw cannotRead(folder, error);
  }
}
