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
