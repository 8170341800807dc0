/** Numbers as words in the chosen language. */
import { language, text } from '../state/settings.ts';

/** `98.4 %`; no digits after the point if `digits` is 0. */
export const percent = (share: number, digits = 1): string =>
  `${(100 * share).toFixed(digits)}${language.value === 'ko' ? '' : '\u00a0'}%`;

/** `12,345`. */
export const grouped = (value: number): string => Math.round(value).toLocaleString(language.value);

/** `1.84M`, in Korean `184만`: three digits, but all of small numbers. */
export const compact = (value: number): string =>
  value < 10_000
    ? grouped(value)
    : value.toLocaleString(language.value, { notation: 'compact', maximumSignificantDigits: 3 });

/** A number of any size, in few characters: `0.02`, `1e-5`, `12.3`. */
export function short(value: number): string {
  if (value === 0) return '0';
  const size = Math.abs(value);
  if (size < 1e-4 || size >= 1e6) return value.toExponential(1).replace('.0e', 'e').replace('e+', 'e');
  return String(Number(value.toPrecision(3)));
}

/** The name of a class for display: without underscores, translated where it is known. */
export const className = (name: string): string =>
  text.value.shell.classNames[name] ?? name.replaceAll('_', ' ');
