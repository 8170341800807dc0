/**
 * The number syntax of all options, lists and model options: decimal with an optional exponent (`100`, `0.5`, `1e-3`),
 * or a fraction (`1/3`) if the number need not be whole. Hexadecimal, digit separators, `Infinity`, empty text and
 * trailing text are rejected.
 */
const decimal = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;

/** Parses a number. Returns ±Infinity if it is too large for a double, undefined if `text` is not a number. */
export function parseNumber(text: string): number | undefined {
  const parts = text.split('/');
  if (parts.length > 2 || !parts.every((part) => decimal.test(part))) return undefined;
  const [numerator = Number.NaN, denominator = 1] = parts.map(Number);
  return denominator === 0 ? undefined : numerator / denominator;
}

/** Parses a whole number such as `100` or `1e3`; undefined if `text` is not one. Otherwise like `parseNumber`. */
export function parseWhole(text: string): number | undefined {
  const value = text.includes('/') ? undefined : parseNumber(text);
  return value === undefined || Number.isInteger(value) || Math.abs(value) === Infinity ? value : undefined;
}

/** The range of a number: `above` and `below` are exclusive, `least` and `most` inclusive. */
export interface Bounds {
  readonly above?: number;
  readonly least?: number;
  readonly below?: number;
  readonly most?: number;
}

/**
 * The problem with `text`, whose parsed number is `value`: it is not `rule`, or it exceeds the limit. Undefined if it
 * is valid.
 */
export function numberProblem(
  text: string,
  value: number | undefined,
  rule: string,
  { above = -Infinity, least = -Infinity, below = Infinity, most = Number.MAX_VALUE }: Bounds,
): string | undefined {
  if (value !== undefined && value > most && below === Infinity)
    return `${text} is above the limit of ${most}`;
  const isIn =
    value !== undefined &&
    Math.abs(value) < Infinity &&
    value > above &&
    value >= least &&
    value < below &&
    value <= most;
  return isIn ? undefined : `${text} is not ${rule}`;
}
