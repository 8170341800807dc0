/**
 * Checks for options passed from plain JavaScript, where nothing checks types or misspelled keys. Each public function
 * that takes options lists its keys; the type of that list ensures that none is missing.
 */
import { UsageError } from './errors.ts';
import { unknownName } from './suggest.ts';

/** The keys of an options type, and whether each is required. */
export type KnownKeys<Options> = {
  readonly [Key in keyof Options]-?: object extends Pick<Options, Key> ? 'optional' : 'required';
};

/** @throws UsageError unless `options` is an object with all required keys and no unknown ones. */
export function checkOptions<Options extends object>(
  where: string,
  options: unknown,
  known: KnownKeys<Options>,
): void {
  if (!isObject(options)) {
    throw new UsageError(
      `${where}: the options are ${shown(options)}, not an object such as { ${Object.keys(known)[0]}: … }`,
    );
  }
  const names = Object.keys(known);
  for (const name of Object.keys(options)) {
    if (!names.includes(name)) throw new UsageError(`${where}: ${unknownName('option', name, names)}`);
  }
  const missing = names.find(
    (name) => known[name as keyof Options] === 'required' && options[name] === undefined,
  );
  if (missing !== undefined) throw new UsageError(`${where}: the option ${missing} is missing`);
}

/** @throws UsageError unless `value` is an object with these members; `what` says what it should be. */
export function checkArgument(
  where: string,
  name: string,
  value: unknown,
  members: readonly string[],
  what: string,
): void {
  if (isObject(value) && members.every((member) => member in value)) return;
  throw new UsageError(`${where}: ${name} is ${shown(value)}, not ${what}`);
}

/** @throws UsageError unless `value` is a whole number from `least` to `most`. The message names the limit. */
export function checkWhole(
  where: string,
  name: string,
  value: unknown,
  least: number,
  most: number = Number.MAX_SAFE_INTEGER,
): void {
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= least && value <= most) return;
  const rule =
    typeof value === 'number' && value > most
      ? `is above the limit of ${most}`
      : `is not a whole number ≥ ${least}`;
  throw new UsageError(`${where}: ${name} ${shown(value)} ${rule}`);
}

/** The most threads. Each one needs memory, and few machines have more cores. */
export const maxThreads = 256;

/** The most seeds of a series of runs. */
export const mostSeeds = 10_000;

/** The longest timer, in seconds; Node fires longer ones immediately. */
export const longestTimer = 2_147_483;

export const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** Formats any value for a message, in at most about 60 characters. */
export function shown(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value.length > 60 ? `${value.slice(0, 60)}…` : value);
  if (typeof value === 'function') return 'a function';
  if (Array.isArray(value)) return 'a list';
  return typeof value === 'object' && value !== null ? 'an object' : String(value);
}
