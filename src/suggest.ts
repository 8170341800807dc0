/** The words for a name that is not known: every message suggests the nearest one that is. */
import { closest } from 'fastest-levenshtein';

/** `there is no model "vgg8"; did you mean "vgg7"? There are simplified, vgg7`. */
export function unknownName(what: string, name: string, known: readonly string[]): string {
  if (known.length === 0) return `there is no ${what} "${name}"; it has none`;
  return `${nearest(what, name, known)} There are ${known.join(', ')}`;
}

/** The same where the known names are too many to list. */
export function nearest(what: string, name: string, known: readonly string[]): string {
  return `there is no ${what} "${name}"; did you mean "${closest(name, known)}"?`;
}
