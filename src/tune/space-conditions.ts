/** Checks the conditions of a space: each must name an earlier parameter, and a value that this parameter can have. */
import { nearest } from '../suggest.ts';
import { contains, describe, type ParamValue, sizeOf } from './distributions.ts';
import type { Parameter } from './search-space.ts';

/** All problems, each with its path in the file. */
export function conditionProblems(
  parameters: readonly Parameter[],
  fixed: Readonly<Record<string, unknown>>,
): readonly string[] {
  const problems: string[] = [];
  for (const [index, { name, when = {} }] of parameters.entries()) {
    for (const [other, values] of Object.entries(when)) {
      const where = `${name}.when.${other}`;
      const position = parameters.findIndex((known) => known.name === other);
      const named = parameters[position];
      if (named === undefined) {
        const isFixed = Object.hasOwn(fixed, other);
        const names = parameters.map((known) => known.name).filter((known) => known !== name);
        problems.push(
          isFixed
            ? `${where}: ${other} is fixed to ${JSON.stringify(fixed[other])}, so the condition has no effect; remove it`
            : names.length === 0
              ? `${where}: the space has no other parameter`
              : `${where}: ${nearest('parameter', other, names)}`,
        );
      } else if (position === index) problems.push(`${where}: a parameter cannot depend on itself`);
      else if (dependsOn(parameters, other, name)) {
        problems.push(`${where}: ${other} depends on ${name}, which makes a cycle`);
      } else if (position > index) problems.push(`${where}: ${other} comes after ${name}; put it before`);
      else if (sizeOf(named.distribution) === Number.POSITIVE_INFINITY) {
        problems.push(
          `${where}: ${describe(named.distribution)} is continuous; a condition needs choices, a step or whole numbers`,
        );
      } else {
        for (const [i, value] of values.entries()) {
          if (contains(named.distribution, value)) continue;
          problems.push(
            `${where}[${i}]: ${JSON.stringify(value)} is not a value of ${other} (${describe(named.distribution)})`,
          );
        }
      }
    }
  }
  // Whether conditions can hold together can be checked only if each one is valid.
  if (problems.length > 0) return problems;
  return parameters.flatMap(({ name }) => {
    const clash = clashOf(parameters, name);
    return clash === undefined
      ? []
      : [`${name}.when: can never hold, because it needs ${clash} to have two values at once`];
  });
}

function dependsOn(
  parameters: readonly Parameter[],
  name: string,
  other: string,
  seen = new Set<string>(),
): boolean {
  if (seen.has(name)) return false;
  seen.add(name);
  const names = Object.keys(parameters.find((known) => known.name === name)?.when ?? {});
  return names.includes(other) || names.some((next) => dependsOn(parameters, next, other, seen));
}

/** A parameter for which the conditions of `name`, and of the parameters it depends on, leave no value. */
function clashOf(parameters: readonly Parameter[], name: string): string | undefined {
  const allowed = new Map<string, readonly ParamValue[]>();
  const open = [name];
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    for (const [other, values] of Object.entries(
      parameters.find((known) => known.name === next)?.when ?? {},
    )) {
      const left = (allowed.get(other) ?? values).filter((value) => values.includes(value));
      if (left.length === 0) return other;
      allowed.set(other, left);
      open.push(other);
    }
  }
  return undefined;
}
