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

/** Describes a system error in plain words. */
export function reason(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException;
  switch (code) {
    case 'ENOENT':
      return 'no such file or folder';
    case 'EACCES':
    case 'EPERM':
      return 'no permission';
    case 'EROFS':
      return 'the file system is read-only';
    case 'ENOSPC':
      return 'no space left on the disk';
    case 'EDQUOT':
      return 'the disk quota is used up';
    case 'EFBIG':
      return 'the file is too large for the file system';
    case 'EISDIR':
    case 'ERR_FS_EISDIR':
      return 'it is a folder';
    case 'ENOTDIR':
      return 'part of its path is a file, not a folder';
    case 'EEXIST':
      return 'a file with this name already exists';
    case 'ENOTEMPTY':
      return 'the folder is not empty';
    case 'ENAMETOOLONG':
      return 'its name is too long';
    case 'ELOOP':
      return 'its symbolic links form a loop';
    case 'ENXIO':
    case 'ENODEV':
      return 'it is not a regular file';
    case 'EBUSY':
    case 'ETXTBSY':
      return 'another program is using it';
    case 'EXDEV':
      return 'it is on another disk';
    case 'ESTALE':
      return 'it no longer exists on the file server';
    case 'EPIPE':
      return 'its reader has closed it';
    case 'E2BIG':
      return 'its command line is too long';
    case 'EAGAIN':
      return 'the system is out of processes or threads';
    case 'ENOMEM':
      return 'not enough memory';
    case 'ENOEXEC':
      return 'it is not a program for this machine';
    case 'ERR_INVALID_ARG_VALUE':
      return 'its name contains a zero byte';
    case 'EMFILE':
    case 'ENFILE':
      return tooManyOpenFiles;
    case 'EIO':
      return 'the disk reports an error';
    default:
      // Strips code, call and path from `EUCLEAN: structure needs cleaning, open '/x'`.
      return message.replace(/^[A-Z0-9_]+: (.*?)(?:, \w+(?: '.*)?)?$/s, '$1');
  }
}
