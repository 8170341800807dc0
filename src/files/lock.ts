/**
 * One writer for a folder, a run's or the compiled kernels' (Node only). The file `lock` names it; it appears whole (written beside and linked, which
 * fails where the name is taken), so of several processes one gets it.
 *
 * A dead process leaves its lock. It is taken over by claiming `lock.after.ID`, with the dead lock's ID, which again
 * one process gets; only then does the claim replace `lock`. Whoever claims looks again afterwards whether `lock` still
 * is the dead one: if not, another one was faster, and the claim is void. A claim whose owner died is itself a dead
 * lock, and is claimed in the same way.
 */
import { randomUUID } from 'node:crypto';
import { readFileSync, readlinkSync } from 'node:fs';
import { link, open, readdir, rename, rm, stat } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join, resolve } from 'node:path';
import * as z from 'zod';
import { VggError } from '../errors.ts';
import { cannotRead, cannotWrite, isMissing, readWhole, temporaryBeside } from './files.ts';

export interface FolderLock {
  /** Lets the next writer in. May be called twice. */
  readonly release: () => Promise<void>;
  /** Whether the folder still has this lock. It has not if it was emptied, moved or replaced. */
  readonly isHeld: () => Promise<boolean>;
}

/** The process that a lock names. */
export interface LockHolder {
  /** Of this very lock. */
  readonly id: string;
  readonly pid: number;
  readonly hostname: string;
  /** ISO 8601, UTC. */
  readonly started: string;
  /** What tells a process from a later one of the same number: ticks since the machine's start. Linux only. */
  readonly processStart?: string | undefined;
  /** This start of the machine, and the space in which `pid` counts (a container has its own). Linux only. */
  readonly boot?: string | undefined;
  readonly namespace?: string | undefined;
}

const short = z.string().max(255);
const holderSchema: z.ZodType<LockHolder> = z.object({
  id: z.string().regex(/^[0-9a-z-]{1,64}$/),
  pid: z.int().min(1),
  hostname: short,
  started: short,
  processStart: short.optional(),
  boot: short.optional(),
  namespace: short.optional(),
});

/** Longer than any process takes between creating its lock and having written it. */
const tornMilliseconds = 2000;

/**
 * Makes this process the one writer of `folder`.
 * @throws VggError that names the other writer, and what to do where nobody can know whether it lives.
 */
export async function lockFolder(folder: string): Promise<FolderLock> {
  const lock = join(folder, 'lock');
  const own: LockHolder = { id: randomUUID(), ...thisProcess(), started: new Date().toISOString() };
  const isHeld = async (): Promise<boolean> => (await readLock(lock))?.id === own.id;
  const release = async (): Promise<void> => {
    if (await isHeld()) await rm(lock, { force: true });
  };
  for (;;) {
    if (await createExclusively(lock, own)) return { release, isHeld };
    const chain = await readChain(lock);
    const last = chain.at(-1);
    if (last === undefined) continue; // Released meanwhile.
    if (isAlive(last)) {
      // A second look: what stood at the end may have been a void claim.
      if ((await readChain(lock)).at(-1)?.id !== last.id) continue;
      throw new VggError(refusal(folder, lock, last));
    }
    const claim = `${lock}.after.${last.id}`;
    if (!(await createExclusively(claim, own))) continue; // Claimed meanwhile.
    const now = await readChain(lock);
    // The dead ones, and the own claim at the end.
    if (now.length === chain.length + 1 && chain.every(({ id }, i) => now[i]?.id === id)) {
      await rename(claim, lock);
      await removeClaims(folder);
      return { release, isHeld };
    }
    await rm(claim, { force: true });
  }
}

/** The process that writes to `folder` now, or one on another machine that may. */
export async function lockHolder(folder: string): Promise<LockHolder | undefined> {
  const last = (await readChain(join(folder, 'lock'))).at(-1);
  return last && isAlive(last) ? last : undefined;
}

/** The lock, the claim on it, the claim on that one, …: the last one counts. */
async function readChain(lock: string): Promise<readonly LockHolder[]> {
  const chain: LockHolder[] = [];
  for (let path = lock; ; path = `${lock}.after.${chain.at(-1)!.id}`) {
    const holder = await readLock(path);
    if (holder === undefined || chain.some(({ id }) => id === holder.id)) return chain;
    chain.push(holder);
  }
}

