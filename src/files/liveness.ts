/**
 * Whether the process behind a lock or a sign of life still runs (Node only). One rule for all of them:
 * - a process of this machine since its start is asked for by its number: it runs or has ended;
 * - any other is `unknown`: of another host, container or start of the machine, or of another machine of the same name.
 *   It gives a sign each `beatSeconds`, a new time of its file, and counts as gone after `silentSeconds` without one.
 *
 * Times of files are compared with each other alone: all of them come from the file server, so clocks of machines that
 * differ do not matter. On systems other than Linux the start of machine and process are not known.
 */
import { readFileSync, readlinkSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { temporaryBeside } from './files.ts';

/** What is known of a process from here. */
export type Liveness = 'alive' | 'dead' | 'unknown';

/** Seconds between two signs of a process, and without any until it counts as gone. */
export const beatSeconds = 10;
export const silentSeconds = 180;

/** What tells a process from all others. */
export interface ProcessFacts {
  readonly pid: number;
  readonly hostname: string;
  /** Ticks since the machine's start: tells a process from a later one of the same number. */
  readonly processStart?: string | undefined;
  /** This start of the machine, and the space in which `pid` counts (a container has its own). */
  readonly boot?: string | undefined;
  readonly namespace?: string | undefined;
}

const separator = '+';

/** `host+namespace.boot+pid+start`; letters, digits and `.-_%+` only, so that it can be a file's name. */
export const identityOf = ({ pid, hostname: host, processStart, boot, namespace }: ProcessFacts): string =>
  [
    encodeURIComponent(host).slice(0, 80),
    `${(namespace ?? '').replaceAll(/\D/g, '')}.${boot ?? ''}`,
    pid,
    processStart ?? '',
  ].join(separator);

export const processIdentity = (): string => identityOf(thisProcess());

let own: ProcessFacts | undefined;

export function thisProcess(): ProcessFacts {
  if (own) return own;
  const processStart = statOf(process.pid)?.start;
  const boot = tell(() => readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim());
  const namespace = tell(() => readlinkSync('/proc/self/ns/pid'));
  own = {
    pid: process.pid,
    hostname: hostname(),
    ...(processStart !== undefined && { processStart }),
    ...(boot !== undefined && { boot }),
    ...(namespace !== undefined && { namespace }),
  };
  return own;
}

/** Whether the process that an identity names still runs. More parts behind the identity's do not matter. */
export function livenessOf(identity: string): Liveness {
  const [host, space, pidText, start] = identity.split(separator);
  const [ourHost, ourSpace] = processIdentity().split(separator);
  const pid = Number(pidText);
  if (host !== ourHost || space !== ourSpace || !Number.isSafeInteger(pid) || pid < 1) return 'unknown';
  try {
    process.kill(pid, 0);
  } catch (error) {
    // Another user's process may not be signalled, but it is there.
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return 'dead';
  }
  const found = statOf(pid);
  if (found === undefined || !start) return 'alive';
  // A zombie has ended, and waits for its parent to look.
  return found.state === 'Z' || found.state === 'X' || found.start !== start ? 'dead' : 'alive';
}

/** The file server's clock, in milliseconds; ours where nothing can be written. */
export function serverTime(folder: string): number {
  const probe = temporaryBeside(join(folder, 'clock'));
  try {
    writeFileSync(probe, '', { flag: 'wx' });
    return statSync(probe).mtimeMs;
  } catch {
    return Date.now();
  } finally {
    tell(() => rmSync(probe, { force: true }));
  }
}

/** Fields 3 and 22 of /proc/PID/stat; the name before them may hold blanks and brackets. */
function statOf(pid: number): { readonly state: string; readonly start: string } | undefined {
  const text = tell(() => readFileSync(`/proc/${pid}/stat`, 'latin1'));
  const fields = text?.slice(text.lastIndexOf(')') + 2).split(' ');
  const [state, start] = [fields?.[0], fields?.[19]];
  return state === undefined || start === undefined ? undefined : { state, start };
}

function tell<T>(body: () => T): T | undefined {
  try {
    return body();
  } catch {
    return undefined;
  }
}
