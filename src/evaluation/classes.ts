/** Which output of a network stands for which class of a data set. */
import { DataError } from '../errors.ts';

/**
 * The output for each class of a data set. By name if the network knows the names of all classes, in any order and also
 * if they are a part of its own; otherwise by position if there are as many.
 * @throws DataError if neither is possible.
 */
export function outputsFor(
  network: string,
  outputs: number,
  names: readonly string[] | undefined,
  dataset: string,
  classes: readonly string[],
): readonly number[] {
  const byName = names && outputsByName(names, classes);
  if (byName) return byName;
  if (classes.length === outputs) return classes.map((_, i) => i);
  const unknown = names && classes.find((name) => !names.includes(name));
  throw new DataError(
    `${network}: its network has ${outputs} classes${listed(names)}, and ${dataset} has ${classes.length}` +
      `${listed(classes)}${unknown === undefined ? '' : `; the network knows no class "${unknown}"`}; ` +
      'evaluate weights for these classes, or name the folders like classes of the network',
  );
}

/** Undefined if a class is missing, or a name is used twice. */
function outputsByName(names: readonly string[], classes: readonly string[]): readonly number[] | undefined {
  const outputs = new Map(names.map((name, i) => [name, i]));
  const found = classes.map((name) => outputs.get(name));
  if (outputs.size !== names.length || new Set(classes).size !== classes.length) return undefined;
  return found.every((output) => output !== undefined) ? found : undefined;
}

const listed = (names: readonly string[] | undefined): string =>
  names === undefined ? '' : ` (${names.slice(0, 3).join(', ')}${names.length > 3 ? ', …' : ''})`;
