/**
 * The errors a user can provoke. Each message names the value, the rule it breaks and the way out; the command
 * line prints the message alone (no stack) and exits with `exitCode`: 2 for usage, 1 for everything else.
 */
export class VggError extends Error {
  override name = 'VggError';
  readonly exitCode: 1 | 2 = 1;
}

/** A wrong option, name or value: the call itself must change. */
export class UsageError extends VggError {
  override name = 'UsageError';
  override readonly exitCode = 2;
}

/** A file that is missing, truncated, corrupt or not what it claims to be. */
export class DataError extends VggError {
  override name = 'DataError';
}

/** A network that does not fit together, for instance a kernel larger than its input. */
export class ShapeError extends VggError {
  override name = 'ShapeError';
  override readonly exitCode = 2;
}

/** A system error in plain words. */
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
      return 'the file system allows no file so large';
    case 'EISDIR':
    case 'ERR_FS_EISDIR':
      return 'it is a folder';
    case 'ENOTDIR':
      return 'a part of its path is a file, not a folder';
    case 'EEXIST':
      return 'there is a file of this name already';
    case 'ENOTEMPTY':
      return 'the folder is not empty';
    case 'ENAMETOOLONG':
      return 'its name is too long';
    case 'ELOOP':
      return 'its symbolic links lead in a circle';
    case 'ENXIO':
    case 'ENODEV':
      return 'it is not a regular file';
    case 'EBUSY':
    case 'ETXTBSY':
      return 'another program uses it';
    case 'EXDEV':
      return 'it is on another disk';
    case 'ESTALE':
      return 'it is gone from the file server';
    case 'EPIPE':
      return 'its reader is gone';
    case 'E2BIG':
      return 'its command line is too long';
    case 'EAGAIN':
      return 'the system is out of processes or threads';
    case 'ENOMEM':
      return 'there is not enough memory';
    case 'ENOEXEC':
      return 'it is no program for this machine';
    case 'ERR_INVALID_ARG_VALUE':
      return 'its name holds a zero byte';
    case 'EMFILE':
    case 'ENFILE':
      return 'too many files are open; raise the limit (ulimit -n 1024)';
    case 'EIO':
      return 'the disk reports an error';
    default:
      // `EUCLEAN: structure needs cleaning, open '/x'` without code, call and path.
      return message.replace(/^[A-Z0-9_]+: (.*?)(?:, \w+(?: '.*)?)?$/s, '$1');
  }
}
