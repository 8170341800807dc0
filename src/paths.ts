/** Paths given by users. An empty path usually comes from an unset shell variable, so it is always an error. */
import { UsageError } from './errors.ts';

export const isBlank = (path: string): boolean => path.trim() === '';

/** The message that follows the name of an option. */
export const blankPath = 'is empty; name a file or folder, or leave it out';

/**
 * Returns `path` if it is valid; `what` names its option or parameter in the message.
 * @throws UsageError if it is not a string, or empty or blank.
 */
export function checkPath(what: string, path: string): string {
  if (typeof path !== 'string') throw new UsageError(`${what}: ${JSON.stringify(path)} is not a path`);
  if (isBlank(path)) throw new UsageError(`${what} ${blankPath}`);
  return path;
}

/** A path from an environment variable; an empty or blank one counts as unset, as XDG requires. */
export const pathInEnvironment = (value: string | undefined): string | undefined =>
  value === undefined || isBlank(value) ? undefined : value;
