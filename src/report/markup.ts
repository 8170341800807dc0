/**
 * HTML as text. Every inserted value is escaped, because class names and configs come from anywhere. Only `html` and
 * `raw` create `Markup`, which is not escaped again.
 */

/** Text that is markup. */
export class Markup {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }

  toString(): string {
    return this.text;
  }
}

export type Content = Markup | string | number | undefined | false | readonly Content[];

/** A template that escapes its values, except markup. Lists are joined; `undefined` and `false` are left out. */
export function html(strings: TemplateStringsArray, ...values: readonly Content[]): Markup {
  return new Markup(strings.map((text, i) => text + (i < values.length ? markupOf(values[i]) : '')).join(''));
}

/** Declares text to be markup. Use it only for text that this program generated. */
export const raw = (text: string): Markup => new Markup(text);

function markupOf(value: Content): string {
  if (value === undefined || value === false) return '';
  if (value instanceof Markup) return value.text;
  if (typeof value === 'object') return value.map(markupOf).join('');
  return escapeHtml(String(value));
}

/** For text, and for attributes in double or single quotes. */
export function escapeHtml(text: string): string {
  return text
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;')
    .replaceAll("'", '&#39;');
}

/** JSON for a `script` element: it has no `<`, so it cannot end the element. */
export function scriptJson(value: unknown): Markup {
  return raw(
    JSON.stringify(value)
      .replaceAll('<', '\\u003c')
      .replaceAll('\u2028', '\\u2028')
      .replaceAll('\u2029', '\\u2029'),
  );
}

export { fixed, grouped, percent } from '../words.ts';

/** A duration in words, without line breaks: `4.2 s`, `12 min 5 s`, `3 h 20 min`. */
export function duration(seconds: number): string {
  const words = (): string => {
    if (seconds < 60) return `${seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)} s`;
    const whole = Math.round(seconds);
    if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
    const minutes = Math.round(seconds / 60);
    return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
  };
  return words().replaceAll(' ', '\u00a0');
}

/** A class name for display: without underscores. */
export const spoken = (name: string): string => name.replaceAll('_', ' ');
