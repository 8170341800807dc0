/**
 * Ctrl-C, SIGTERM, and SIGHUP, which a closed terminal or a lost connection sends. If the command has something to keep,
 * the first one asks it to stop: it finishes its step, keeps what it can and says what that was. It has a limited time for that; then, or at a second signal, the
 * process ends as it is. A command with nothing to keep, in start-up for instance, ends at once.
 */
import { constants } from 'node:os';
import { note } from './output.ts';

const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/** Thrown where a command stops because of a signal: the reason of the abort signal. */
export class Interrupted extends Error {
  override name = 'Interrupted';
  /** 128 + the signal's number, as shells have it. */
  readonly exitCode: number;

  constructor(signal: (typeof signals)[number]) {
    super(`interrupted by ${signal}`);
    this.exitCode = 128 + constants.signals[signal];
  }
}

export interface Interruption {
  readonly signal: AbortSignal;
  /** What an end at this moment leaves behind, as a sentence; the command keeps it true. */
  kept: string;
  /** Whether the command minds `signal` now, and stops by itself. */
  stopsItself: boolean;
  /** How long it may take; less than a second, unless there is something to keep. */
  graceMilliseconds: number;
}

const shortGrace = 800;
/** Under npm one Ctrl-C comes twice: from the terminal, and forwarded by npm. */
const echoMilliseconds = 100;

/** Listens for the signals from now on. */
export function listenForInterrupts(): Interruption {
  const controller = new AbortController();
  const interruption: Interruption = {
    signal: controller.signal,
    kept: '',
    stopsItself: false,
    graceMilliseconds: shortGrace,
  };
  let first = Infinity;
  for (const name of signals) {
    process.on(name, () => {
      const reason = new Interrupted(name);
      if (performance.now() - first > echoMilliseconds) process.exit(reason.exitCode);
      if (controller.signal.aborted) return;
      if (!interruption.stopsItself) endInterrupted(reason, interruption);
      first = performance.now();
      controller.abort(reason);
      setTimeout(() => endInterrupted(reason, interruption), interruption.graceMilliseconds).unref();
    });
  }
  return interruption;
}

/** Says what was kept and ends the process. */
export function endInterrupted(reason: Interrupted, { kept }: Interruption): never {
  note(`${process.stdout.isTTY ? '\n' : ''}Interrupted.${kept === '' ? '' : ` ${kept}`}`);
  process.exit(reason.exitCode);
}
