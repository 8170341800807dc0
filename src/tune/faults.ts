/** Distinguishes faults of the machine from results of a trial: a full disk says nothing about a configuration. */
import { DamagedRunError, isTooManyOpenFiles, MachineError, VggError } from '../errors.ts';
import { reason } from '../reason.ts';

/** Codes of the operating system that say that the machine, not the request, is at fault. */
const codes = new Set(
  'ENOSPC EDQUOT EROFS EIO EMFILE ENFILE ENOMEM EACCES EPERM EAGAIN ENODEV ENXIO ENOLCK ESTALE ETIMEDOUT'.split(
    ' ',
  ),
);

/** V8's and WebAssembly's messages when the system has no memory left. */
const noMemory = /allocation failed|could not allocate|out of memory|unable to grow/i;

/** A fault of the machine. */
export interface MachineFault {
  /** In plain words. */
  readonly message: string;
  /** Whether memory is short: a large trial may cause this itself, so its retries are limited. */
  readonly isMemory: boolean;
}

/** The fault of the machine behind an error; undefined if the error says nothing about the machine. */
export function machineFault(error: unknown): MachineFault | undefined {
  const message =
    error instanceof VggError ? error.message : error instanceof Error ? reason(error) : String(error);
  const seen = new Set<unknown>();
  for (let at = error; at instanceof Error && !seen.has(at); at = at.cause) {
    seen.add(at);
    if (at instanceof MachineError || at instanceof DamagedRunError || isTooManyOpenFiles(at)) {
      return { message, isMemory: false };
    }
    const { code = '' } = at as NodeJS.ErrnoException;
    if (code === 'ENOMEM' || (at instanceof RangeError && noMemory.test(at.message))) {
      return { message, isMemory: true };
    }
    // Our own file functions wrap the system's errors. In other code, a missing file may be about the trial.
    if (codes.has(code) || (error instanceof VggError && /^(?:E[A-Z\d]+|NOT_REGULAR)$/.test(code))) {
      return { message, isMemory: false };
    }
  }
  return undefined;
}
