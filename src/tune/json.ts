/**
 * JSON as Python reads and writes it, without loss: NaN and ±Infinity are written bare, and integers have any size.
 * `JSON.parse` alone rejects the former and rounds the latter.
 */

/** A JSON value. Integers beyond ±2⁵³ are bigints. */
export type Json =
  | null
  | boolean
  | number
  | bigint
  | string
  | readonly Json[]
  | { readonly [key: string]: Json };

/** Python's parser fails near this depth, so anything that Optuna can read is less deep. */
const mostDepth = 1000;
/** Python's limit for the digits of an integer; reading them takes quadratic time. */
const mostDigits = 4300;

/** Number tokens that no writer uses. They replace what JSON cannot express while `JSON` parses or writes. */
const tokens: Readonly<Record<string, string>> = {
  NaN: '0e-7078',
  Infinity: '1e7078',
  '-Infinity': '-1e7078',
};
const words: Readonly<Record<string, string>> = Object.fromEntries(
  Object.entries(tokens).map(([word, token]) => [token, word]),
);

/** An integer that may be too long for a number. A float's digits follow a point. */
const longInteger = /(?:^|[^.\d])\d{16}/;
const bareWord = /NaN|Infinity/;

/**
 * Parses Python's JSON.
 * @throws SyntaxError for text that is not JSON, is nested more than 1000 deep, or has integers over 4300 digits.
 */
export function parsePythonJson(text: string): Json {
  if (text.length <= mostDepth && !longInteger.test(text)) {
    try {
      return JSON.parse(text) as Json;
    } catch (error) {
      if (!bareWord.test(text)) throw error;
    }
  }
  let depth = 0;
  const readable = outsideStrings(text, (part) => {
    for (let i = 0; i < part.length; i++) {
      const character = part.charCodeAt(i);
      if (character === 0x5b || character === 0x7b) depth++;
      else if (character === 0x5d || character === 0x7d) depth--;
      if (depth > mostDepth) throw new SyntaxError(`the JSON is nested more than ${mostDepth} deep`);
    }
    return part.replaceAll(/-?\bInfinity\b|\bNaN\b/g, (word) => tokens[word] ?? word);
  });
  const needsCare = bareWord.test(text) || longInteger.test(text);
  return (needsCare ? JSON.parse(readable, revive as Reviver) : JSON.parse(readable)) as Json;
}

type Reviver = Parameters<typeof JSON.parse>[1];

function revive(_key: string, value: unknown, { source }: { readonly source?: string }): unknown {
  if (typeof value !== 'number' || source === undefined) return value;
  if (source === tokens.NaN) return Number.NaN;
  if (Number.isSafeInteger(value) || !/^-?\d+$/.test(source)) return value;
  if (source.length > mostDigits) throw new SyntaxError(`an integer has more than ${mostDigits} digits`);
  return BigInt(source);
}

/** `JSON.rawJSON` writes a number's text unchanged. */
const { rawJSON } = JSON as unknown as { readonly rawJSON: (text: string) => unknown };

/** A value as Python's JSON, on one line. */
export function formatPythonJson(value: unknown): string {
  let hasTokens = false;
  const text = JSON.stringify(value, (_, part: unknown) => {
    if (typeof part === 'bigint') return rawJSON(String(part));
    if (typeof part !== 'number' || Number.isSafeInteger(part)) return part;
    // This was a float: without an exponent, Python would read the rounded digits as an integer.
    if (Number.isInteger(part)) return rawJSON(part.toExponential());
    if (Number.isFinite(part)) return part;
    hasTokens = true;
    return rawJSON(tokens[String(part)]!);
  });
  if (!hasTokens) return text;
  return outsideStrings(text, (part) =>
    part.replaceAll(/-?1e7078|0e-7078/g, (token) => words[token] ?? token),
  );
}

/** Changes everything outside of the strings of JSON text. */
function outsideStrings(text: string, change: (part: string) => string): string {
  let changed = '';
  let start = 0;
  for (;;) {
    const quote = text.indexOf('"', start);
    if (quote < 0) return changed + change(text.slice(start));
    let end = text.indexOf('"', quote + 1);
    while (end >= 0 && isEscaped(text, end)) end = text.indexOf('"', end + 1);
    if (end < 0) return changed + change(text.slice(start, quote)) + text.slice(quote);
    changed += change(text.slice(start, quote)) + text.slice(quote, end + 1);
    start = end + 1;
  }
}

function isEscaped(text: string, index: number): boolean {
  let first = index;
  while (text[first - 1] === '\\') first--;
  return (index - first) % 2 === 1;
}

const isList = (value: Json): value is readonly Json[] => Array.isArray(value);

/** Whether two values are the same JSON. NaN is the same as NaN, `true` is not the same as 1. */
export const isSame = (one: Json, other: Json): boolean =>
  equals(one, other, (a, b) => a === b || (Number.isNaN(a) && Number.isNaN(b)));

/** Whether Python calls two values equal: `True == 1 == 1.0`. */
export const isPythonEqual = (one: Json, other: Json): boolean =>
  equals(one, other, (a, b) => (isNumeric(a) && isNumeric(b) ? a <= b && a >= b : a === b));

/** Numbers of all kinds, which `<=` compares by value. */
const isNumeric = (value: Json): value is number =>
  typeof value === 'number' || typeof value === 'bigint' || typeof value === 'boolean';

function equals(one: Json, other: Json, areEqual: (one: Json, other: Json) => boolean): boolean {
  if (typeof one !== 'object' || typeof other !== 'object' || one === null || other === null) {
    return areEqual(one, other);
  }
  if (isList(one) !== isList(other)) return false;
  const [a, b] = [Object.entries(one), new Map(Object.entries(other))];
  return a.length === b.size && a.every(([key, value]) => b.has(key) && equals(value, b.get(key)!, areEqual));
}
