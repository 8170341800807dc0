/**
 * Signs of life of a study's workers: one file for each in `STUDY/workers/`, written anew every few seconds. They stay
 * out of the journal, which would grow with them; `files/liveness.ts` has the rule by which one is gone. Needs Node.
 */
import { readdirSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as z from 'zod';
import { UsageError } from '../errors.ts';
import { cannotWrite, readTailSync } from '../files/files.ts';
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
  /** Seconds between two signs; `beatSeconds` by default. */
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
/** Of a file that is a sign. */
const mostBytes = 65_536;
let count = 0;

/** The first sign is given before this returns. @throws VggError where it cannot be written. */
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
      // A full disk or a server that is away: the next sign may succeed, and the age tells.
    }
  }, interval * 1000).unref();
  const stop = (): void => {
    clearInterval(timer);
    try {
      rmSync(path, { force: true });
    } catch {
      // Others see that its process has ended.
    }
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
      const { process, facts } = contents.parse(JSON.parse(readTailSync(path, mostBytes)));
      const worker = name.slice(0, -ending.length);
      signs.push({ worker, age: Math.max(now - mtimeMs, 0) / 1000, liveness: livenessOf(process), facts });
    } catch {
      // Stopped meanwhile, or none of ours.
    }
  }
  return signs;
}

/**
 * Which workers are gone, for `study.failTrialsOf`: those whose process is known to have ended, those that cannot be
 * asked for without a sign for `afterSeconds` (`silentSeconds` by default), and those without a file.
 */
export function goneWorkers(
  folder: string,
  afterSeconds: number = silentSeconds,
): (worker: string) => boolean {
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
export function clearGoneWorkers(folder: string, afterSeconds: number = silentSeconds): void {
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
