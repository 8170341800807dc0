/**
 * Options as plain JavaScript passes them: no type has checked them, and JavaScript ignores a misspelled key. Each
 * public function that takes options lists its keys, and the list's type makes it complete.
 */
import { UsageError } from './errors.ts';
import { unknownName } from './suggest.ts';

/** The keys of an options type, and which of them must be there. */
export type KnownKeys<Options> = {
  readonly [Key in keyof Options]-?: object extends Pick<Options, Key> ? 'optional' : 'required';
};

/** @throws UsageError unless `options` is an object with the known keys alone, the required ones among them. */
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

/** @throws UsageError unless `value` is a whole number from `least` to `most`; the message names the limit. */
export function checkWhole(where: string, name: string, value: unknown, least: number, most: number): void {
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= least && value <= most) return;
  const rule =
    typeof value === 'number' && value > most
      ? `is above the limit of ${most}`
      : `is not a whole number ≥ ${least}`;
  throw new UsageError(`${where}: ${name} ${shown(value)} ${rule}`);
}

/** More than any machine has cores; each thread costs memory of its own. */
export const maxThreads = 256;

/** The most seeds of a series of runs. */
export const mostSeeds = 10_000;

/** The longest that a timer waits, in seconds: Node ends a longer one at once. */
export const longestTimer = 2_147_483;

export const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** A value in a message: short, and whatever it is. */
export function shown(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value.length > 60 ? `${value.slice(0, 60)}…` : value);
  if (typeof value === 'function') return 'a function';
  if (Array.isArray(value)) return 'a list';
  return typeof value === 'object' && value !== null ? 'an object' : String(value);
}
