/** Paths that users name. An empty one comes from a variable that is not set, and is never meant. */
import { UsageError } from './errors.ts';

export const isBlank = (path: string): boolean => path.trim() === '';

/** Completes the name of an option. */
export const blankPath = 'is empty; name a file or folder, or leave it out';

/**
 * `path`, where it can be one; `what` is its option or parameter.
 * @throws UsageError where it is empty or blank, or no text.
 */
export function checkPath(what: string, path: string): string {
  if (typeof path !== 'string') throw new UsageError(`${what}: ${JSON.stringify(path)} is not a path`);
  if (isBlank(path)) throw new UsageError(`${what} ${blankPath}`);
  return path;
}

/** A path in the environment; an empty or blank one counts as not set, as in XDG's rules. */
export const pathInEnvironment = (value: string | undefined): string | undefined =>
  value === undefined || isBlank(value) ? undefined : value;
