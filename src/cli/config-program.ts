/**
 * Runs a config that is a program, in a worker thread: one that never ends, waits for ever or leaves timers behind can
 * then be stopped. What it exports must be plain data, which is handed over as JSON. `config-options.ts` starts it.
 */
import { types } from 'node:util';
import { parentPort, workerData } from 'node:worker_threads';
import { pathName } from '../check.ts';

/** What the thread answers: the export as JSON, nothing where there is none, or what is wrong. */
export type ConfigAnswer =
  | { readonly json: string }
  | { readonly missing: true }
  | { readonly problem: string }
  | { readonly thrown: string };

/** Thrown for what no JSON file could hold. */
class NotPlain extends Error {}

/** A copy of `value` as JSON has it. Getters and proxies are not asked: they could do anything. @throws NotPlain */
export function plain(
  value: unknown,
  path: readonly PropertyKey[] = [],
  above: readonly object[] = [],
): unknown {
  const refuse = (problem: string): never => {
    const name = pathName(path);
    throw new NotPlain(`${name === '' ? 'its default export' : `${name}:`} ${problem}`);
  };
  switch (typeof value) {
    case 'string':
    case 'boolean':
      return value;
    case 'number':
      return Number.isFinite(value) ? value : refuse(`${value} is not a finite number`);
    case 'object':
      break;
    default:
      return refuse(
        `is of type ${typeof value}; a config holds numbers, text, true, false, lists and objects`,
      );
  }
  if (value === null) return null;
  if (types.isProxy(value)) return refuse('is a proxy, not a plain object');
  if (types.isPromise(value)) return refuse('is a promise; write await in front of it');
  if (above.includes(value)) return refuse('contains itself');
  if (above.length === mostDepth) return refuse(`is nested more than ${mostDepth} deep`);
  const isList = Array.isArray(value);
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype !== null && prototype !== (isList ? Array.prototype : Object.prototype)) {
    return refuse('is an object of a class, not a plain one');
  }
  const inside = [...above, value];
  const member = (key: string | number): unknown => {
    const property = Object.getOwnPropertyDescriptor(value, key);
    const at = [...path, key];
    if (property === undefined) return plain(undefined, at, inside);
    if (property.get || property.set)
      throw new NotPlain(`${pathName(at)}: is computed by a getter; write its value`);
    return plain(property.value, at, inside);
  };
  if (isList) return Array.from({ length: value.length }, (_, i) => member(i));
  // What is undefined is left out, as in a call.
  const isLeftOut = (key: string): boolean => {
    const property = Object.getOwnPropertyDescriptor(value, key)!;
    return 'value' in property && property.value === undefined;
  };
  const keys = Object.keys(value).filter((key) => !isLeftOut(key));
  return Object.fromEntries(keys.map((key) => [key, member(key)]));
}

const mostDepth = 100;

/** What was thrown, in a line; it may be anything. */
function textOf(thrown: unknown): string {
  try {
    const text =
      thrown instanceof Error ? String(thrown.message) || thrown.name : `it throws ${String(thrown)}`;
    return text.replaceAll(/\s+/g, ' ');
  } catch {
    return 'it throws what cannot be shown';
  }
}

async function answer(url: string): Promise<ConfigAnswer> {
  let exported: unknown;
  try {
    const module = (await import(url)) as Readonly<Record<string, unknown>>;
    exported = module.default;
  } catch (error) {
    return { thrown: textOf(error) };
  }
  if (exported === undefined) return { missing: true };
  try {
    return { json: JSON.stringify(plain(exported)) };
  } catch (error) {
    return error instanceof NotPlain ? { problem: error.message } : { thrown: textOf(error) };
  }
}

const { configUrl } = (workerData ?? {}) as { readonly configUrl?: string };
// Not awaited: Node would warn of a promise in the config that never settles.
if (configUrl !== undefined) void answer(configUrl).then((found) => parentPort?.postMessage(found));
