/**
 * The journal's lock: Optuna's symbolic link `<journal>.lock` (`JournalFileSymlinkLock`; its `JournalFileOpenLock` uses
 * the same name, and the two exclude each other). Creating a link is atomic on NFS, too. Needs Node.
 *
 * The link leads to a second link, `<journal>.holders/<process>`, and that to the journal. So whoever waits can read
 * who holds the lock, while a `stat` through the lock yields the journal's time, as newer versions of Optuna want.
 *
 * A holder that is gone is recognised by the rule of all locks (`files/liveness.ts`) and its lock taken over:
 * - at once, when it was a process of this machine that does not run any more;
 * - otherwise (one that cannot be asked for, or Optuna's, which has no name) when the same lock has stood for
 *   `graceSeconds` and the journal, its sign of life, has not grown meanwhile.
 * Of several that wait only one may remove a lock: the one that creates the claim `<journal>.holders/<lock>.taken`.
 * The claim stands until the lock is gone, and a claimer that died is succeeded in the same way; so a lock that was
 * just acquired is never removed by someone who looked at its predecessor.
 */
import { lstatSync, readdirSync, readlinkSync, rmSync, statSync, symlinkSync, unlinkSync } from 'node:fs';
import { basename, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { livenessOf, processIdentity, silentSeconds } from '../files/liveness.ts';
import { makeFolder } from '../files/make-folder.ts';

export interface LockOptions {
  /** Seconds that an unknown holder's lock may stand while the journal does not grow; `silentSeconds` by default. */
  readonly graceSeconds?: number;
  /** Told what is waited for, once it takes long; `console.warn` by default. */
  readonly onNotice?: (line: string) => void;
}

const claimEnding = '.taken';
const mostMillisecondsToWait = 50;
/** Seconds of waiting for a lock that are not worth a word, as a share of the time of grace. */
const untoldShare = 1 / 18;
let count = 0;

const codeOf = (error: unknown): string | undefined => (error as NodeJS.ErrnoException).code;

/** Runs `action`, or yields undefined where the file it needs does not exist (any more). */
function ifThere<T>(action: () => T): T | undefined {
  try {
    return action();
  } catch (error) {
    const code = codeOf(error);
    // EINVAL: readlink of what is no link, as Optuna's other lock.
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
      if (this.#removeDead()) continue;
      if (!told && this.#stillSeconds() > untoldShare * this.graceSeconds) {
        told = true;
        this.#onNotice(`waiting for ${this.#path}, ${this.#holderText()}`);
      }
      await sleep(wait * (0.5 + Math.random() / 2));
    }
  }

  /** Whether the lock is still ours: a process that slept for long may have been taken for dead. */
  isHeld(): boolean {
    return ifThere(() => readlinkSync(this.#path)) === this.#target;
  }

  /** Gives the lock back, unless it was taken over. */
  release(): void {
    if (this.isHeld()) unlinkSync(this.#path);
  }

  /** Removes what this lock left in the folder of holders. */
  close(): void {
    if (!this.#isRegistered) return;
    this.#isRegistered = false;
    rmSync(join(this.#holders, this.#name), { force: true });
  }

  /** Puts our link into the folder of holders, and clears away those of processes that are gone. */
  #register(): void {
    makeFolder(this.#holders);
    const own = join(this.#holders, this.#name);
    rmSync(own, { force: true });
    symlinkSync(join('..', basename(this.#journal)), own);
    this.#isRegistered = true;
    const current = ifThere(() => readlinkSync(this.#path));
    for (const name of readdirSync(this.#holders)) {
      const isCurrent = current !== undefined && basename(current) === name;
      // Claims are removed by those who make them; see below.
      if (name.endsWith(claimEnding) || isCurrent || livenessOf(name) !== 'dead') continue;
      rmSync(join(this.#holders, name), { force: true });
    }
  }

  /** Removes the lock if its holder is gone and the removal is ours to do. @returns whether to try again at once. */
  #removeDead(): boolean {
    const before = this.#look();
    if (before === undefined) return true;
    const hasStoodStill = this.#hasStoodStill(before);
    const isDead = before.liveness === 'dead' || (before.liveness === 'unknown' && hasStoodStill);
    if (!isDead) return false;
    const claims = this.#claim(before.key);
    if (claims === undefined) return false;
    // Dead locks never come back: if it is still there, nobody but us removes it.
    const after = this.#look();
    if (after?.signature === before.signature) ifThere(() => unlinkSync(this.#path));
    for (const claim of claims) rmSync(claim, { force: true });
    if (before.holder !== undefined) rmSync(join(this.#holders, before.holder), { force: true });
    return true;
  }

  /** The lock as it stands; undefined where there is none. */
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

  /** Whether the same lock has been seen for the time of grace, by our own clock, without the journal growing. */
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

  /** Who holds the lock, and until when it is waited for. */
  #holderText(): string {
    const { holder, liveness } = this.#look() ?? { liveness: 'unknown' };
    const [host = '', , pid = ''] = holder?.split('+') ?? [];
    const who = holder === undefined ? 'which Optuna holds' : `held by process ${pid} on ${host}`;
    const left = Math.max(0, Math.ceil(this.graceSeconds - this.#stillSeconds()));
    return liveness === 'alive'
      ? `${who}, which still runs`
      : `${who}; if the journal does not grow, it is taken over in ${left} s`;
  }

  /** The claims that make the removal ours, to be removed afterwards; undefined where it is another's. */
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
      // Gone meanwhile, and the lock with it.
      if (claimer === undefined) return undefined;
      const isOverdue = this.#stillSeconds() > 3 * this.graceSeconds;
      const liveness = livenessOf(claimer);
      if (liveness === 'alive' || (liveness === 'unknown' && !isOverdue)) return undefined;
      name = claimer;
    }
  }
}
