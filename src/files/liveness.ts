/**
 * Whether the process behind a lock or a heartbeat still runs (Node only). One rule for all of them:
 * - a process of this machine, started since its last restart, is looked up by its id: it runs or has ended;
 * - any other process is `unknown`: one of another host or container, from before a restart, or of another machine with
 *   the same name. It updates the time of its file every `beatSeconds`, and is gone after `silentSeconds` without that.
 *
 * File times are only compared with each other. All of them come from the file server, so differing clocks do not
 * matter. On systems other than Linux, the start times of machine and process are unknown.
 */
import { readFileSync, readlinkSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { temporaryBeside } from './files.ts';

/** What this process can know about another one. */
export type Liveness = 'alive' | 'dead' | 'unknown';

/** Seconds between two heartbeats of a process, and without any until it is considered gone. */
export const beatSeconds = 10;
export const silentSeconds = 180;

/** What identifies a process. */
export interface ProcessFacts {
  readonly pid: number;
  readonly hostname: string;
  /** Start time in ticks since the machine's start: distinguishes a process from a later one with the same id. */
  readonly processStart?: string | undefined;
  /** The machine's current boot, and the namespace of `pid` (a container has its own). */
  readonly boot?: string | undefined;
  readonly namespace?: string | undefined;
}

const separator = '+';

/** `host+namespace.boot+pid+start`; only letters, digits and `.-_%+`, so that it can be a file name. */
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

/** Whether the process that an identity names still runs. Further parts after the identity are ignored. */
export function livenessOf(identity: string): Liveness {
  const [host, space, pidText, start] = identity.split(separator);
  const [ourHost, ourSpace] = processIdentity().split(separator);
  const pid = Number(pidText);
  if (host !== ourHost || space !== ourSpace || !Number.isSafeInteger(pid) || pid < 1) return 'unknown';
  try {
    process.kill(pid, 0);
  } catch (error) {
    // EPERM: a process of another user, which exists.
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return 'dead';
  }
  const found = statOf(pid);
  if (found === undefined || !start) return 'alive';
  // A zombie has ended; its parent has not collected it yet.
  return found.state === 'Z' || found.state === 'X' || found.start !== start ? 'dead' : 'alive';
}

/** The file server's clock, in milliseconds; our own clock if nothing can be written. */
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

/** Fields 3 and 22 of /proc/PID/stat; the name before them may contain spaces and parentheses. */
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
