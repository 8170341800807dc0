/** Errors of files, in Node and in browsers; `reason` puts the system's code in words. */
import { DataError, VggError } from '../errors.ts';
import { reason } from '../reason.ts';

/** Wraps a system error. */
export const cannotRead = (path: string, error: unknown): DataError =>
  error instanceof DataError
    ? error
    : new DataError(`${path} cannot be read: ${reason(error)}`, { cause: error });

/** Wraps a system error. A `VggError` already names its file and is returned unchanged. */
export const cannotWrite = (path: string, error: unknown): VggError =>
  error instanceof VggError
    ? error
    : new VggError(`${path} cannot be written: ${reason(error)}`, { cause: error });

/** Whether an error means that the file does not exist. */
export function isMissing(error: unknown): boolean {
  const cause = error instanceof VggError ? error.cause : error;
  return (cause as { readonly code?: string } | undefined)?.code === 'ENOENT';
}
