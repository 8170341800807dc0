/**
 * The one syntax of numbers that users write in options, lists and model options: decimal with an optional exponent
 * (`100`, `0.5`, `1e-3`), or for numbers that need not be whole a fraction of two of them (`1/3`). Hexadecimal, digit
 * separators, `Infinity`, empty text and text behind the number are rejected.
 */
const decimal = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;

/** The number that `text` spells; ±Infinity where it is too large for a double, undefined where it is not a number. */
export function parseNumber(text: string): number | undefined {
  const parts = text.split('/');
  if (parts.length > 2 || !parts.every((part) => decimal.test(part))) return undefined;
  const [numerator = Number.NaN, denominator = 1] = parts.map(Number);
  return denominator === 0 ? undefined : numerator / denominator;
}

/** The whole number that `text` spells, as in `100` or `1e3`; as `parseNumber` otherwise. */
export function parseWhole(text: string): number | undefined {
  const value = text.includes('/') ? undefined : parseNumber(text);
  return value === undefined || Number.isInteger(value) || Math.abs(value) === Infinity ? value : undefined;
}

/** The range of a number: `above` and `below` are excluded themselves, `least` and `most` are not. */
export interface Bounds {
  readonly above?: number;
  readonly least?: number;
  readonly below?: number;
  readonly most?: number;
}

/**
 * What is wrong with `text` as a number in `bounds`, `value` being what it parses to: that it is not `rule`, or that it
 * exceeds the limit. Undefined where nothing is wrong.
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
