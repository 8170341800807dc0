/**
 * Signs of life of a study's workers: one file for each in `STUDY/workers/`, written anew every few seconds. They stay
 * out of the journal, which would grow with them. Needs Node.
 *
 * Ages are differences of file times, and all of these come from the file server: clocks of machines that differ do
 * not matter.
 */
import { readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as z from 'zod';
import { UsageError } from '../errors.ts';
import { makeFolder } from '../files/make-folder.ts';
import { checkOptions, longestTimer } from '../options.ts';
import { type Liveness, livenessOf, processIdentity } from './process-identity.ts';

export interface HeartbeatOptions {
  /** Seconds between two signs; 10 by default. */
  readonly interval?: number;
  /** What others may want to know, as a Slurm job's number; JSON. */
  readonly facts?: Readonly<Record<string, unknown>>;
}

/** Gives signs until it is stopped or its process ends. */
export interface Heartbeat extends Disposable {
  /** The worker's name: the study's option `worker`. */
  readonly worker: string;
  stop(): void;
}

/** A worker as its file tells it. */
export interface WorkerSign {
  readonly worker: string;
  /** Seconds since its last sign. */
  readonly age: number;
  readonly liveness: Liveness;
  readonly facts: Readonly<Record<string, unknown>>;
}

const ending = '.json';
const contents = z.object({ process: z.string(), facts: z.record(z.string(), z.unknown()) });
let count = 0;

/** The first sign is given before this returns. */
export function startHeartbeat(folder: string, options: HeartbeatOptions = {}): Heartbeat {
  checkOptions<HeartbeatOptions>('startHeartbeat', options, { interval: 'optional', facts: 'optional' });
  const { interval = 10, facts = {} } = options;
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
    writeFileSync(`${path}.part`, JSON.stringify({ process, facts }));
    renameSync(`${path}.part`, path);
  };
  sign();
  const timer = setInterval(() => {
    try {
      sign();
    } catch {
      // A full disk or a server that is away: the next sign may succeed, and the age tells.
    }
  }, interval * 1000).unref();
  const stop = (): void => {
    clearInterval(timer);
    rmSync(path, { force: true });
  };
  return { worker, stop, [Symbol.dispose]: stop };
}

/** All workers that have given signs and were not stopped. Files that are no signs are left out. */
export function readWorkers(folder: string): readonly WorkerSign[] {
  const signs: WorkerSign[] = [];
  const now = serverTime(folder);
  for (const name of namesIn(folder)) {
    if (!name.endsWith(ending)) continue;
    const path = join(folder, name);
    try {
      const { mtimeMs } = statSync(path);
      const { process, facts } = contents.parse(JSON.parse(readFileSync(path, 'utf8')));
      const worker = name.slice(0, -ending.length);
      signs.push({ worker, age: Math.max(now - mtimeMs, 0) / 1000, liveness: livenessOf(process), facts });
    } catch {
      // Stopped meanwhile, or none of ours.
    }
  }
  return signs;
}

/**
 * Which workers are gone, for `study.failTrialsOf`: those whose process is known to have ended, those of other machines
 * without a sign for `afterSeconds` (60 by default), and those without a file.
 */
export function goneWorkers(folder: string, afterSeconds = 60): (worker: string) => boolean {
  const read = (): Map<string, WorkerSign> => new Map(readWorkers(folder).map((sign) => [sign.worker, sign]));
  let signs = read();
  return (worker) => {
    // One that began after the first look has a sign by now: it gives one before it asks for a trial.
    if (!signs.has(worker)) signs = read();
    const sign = signs.get(worker);
    if (sign === undefined || sign.liveness === 'dead') return true;
    return sign.liveness === 'unknown' && sign.age > afterSeconds;
  };
}

/** Removes the files of workers that are gone. */
export function clearGoneWorkers(folder: string, afterSeconds = 60): void {
  const isGone = goneWorkers(folder, afterSeconds);
  for (const { worker } of readWorkers(folder)) {
    if (isGone(worker)) rmSync(join(folder, `${worker}${ending}`), { force: true });
  }
}

function namesIn(folder: string): readonly string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

/** The file server's clock, in milliseconds; ours where nothing can be written. */
function serverTime(folder: string): number {
  const probe = join(folder, `clock-${process.pid}.part`);
  try {
    writeFileSync(probe, '');
    return statSync(probe).mtimeMs;
  } catch {
    return Date.now();
  } finally {
    rmSync(probe, { force: true });
  }
}
