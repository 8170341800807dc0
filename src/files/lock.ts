/**
 * Ensures one writer per folder, for runs and for compiled kernels (Node only). The file `lock` names the writer. It is
 * written under another name and then linked, which fails if `lock` exists, so only one process gets it.
 *
 * A dead process leaves its lock behind. To take it over, a process creates the claim `lock.after.ID`, where ID is the
 * dead lock's ID. Again only one process can. It then checks that `lock` is still the dead one; if not, another process
 * was faster and the claim is void. Finally the claim replaces `lock`. A claim whose owner died is taken over likewise.
 *
 * Processes of other machines are judged by heartbeats (`liveness.ts`): the holder rewrites its lock every few seconds
 * through its open file, so that it never touches the lock of a later holder.
 */
import { randomUUID } from 'node:crypto';
import { type FileHandle, link, open, readdir, rename, rm } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import * as z from 'zod';
import { InUseError } from '../errors.ts';
import { cannotRead, cannotWrite, isMissing, openRegular, temporaryBeside } from './files.ts';
import {
  beatSeconds,
  identityOf,
  livenessOf,
  type ProcessFacts,
  serverTime,
  silentSeconds,
  thisProcess,
} from './liveness.ts';

export interface FolderLock {
  /** Releases the lock. May be called twice. */
  readonly release: () => Promise<void>;
  /** Whether the folder still contains this lock; false if the folder was emptied, moved or replaced. */
  readonly isHeld: () => Promise<boolean>;
}

export interface LockOptions {
  /** Called before waiting for a holder that may run elsewhere. If absent, locking fails at once instead of waiting. */
  readonly onWait?: ((line: string) => void) | undefined;
  /** Aborts waiting. */
  readonly signal?: AbortSignal | undefined;
  /** Seconds; the values of `liveness.ts` by default. */
  readonly beatSeconds?: number | undefined;
  readonly silentSeconds?: number | undefined;
}

/** The process that a lock names. */
export interface LockHolder extends ProcessFacts {
  /** Identifies this lock. */
  readonly id: string;
  /** ISO 8601, UTC. */
  readonly started: string;
}

