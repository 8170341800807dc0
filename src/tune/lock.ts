/**
 * The journal's lock: Optuna's symbolic link `<journal>.lock` (`JournalFileSymlinkLock`; its `JournalFileOpenLock` uses
 * the same name, and both exclude each other). A link is created atomically even on NFS. Needs Node.
 *
 * The link points to a second link, `<journal>.holders/<process>`, which points to the journal. So waiting processes can
 * read who holds the lock, and a `stat` through the lock returns the journal's time, which newer versions of Optuna need.
 *
 * The lock of a holder that is gone (`files/liveness.ts`) is taken over:
 * - immediately, if the holder was a process of this machine that no longer runs;
 * - otherwise (a holder that cannot be checked from here, or Optuna, which leaves no name) if the same lock has existed
 *   for `graceSeconds` while the journal did not grow.
 * Only one waiting process may remove a lock: the one that creates the claim `<journal>.holders/<lock>.taken`. The claim
 * exists until the lock is gone, and if the claimer dies, its claim can be claimed in the same way. So a process that
 * looked at an earlier lock never removes one that was just acquired.
 */
import { lstatSync, readdirSync, readlinkSync, rmSync, statSync, symlinkSync, unlinkSync } from 'node:fs';
import { basename, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { DataError } from '../errors.ts';
import { livenessOf, processIdentity, silentSeconds } from '../files/liveness.ts';
import { makeFolder } from '../files/make-folder.ts';

export interface LockOptions {
  /** How many seconds an unknown holder may keep the lock while the journal does not grow; `silentSeconds` by default. */
  readonly graceSeconds?: number;
  /** Receives a message if waiting takes long; `console.warn` by default. */
  readonly onNotice?: (line: string) => void;
}

const claimEnding = '.taken';
const mostMillisecondsToWait = 50;
/** After this share of `graceSeconds`, a waiting process says so. */
const untoldShare = 1 / 18;
let count = 0;

const codeOf = (error: unknown): string | undefined => (error as NodeJS.ErrnoException).code;

/** Runs `action`; returns undefined if the file it needs does not exist (any more). */
function ifThere<T>(action: () => T): T | undefined {
  try {
    return action();
  } catch (error) {
    const code = codeOf(error);
    // EINVAL: `readlink` of something that is not a link, such as Optuna's other lock.
    if (code === 'ENOENT' || code === 'EINVAL') return undefined;
    throw error;
  }
}

/** A lock as one process sees it. It is not re-entrant. */
export class JournalLock {
  readonly graceSeconds: number;
  readonly #onNotice: (line: string) => void;
  readonly #journal: string;
  readonly #path: string;
  readonly #holders: string;
  /** This lock's name in the folder of holders; a process may have several. */
  readonly #name = `${processIdentity()}+${count++}`;
  readonly #target: string;
  #watched = { signature: '', size: -1, since: 0 };
  #isRegistered = false;

  constructor(journal: string, options: LockOptions = {}) {
    this.graceSeconds = options.graceSeconds ?? silentSeconds;
    this.#onNotice = options.onNotice ?? console.warn;
    this.#journal = journal;
    this.#path = `${journal}.lock`;
    this.#holders = `${journal}.holders`;
    this.#target = join(`${basename(journal)}.holders`, this.#name);
  }

  /** Waits until the lock is ours. */
  async acquire(): Promise<void> {
    if (!this.#isRegistered) this.#register();
    let told = false;
    for (let wait = 1; ; wait = Math.min(wait * 2, mostMillisecondsToWait)) {
      try {
        symlinkSync(this.#target, this.#path);
        this.#watched.signature = '';
        return;
      } catch (error) {
        if (codeOf(error) !== 'EEXIST') throw error;
      }
      if (ifThere(() => lstatSync(this.#path))?.isDirectory()) {
        throw new DataError(`${this.#path} is a folder, but the journal's lock has this name; remove it`);
      }
      if (this.#removeDead()) continue;
      if (!told && this.#stillSeconds() > untoldShare * this.graceSeconds) {
        told = true;
        this.#onNotice(`waiting for ${this.#path}, ${this.#holderText()}`);
      }
      await sleep(wait * (0.5 + Math.random() / 2));
    }
  }

  /** Whether the lock is still ours: if this process was paused for long, others may have considered it dead. */
  isHeld(): boolean {
    return ifThere(() => readlinkSync(this.#path)) === this.#target;
  }

  /** Releases the lock, unless it was taken over. */
  release(): void {
    if (this.isHeld()) unlinkSync(this.#path);
  }

  /** Removes what this lock left in the folder of holders. */
  close(): void {
    if (!this.#isRegistered) return;
    this.#isRegistered = false;
    rmSync(join(this.#holders, this.#name), { force: true });
  }

  /** Creates our link in the folder of holders and removes the links of processes that are gone. */
  #register(): void {
    makeFolder(this.#holders);
    const own = join(this.#holders, this.#name);
    rmSync(own, { force: true });
    symlinkSync(join('..', basename(this.#journal)), own);
    this.#isRegistered = true;
    const current = ifThere(() => readlinkSync(this.#path));
    for (const name of readdirSync(this.#holders)) {
      const isCurrent = current !== undefined && basename(current) === name;
      // Whoever creates a claim removes it; see below.
      if (name.endsWith(claimEnding) || isCurrent || livenessOf(name) !== 'dead') continue;
      rmSync(join(this.#holders, name), { force: true });
    }
  }

  /** Removes the lock if its holder is gone and we have the claim. @returns whether to try again immediately. */
  #removeDead(): boolean {
    const before = this.#look();
    if (before === undefined) return true;
    const hasStoodStill = this.#hasStoodStill(before);
    const isDead = before.liveness === 'dead' || (before.liveness === 'unknown' && hasStoodStill);
    if (!isDead) return false;
    const claims = this.#claim(before.key);
    if (claims === undefined) return false;
    // A dead lock never comes back: if it still exists, only we may remove it.
    const after = this.#look();
    if (after?.signature === before.signature) ifThere(() => unlinkSync(this.#path));
    for (const claim of claims) rmSync(claim, { force: true });
    if (before.holder !== undefined) rmSync(join(this.#holders, before.holder), { force: true });
    return true;
  }

  /** The present lock; undefined if there is none. */
  #look():
    | { signature: string; key: string; holder?: string; liveness: ReturnType<typeof livenessOf> }
    | undefined {
    const status = ifThere(() => lstatSync(this.#path));
    if (status === undefined) return undefined;
    const signature = `${status.ino}-${status.mtimeMs}`;
    const target = ifThere(() => readlinkSync(this.#path)) ?? '';
    const holder = basename(target);
    const isOurs = target === join(`${basename(this.#journal)}.holders`, holder);
    if (!isOurs) return { signature, key: `unnamed-${signature}`, liveness: 'unknown' };
    return { signature, key: holder, holder, liveness: livenessOf(holder) };
  }

  /** Whether we have seen the same lock for `graceSeconds`, by our own clock, while the journal did not grow. */
  #hasStoodStill({ signature }: { readonly signature: string }): boolean {
    const size = ifThere(() => statSync(this.#journal).size) ?? 0;
    if (this.#watched.signature !== signature || this.#watched.size !== size) {
      this.#watched = { signature, size, since: performance.now() };
    }
    return this.#stillSeconds() > this.graceSeconds;
  }

  #stillSeconds(): number {
    return (performance.now() - this.#watched.since) / 1000;
  }

  /** Who holds the lock, and how long we wait for it. */
  #holderText(): string {
    const { holder, liveness } = this.#look() ?? { liveness: 'unknown' };
    const [host = '', , pid = ''] = holder?.split('+') ?? [];
    const who = holder === undefined ? 'which Optuna holds' : `held by process ${pid} on ${host}`;
    const left = Math.max(0, Math.ceil(this.graceSeconds - this.#stillSeconds()));
    return liveness === 'alive'
      ? `${who}, which is still running`
      : `${who}; if the journal does not grow, it will be taken over in ${left} s`;
  }

  /** Claims the lock. @returns the claims to remove afterwards; undefined if another process has the claim. */
  #claim(key: string): readonly string[] | undefined {
    const claims: string[] = [];
    for (let name = key; ; ) {
      const path = join(this.#holders, `${name}${claimEnding}`);
      claims.push(path);
      try {
        symlinkSync(this.#name, path);
        return claims;
      } catch (error) {
        if (codeOf(error) !== 'EEXIST') throw error;
      }
      const claimer = ifThere(() => readlinkSync(path));
      // The claim and the lock are gone.
      if (claimer === undefined) return undefined;
      const isOverdue = this.#stillSeconds() > 3 * this.graceSeconds;
      const liveness = livenessOf(claimer);
      if (liveness === 'alive' || (liveness === 'unknown' && !isOverdue)) return undefined;
      name = claimer;
    }
  }
}
