/**
 * Signs of life of a study's workers: one file for each in `STUDY/workers/`, written anew every few seconds. They stay
 * out of the journal, which would grow with them; `files/liveness.ts` has the rule by which one is gone. Needs Node.
 */
import { readdirSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as z from 'zod';
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
  const { interval = beatSeconds, facts = {} } = options;
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
  try {
    sign();
  } catch (error) {
    throw cannotWrite(path, error);
  }
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
      // A read-only disk, for instance. Others see that the process has ended.
    }
  };
  return { worker, stop, [Symbol.dispose]: stop };
}

/**
 * All workers that have given signs and were not stopped. Files that are no signs are left out.
 * @throws DataError where a sign cannot be read: its worker may be alive.
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
      // None of ours.
      if (!stats.isFile()) continue;
      ({ mtimeMs } = stats);
      text = readTailSync(path, mostBytes);
    } catch (error) {
      // Stopped meanwhile, or none of ours.
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

/** Undefined for a file that is none of ours. */
function parseSign(text: string): z.infer<typeof contents> | undefined {
  try {
    return contents.parse(JSON.parse(text));
  } catch {
    return undefined;
  }
}

/** Yields the sign of a worker; undefined where it has no file. */
function signReader(folder: string): (worker: string) => WorkerSign | undefined {
  const read = (): Map<string, WorkerSign> => new Map(readWorkers(folder).map((sign) => [sign.worker, sign]));
  let signs = read();
  return (worker) => {
    // One that began after the first look has a sign by now: it gives one before it asks for a trial.
    if (!signs.has(worker)) signs = read();
    return signs.get(worker);
  };
}

/**
 * Which workers are gone, for `study.failTrialsOf`: those whose process is known to have ended, those that cannot be
 * asked for without a sign for `afterSeconds` (`silentSeconds` by default), and those without a file.
 */
export function goneWorkers(
  folder: string,
  afterSeconds: number = silentSeconds,
): (worker: string) => boolean {
  const signOf = signReader(folder);
  return (worker) => {
    const sign = signOf(worker);
    if (sign === undefined || sign.liveness === 'dead') return true;
    return sign.liveness === 'unknown' && sign.age > afterSeconds;
  };
}

/**
 * Which workers ended in good order, for `study.giveBackTrialsOf`: they removed their sign. A trial of theirs that still
 * runs is one whose end they could not write down. A worker that was killed leaves its sign.
 */
export function leftWorkers(folder: string): (worker: string) => boolean {
  const signOf = signReader(folder);
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
    // No worker has begun yet. Anything else says nothing about workers.
    if (isMissing(error)) return [];
    throw cannotRead(folder, error);
  }
}
