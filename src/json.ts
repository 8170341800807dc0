/** Parses untrusted JSON. Depth and number of keys are checked first, so that parsing time stays linear in the length. */

export interface JsonBounds {
  /** Nesting depth of lists and objects; 32 by default. */
  readonly depth?: number;
  /** Keys of all objects together; 200,000 by default. */
  readonly keys?: number;
  /** Whether to reject duplicate keys in an object; `JSON.parse` keeps the last one. */
  readonly unique?: boolean;
}

/** Returns the value, or what is wrong with the text, as a predicate such as `is not JSON (…)`. */
export function parseJson(
  text: string,
  { depth = 32, keys = 200_000, unique = false }: JsonBounds = {},
):
  | { readonly value: unknown; readonly problem?: undefined }
  | { readonly value?: undefined; readonly problem: string } {
  const open: Set<string>[] = [];
  let found = 0;
  let last = '';
  for (let i = 0; i < text.length; i++) {
    const character = text[i];
    if (character === '"') {
      const start = i;
      for (i++; i < text.length && text[i] !== '"'; i++) if (text[i] === '\\') i++;
      last = text.slice(start, i + 1);
    } else if (character === '{' || character === '[') {
      if (open.length === depth) return { problem: `nests lists and objects more than ${depth} deep` };
      open.push(new Set());
    } else if (character === '}' || character === ']') open.pop();
    else if (character === ':') {
      found++;
      if (found > keys) return { problem: `has more than ${keys} keys` };
      if (!unique) continue;
      const key = canonical(last);
      if (open.at(-1)?.has(key)) return { problem: `has the key ${key} twice` };
      open.at(-1)?.add(key);
    }
  }
  try {
    return { value: JSON.parse(text) };
  } catch (error) {
    return { problem: `is not JSON in UTF-8 (${(error as Error).message})` };
  }
}

/** A string literal in canonical form, so that equal strings compare equal; an invalid one is returned unchanged. */
function canonical(literal: string): string {
  if (!literal.includes('\\')) return literal;
  try {
    return JSON.stringify(JSON.parse(literal));
  } catch {
    return literal;
  }
}
