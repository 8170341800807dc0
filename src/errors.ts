/**
 * Errors caused by user input. Each message names the value, the rule it breaks and the way out. The command line
 * prints only the message (no stack) and exits with `exitCode`: 2 for usage, 1 for everything else.
 */
export class VggError extends Error {
  override name = 'VggError';
  readonly exitCode: 1 | 2 = 1;
}

/** A wrong option, name or value; the call must change. */
export class UsageError extends VggError {
  override name = 'UsageError';
  override readonly exitCode = 2;
}

/** A file that is missing, truncated, corrupt or not what it claims to be. */
export class DataError extends VggError {
  override name = 'DataError';
}

/** A network whose layers do not fit, for example a kernel larger than its input. */
export class ShapeError extends VggError {
  override name = 'ShapeError';
  override readonly exitCode = 2;
}

/** A fault of this machine that has no code of the system, such as missing data: the request is not at fault. */
export class MachineError extends VggError {
  override name = 'MachineError';
}

/** A training whose numbers are no longer finite. */
export class DivergedError extends VggError {
  override name = 'DivergedError';
}

/** The GPU went away: a training continues on a new device from its last checkpoint. */
export class DeviceLostError extends VggError {
  override name = 'DeviceLostError';
}

/** A run folder that is damaged, or that others changed during training. */
export class DamagedRunError extends DataError {
  override name = 'DamagedRunError';
}

/** A folder that another process uses: it must end first, so another try may succeed. */
export class InUseError extends MachineError {
  override name = 'InUseError';
}

/** The process reached its limit of open files. The message names no file because the opened file is not at fault. */
export const tooManyOpenFiles = 'too many open files; raise the limit (ulimit -n 1024)';

/** Whether an error from the system or from Node means that too many files are open. */
export function isTooManyOpenFiles(error: unknown): boolean {
  const { code, message } = error as { readonly code?: string; readonly message?: string };
  return /\b(EMFILE|ENFILE)\b|too many open files/.test(`${code} ${message}`);
}
