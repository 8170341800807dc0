/**
 * Checks whether the process that owns a lock or heartbeat file still runs (Node only). One rule for all of them:
 * - A process of this machine and boot is looked up by its PID: it is `alive` or `dead`.
 * - Any other process is `unknown`: another host, container, boot, or another machine with the same host name. It
 *   updates the time of its file every `beatSeconds`, and counts as dead after `silentSeconds` without an update.
 *
 * File times are compared only with each other. All of them come from the file server, so machines may disagree about
 * the time. The start times of machine and process are known only on Linux.
 */
import { readFileSync, readlinkSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { temporaryBeside } from './files.ts';

/** What this process can find out about another one. */
export type Liveness = 'alive' | 'dead' | 'unknown';

/** Seconds between two heartbeats, and seconds without one until a process counts as dead. */
export const beatSeconds = 10;
export const silentSeconds = 180;

/** What identifies a process. */
export interface ProcessFacts {
  readonly pid: number;
  readonly hostname: string;
  /** Ticks from boot to the start of the process; tells apart processes that had the same PID. */
  readonly processStart?: string | undefined;
  /** The machine's boot ID, and the PID namespace (each container has its own). */
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

/** Whether the process with this identity still runs. Additional parts after the identity are ignored. */
export function livenessOf(identity: string): Liveness {
  const [host, space, pidText, start] = identity.split(separator);
  const [ourHost, ourSpace] = processIdentity().split(separator);
  const pid = Number(pidText);
  if (host !== ourHost || space !== ourSpace || !Number.isSafeInteger(pid) || pid < 1) return 'unknown';
  try {
    process.kill(pid, 0);
  } catch (error) {
    // EPERM: another user's process, which exists.
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return 'dead';
  }
  const found = statOf(pid);
  if (found === undefined || !start) return 'alive';
  // A zombie has ended; only its parent has not collected it yet.
  return found.state === 'Z' || found.state === 'X' || found.start !== start ? 'dead' : 'alive';
}

/** The file server's clock, in milliseconds; this machine's clock if the folder is not writable. */
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

/** Fields 3 and 22 of /proc/PID/stat. The name before them may contain spaces and parentheses. */
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
