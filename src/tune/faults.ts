/** Tells faults of the machine from results of a trial: a full disk says nothing about a configuration. Needs Node. */
import { InUseError, isTooManyOpenFiles, reason, VggError } from '../errors.ts';

/** What systems report when they, and not the request, are at fault. */
const codes = new Set(
  'ENOSPC EDQUOT EROFS EIO EMFILE ENFILE ENOMEM EACCES EPERM EAGAIN ENODEV ENXIO ENOLCK ESTALE ETIMEDOUT'.split(
    ' ',
  ),
);

/** V8's and WebAssembly's words for memory that the system does not give. */
const noMemory = /allocation failed|could not allocate|out of memory|unable to grow/i;

/** A fault of the machine. */
export interface MachineFault {
  /** In plain words. */
  readonly message: string;
  /** Whether memory is short: the one fault that a large trial may cause, so it is not retried for ever. */
  readonly isMemory: boolean;
}

/** A fault that no code of the system tells, such as missing data. */
export class MachineError extends VggError {
  override name = 'MachineError';
}

/** The fault of the machine behind an error; undefined where the error tells nothing about the machine. */
export function machineFault(error: unknown): MachineFault | undefined {
  const message =
    error instanceof VggError ? error.message : error instanceof Error ? reason(error) : String(error);
  const seen = new Set<unknown>();
  for (let at = error; at instanceof Error && !seen.has(at); at = at.cause) {
    seen.add(at);
    if (at instanceof MachineError || at instanceof InUseError || isTooManyOpenFiles(at)) {
      return { message, isMemory: false };
    }
    const { code = '' } = at as NodeJS.ErrnoException;
    if (code === 'ENOMEM' || (at instanceof RangeError && noMemory.test(at.message))) {
      return { message, isMemory: true };
    }
    // Our own readers and writers of files wrap what the system says. Others may mean more by a missing file.
    if (codes.has(code) || (error instanceof VggError && /^(?:E[A-Z\d]+|NOT_REGULAR)$/.test(code))) {
      return { message, isMemory: false };
    }
  }
  return undefined;
}