/** A lock or claim as found on disk. */
interface FoundLock extends LockHolder {
  readonly path: string;
  /** Time of the last heartbeat, by the file server's clock. */
  readonly mtimeMs: number;
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

/** An upper bound on the time between creating a lock file and finishing its content. */
const tornMilliseconds = 2000;

/**
 * Makes this process the only writer of `folder`.
 * @throws InUseError that names the other writer and what to do.
 */
export async function lockFolder(folder: string, options: LockOptions = {}): Promise<FolderLock> {
  const lock = join(folder, 'lock');
  const own: LockHolder = { id: randomUUID(), ...thisProcess(), started: new Date().toISOString() };
  const text = Buffer.from(`${JSON.stringify(own)}\n`);
  for (;;) {
    const created = await createExclusively(lock, text);
    if (created) return held(lock, own.id, created, text, options);
    const chain = await readChain(lock);
    const last = chain.at(-1);
    if (last === undefined) continue; // Released in the meantime.
    if (!(await isGone(folder, last, options))) {
      // Check again: the last entry may have been a void claim.
      if ((await readChain(lock)).at(-1)?.id !== last.id) continue;
      throw new InUseError(refusal(folder, lock, last));
    }
    const claim = `${lock}.after.${last.id}`;
    const claimed = await createExclusively(claim, text);
    if (!claimed) continue; // Claimed in the meantime.
    try {
      const now = await readChain(lock);
      // The dead locks, followed by our own claim.
      if (now.length === chain.length + 1 && chain.every(({ id }, i) => now[i]?.id === id)) {
        await rename(claim, lock);
        await removeClaims(folder);
        return held(lock, own.id, claimed, text, options);
      }
      await rm(claim, { force: true });
    } catch (error) {
      await claimed.close();
      throw cannotWrite(lock, error);
    }
    await claimed.close();
  }
}

/** Sends heartbeats until the lock is released. */
function held(
  lock: string,
  id: string,
  file: FileHandle,
  text: Uint8Array,
  { beatSeconds: beat = beatSeconds }: LockOptions,
): FolderLock {
  let sign: Promise<unknown> = Promise.resolve();
  // The bytes stay the same, so concurrent readers always see a complete lock.
  const timer = setInterval(() => {
    sign = file.write(text, 0, text.length, 0).catch(() => undefined);
  }, beat * 1000).unref();
  let open = true;
  const isHeld = async (): Promise<boolean> => (await readLock(lock))?.id === id;
  return {
    isHeld,
    release: async () => {
      if (!open) return;
      open = false;
      clearInterval(timer);
      await sign;
      await file.close();
      if (await isHeld()) await rm(lock, { force: true });
    },
  };
}

/** The process that writes to `folder`: alive on this machine, or elsewhere with a recent heartbeat by our clock. */
export async function lockHolder(folder: string): Promise<LockHolder | undefined> {
  const last = (await readChain(join(folder, 'lock'))).at(-1);
  if (!last) return undefined;
  const liveness = holderLiveness(last);
  const isHeard = Math.abs(Date.now() - last.mtimeMs) < 1000 * silentSeconds;
  return liveness === 'alive' || (liveness === 'unknown' && isHeard) ? last : undefined;
}

/**
 * Whether the holder is dead. If it may run elsewhere, waits for its heartbeat.
 * @throws InUseError if waiting was not requested.
 */
async function isGone(folder: string, holder: FoundLock, options: LockOptions): Promise<boolean> {
  const liveness = holderLiveness(holder);
  if (liveness !== 'unknown') return liveness === 'dead';
  const { onWait, signal, silentSeconds: silent = silentSeconds } = options;
  const quiet = Math.max(0, (serverTime(folder) - holder.mtimeMs) / 1000);
  const left = Math.ceil(silent - quiet);
  if (left <= 0) return true;
  const who = `process ${holder.pid} ${whereabouts(holder)}`;
  if (!onWait) {
    throw new InUseError(
      `${folder} is in use: ${who} was last active ${Math.round(quiet)} s ago; if it has ended, try again in ${left} s`,
    );
  }
  onWait(
    `${folder} is locked by ${who}, which may still be running; waiting up to ${left} s for a sign of life before taking over`,
  );
  for (const begun = performance.now(); performance.now() - begun < 1000 * left; ) {
    await sleep(Math.min(1000, 100 * silent), undefined, signal && { signal }).catch((error: unknown) => {
      signal?.throwIfAborted();
      throw error;
    });
    const now = await readLock(holder.path);
    // Released or taken over: read the whole chain again.
    if (now?.id !== holder.id || now.mtimeMs !== holder.mtimeMs) return false;
  }
  return true;
}

const holderLiveness = (holder: LockHolder): ReturnType<typeof livenessOf> =>
  holder.pid === 0 ? 'dead' : livenessOf(identityOf(holder));

/** The lock, the claim on it, the claim on that claim, and so on. The last one counts. */
async function readChain(lock: string): Promise<readonly FoundLock[]> {
  const chain: FoundLock[] = [];
  for (let path = lock; ; path = `${lock}.after.${chain.at(-1)!.id}`) {
    const holder = await readLock(path);
    if (holder === undefined || chain.some(({ id }) => id === holder.id)) return chain;
    chain.push(holder);
  }
}

/**
 * Reads a lock; undefined if it does not exist. A lock that stays unreadable was left by a power loss, so its holder is
 * dead.
 */
async function readLock(path: string): Promise<FoundLock | undefined> {
  const asked = Date.now();
  for (;;) {
    try {
      const { text, ino, size, mtimeMs } = await readSmall(path);
      const result = holderSchema.safeParse(parse(text));
      if (result.success) return { ...result.data, path, mtimeMs };
      if (Date.now() - Math.min(mtimeMs, asked) > tornMilliseconds) {
        return { id: `torn-${ino}-${size}`, pid: 0, hostname: hostname(), started: '', path, mtimeMs };
      }
    } catch (error) {
      if (isMissing(error)) return undefined;
      throw cannotRead(path, error);
    }
    await sleep(50);
  }
}

/** Reads text and stats through one freshly opened file, so that a network file system does not answer from its cache. */
async function readSmall(path: string) {
  const file = await openRegular(path);
  try {
    const buffer = Buffer.alloc(4096);
    const { bytesRead } = await file.read(buffer, 0, buffer.length, 0);
    return { ...(await file.stat()), text: buffer.toString('utf8', 0, bytesRead) };
  } finally {
    await file.close();
  }
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Creates a file and returns it open for writing; undefined if `path` exists. */
async function createExclusively(path: string, text: Uint8Array): Promise<FileHandle | undefined> {
  const temporary = temporaryBeside(path);
  const write = async (to: string): Promise<FileHandle> => {
    const file = await open(to, 'wx');
    try {
      await file.write(text);
      return file;
    } catch (error) {
      await file.close();
      throw error;
    }
  };
  try {
    const file = await write(temporary);
    try {
      await link(temporary, path);
      return file;
    } catch (error) {
      await file.close();
      if ((error as NodeJS.ErrnoException).code === 'EEXIST') return undefined;
      // On a file system without hard links the file is empty for a moment; readers wait until it is complete.
      return await write(path);
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return undefined;
    throw cannotWrite(path, error);
  } finally {
    await rm(temporary, { force: true }).catch(() => undefined);
  }
}

/** Deletes all claims: they are void once `lock` has been replaced. */
async function removeClaims(folder: string): Promise<void> {
  const names = (await readdir(folder)).filter((name) => /^lock\.after\.[0-9a-z-]+$/.test(name));
  await Promise.all(names.map((name) => rm(join(folder, name), { force: true })));
}

function refusal(folder: string, lock: string, holder: FoundLock): string {
  const { pid, started } = holder;
  if (holderLiveness(holder) === 'unknown') {
    return (
      `${folder} is in use: process ${pid} ${whereabouts(holder)} has been writing to it since ${started} and was active just now; ` +
      `wait for it, stop it there, or choose another folder (its lock is ${resolve(lock)})`
    );
  }
  const who = pid === process.pid ? 'this process' : `process ${pid} on this machine (${holder.hostname})`;
  return `${folder} is in use: ${who} has been writing to it since ${started}; wait for it, stop it, or choose another folder`;
}

/** Describes where a process runs that this process cannot look up. */
function whereabouts({ hostname: host, boot, namespace }: LockHolder): string {
  const self = thisProcess();
  if (host !== self.hostname) return `on ${host}`;
  if (boot !== self.boot) return `on ${host} (before its last restart, or another machine with this name)`;
  return namespace === self.namespace ? `on ${host}` : 'in another container';
}
