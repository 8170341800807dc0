/**
 * One writer for a folder, a run's or the compiled kernels' (Node only). The file `lock` names it; it appears whole (written beside and linked, which
 * fails where the name is taken), so of several processes one gets it.
 *
 * A dead process leaves its lock. It is taken over by claiming `lock.after.ID`, with the dead lock's ID, which again
 * one process gets; only then does the claim replace `lock`. Whoever claims looks again afterwards whether `lock` still
 * is the dead one: if not, another one was faster, and the claim is void. A claim whose owner died is itself a dead
 * lock, and is claimed in the same way.
 *
 * Of a process that cannot be asked for, only its signs tell (`liveness.ts`): the holder writes the bytes of its lock
 * anew every few seconds, through the file that it holds open, so that the lock of a later holder is never touched.
 */
import { randomUUID } from 'node:crypto';
import { type FileHandle, link, open, readdir, rename, rm } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import * as z from 'zod';
import { VggError } from '../errors.ts';
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
  /** Lets the next writer in. May be called twice. */
  readonly release: () => Promise<void>;
  /** Whether the folder still has this lock. It has not if it was emptied, moved or replaced. */
  readonly isHeld: () => Promise<boolean>;
}

export interface LockOptions {
  /** Waits for signs of a holder that cannot be asked for, and is told so. Without it such a lock is refused at once. */
  readonly onWait?: ((line: string) => void) | undefined;
  /** Gives up waiting. */
  readonly signal?: AbortSignal | undefined;
  /** Seconds; those of `liveness.ts` by default. */
  readonly beatSeconds?: number | undefined;
  readonly silentSeconds?: number | undefined;
}

/** The process that a lock names. */
export interface LockHolder extends ProcessFacts {
  /** Of this very lock. */
  readonly id: string;
  /** ISO 8601, UTC. */
  readonly started: string;
}

/** A lock, or a claim on one, as it stands. */
interface FoundLock extends LockHolder {
  readonly path: string;
  /** Of its last sign, by the file server's clock. */
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

/** Longer than any process takes between creating its lock and having written it. */
const tornMilliseconds = 2000;

/**
 * Makes this process the one writer of `folder`.
 * @throws VggError that names the other writer, and what to do.
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
    if (last === undefined) continue; // Released meanwhile.
    if (!(await isGone(folder, last, options))) {
      // A second look: what stood at the end may have been a void claim.
      if ((await readChain(lock)).at(-1)?.id !== last.id) continue;
      throw new VggError(refusal(folder, lock, last));
    }
    const claim = `${lock}.after.${last.id}`;
    const claimed = await createExclusively(claim, text);
    if (!claimed) continue; // Claimed meanwhile.
    try {
      const now = await readChain(lock);
      // The dead ones, and the own claim at the end.
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

/** Gives signs until it is released. */
function held(
  lock: string,
  id: string,
  file: FileHandle,
  text: Uint8Array,
  { beatSeconds: beat = beatSeconds }: LockOptions,
): FolderLock {
  let sign: Promise<unknown> = Promise.resolve();
  // The same bytes: whoever reads meanwhile reads them whole.
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

/** The process that writes to `folder` now, or one that cannot be asked for and gave signs, by our own clock. */
export async function lockHolder(folder: string): Promise<LockHolder | undefined> {
  const last = (await readChain(join(folder, 'lock'))).at(-1);
  if (!last) return undefined;
  const liveness = holderLiveness(last);
  const isHeard = Math.abs(Date.now() - last.mtimeMs) < 1000 * silentSeconds;
  return liveness === 'alive' || (liveness === 'unknown' && isHeard) ? last : undefined;
}

/**
 * Whether the holder is no more. Of one that cannot be asked for it waits for a sign.
 * @throws VggError where it does not wait.
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
    throw new VggError(
      `${folder} is in use: ${who} gave its last sign ${Math.round(quiet)} s ago; if it has ended, try again in ${left} s`,
    );
  }
  onWait(
    `${folder} was locked by ${who}, which may still run: waiting up to ${left} s for a sign of it, then taking over`,
  );
  for (const begun = performance.now(); performance.now() - begun < 1000 * left; ) {
    await sleep(Math.min(1000, 100 * silent), undefined, signal && { signal }).catch((error: unknown) => {
      signal?.throwIfAborted();
      throw error;
    });
    const now = await readLock(holder.path);
    // Released, or taken over: a new look at all.
    if (now?.id !== holder.id || now.mtimeMs !== holder.mtimeMs) return false;
  }
  return true;
}

const holderLiveness = (holder: LockHolder): ReturnType<typeof livenessOf> =>
  holder.pid === 0 ? 'dead' : livenessOf(identityOf(holder));

/** The lock, the claim on it, the claim on that one, …: the last one counts. */
async function readChain(lock: string): Promise<readonly FoundLock[]> {
  const chain: FoundLock[] = [];
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

/** Text and facts through one open file, which a file server answers anew. */
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

/** The file, open for writing; undefined where `path` exists. */
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
      // A file system without links: the file is empty for a moment, which readers wait out.
      return await write(path);
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return undefined;
    throw cannotWrite(path, error);
  } finally {
    await rm(temporary, { force: true }).catch(() => undefined);
  }
}

/** Claims are void once `lock` is another one. */
async function removeClaims(folder: string): Promise<void> {
  const names = (await readdir(folder)).filter((name) => /^lock\.after\.[0-9a-z-]+$/.test(name));
  await Promise.all(names.map((name) => rm(join(folder, name), { force: true })));
}

function refusal(folder: string, lock: string, holder: FoundLock): string {
  const { pid, started } = holder;
  if (holderLiveness(holder) === 'unknown') {
    return (
      `${folder} is in use: process ${pid} ${whereabouts(holder)} writes to it since ${started} and gave a sign just now; ` +
      `wait for it, end it there, or name another folder (${resolve(lock)} is its lock)`
    );
  }
  const who =
    pid === process.pid ? 'this very process' : `process ${pid} on this machine (${holder.hostname})`;
  return `${folder} is in use: ${who} writes to it since ${started}; wait for it, end it, or name another folder`;
}

/** Where a process runs that cannot be asked for from here. */
function whereabouts({ hostname: host, boot, namespace }: LockHolder): string {
  const self = thisProcess();
  if (host !== self.hostname) return `on ${host}`;
  if (boot !== self.boot) return `on a machine of this name (${host}), before a restart or elsewhere`;
  return namespace === self.namespace ? `on ${host}` : 'in another container';
}
