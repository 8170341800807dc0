/**
 * Which process something belongs to, in a form that another one can check: host, process-id namespace, process id and
 * start time, so that neither a container nor an id that was given out again is taken for the process. Needs Node; on
 * other systems than Linux the namespace and the start are left out.
 */
import { readFileSync, readlinkSync } from 'node:fs';
import { hostname } from 'node:os';

/** What is known of a process from here: that of another host is `unknown`. */
export type Liveness = 'alive' | 'dead' | 'unknown';

const separator = '+';

/** `host+namespace+pid+start`; letters, digits and `.-_%+` only, so that it can be a file's name. */
export function processIdentity(): string {
  return [...whereabouts(), process.pid, startOf(process.pid)?.time ?? ''].join(separator);
}

let cached: readonly string[] | undefined;

/** Host and namespace of this process. */
function whereabouts(): readonly string[] {
  cached ??= [encodeURIComponent(hostname()).slice(0, 80), namespace()];
  return cached;
}

function namespace(): string {
  try {
    return readlinkSync('/proc/self/ns/pid').replaceAll(/\D/g, '');
  } catch {
    return '';
  }
}

/** Start in clock ticks since boot, and whether it has ended but was not collected; undefined where not known. */
function startOf(pid: number): { readonly time: string; readonly ended: boolean } | undefined {
  try {
    // The name in parentheses may hold anything; what follows the last one does not.
    const text = readFileSync(`/proc/${pid}/stat`, 'latin1');
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    return { time: fields[19] ?? '', ended: fields[0] === 'Z' || fields[0] === 'X' };
  } catch {
    return undefined;
  }
}

/** Whether the process that `processIdentity` named still runs. More parts after the identity's do not matter. */
export function livenessOf(identity: string): Liveness {
  const [host, space, pidText, start] = identity.split(separator);
  const [ourHost, ourSpace] = whereabouts();
  const pid = Number(pidText);
  if (host !== ourHost || space !== ourSpace || !Number.isSafeInteger(pid) || pid < 1) return 'unknown';
  try {
    process.kill(pid, 0);
  } catch (error) {
    // Another user's process may not be signalled, but it is there.
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return 'dead';
  }
  const found = startOf(pid);
  if (found === undefined || start === '') return 'alive';
  return found.ended || found.time !== start ? 'dead' : 'alive';
}
