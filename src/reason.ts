/** System errors in words. */
import { tooManyOpenFiles } from './errors.ts';

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