/**
 * Undefined where there is none. A file that stays unreadable was left by a machine that lost its power: its holder
 * is dead.
 */
async function readLock(path: string): Promise<LockHolder | undefined> {
  const asked = Date.now();
  for (;;) {
    try {
      const { ino, size, mtimeMs } = await stat(path);
      const result = holderSchema.safeParse(parse(await readWhole(path, 4096)));
      if (result.success) return result.data;
      if (Date.now() - Math.min(mtimeMs, asked) > tornMilliseconds) {
        return { id: `torn-${ino}-${size}`, pid: 0, hostname: hostname(), started: '' };
      }
    } catch (error) {
      if (isMissing(error)) return undefined;
      throw error instanceof VggError ? error : cannotRead(path, error);
    }
    await new Promise((done) => setTimeout(done, 50));
  }
}

function parse(bytes: Uint8Array): unknown {
  return tell(() => JSON.parse(new TextDecoder().decode(bytes)) as unknown);
}

/** False where `path` exists. */
async function createExclusively(path: string, holder: LockHolder): Promise<boolean> {
  const temporary = temporaryBeside(path);
  const text = `${JSON.stringify(holder)}\n`;
  const write = async (to: string): Promise<void> => {
    const file = await open(to, 'wx');
    try {
      await file.writeFile(text);
    } finally {
      await file.close();
    }
  };
  try {
    await write(temporary);
    try {
      await link(temporary, path);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
      // A file system without links: the file is empty for a moment, which readers wait out.
      await write(path);
    }
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw cannotWrite(path, error);
  } finally {
    await rm(temporary, { force: true });
  }
}

/** Claims are void once `lock` is another one. */
async function removeClaims(folder: string): Promise<void> {
  const names = (await readdir(folder)).filter((name) => /^lock\.after\.[0-9a-z-]+$/.test(name));
  await Promise.all(names.map((name) => rm(join(folder, name), { force: true })));
}

function refusal(
  folder: string,
  lock: string,
  { pid, hostname: host, started, namespace }: LockHolder,
): string {
  const self = thisProcess();
  const since = `since ${started}`;
  if (host !== self.hostname || namespace !== self.namespace) {
    const where = host === self.hostname ? 'in another container' : `on ${host}`;
    return (
      `${folder} is in use: process ${pid} ${where} writes to it ${since}, and from here nobody can tell whether it ` +
      `still runs; if it does not, delete ${resolve(lock)}`
    );
  }
  const who = pid === process.pid ? 'this very process' : `process ${pid} on this machine (${host})`;
  return `${folder} is in use: ${who} writes to it ${since}; wait for it, end it, or name another folder`;
}

/** False only where the process certainly is no more. */
function isAlive({ pid, hostname: host, processStart, boot, namespace }: LockHolder): boolean {
  if (pid === 0) return false;
  const self = thisProcess();
  if (host !== self.hostname) return true;
  if (boot !== self.boot) return false;
  if (namespace !== self.namespace) return true;
  try {
    process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ESRCH';
  }
  const now = processStat(pid);
  // A zombie has ended, and waits for its parent to look.
  return now === undefined || (now.start === processStart && now.state !== 'Z' && now.state !== 'X');
}

function thisProcess(): Omit<LockHolder, 'id' | 'started'> {
  const processStart = processStat(process.pid)?.start;
  const boot = tell(() => readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim());
  const namespace = tell(() => readlinkSync('/proc/self/ns/pid'));
  return {
    pid: process.pid,
    hostname: hostname(),
    ...(processStart !== undefined && { processStart }),
    ...(boot !== undefined && { boot }),
    ...(namespace !== undefined && { namespace }),
  };
}

/** Fields 3 and 22 of /proc/PID/stat; the name before them may hold blanks and brackets. */
function processStat(pid: number): { readonly state: string; readonly start: string } | undefined {
  const text = tell(() => readFileSync(`/proc/${pid}/stat`, 'utf8'));
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
