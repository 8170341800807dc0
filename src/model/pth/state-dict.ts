/** Finds the state dict in what a PyTorch file holds: at its root, or inside a checkpoint. */
import { DataError, UsageError } from '../../errors.ts';
import { unknownName } from '../../suggest.ts';
import { described, Inert, PickleDict, PickleGlobal, type PickleValue, TensorRecord } from './values.ts';

/** Where training scripts keep the state dict in a checkpoint. */
const usualKeys = ['state_dict', 'model_state_dict', 'model', 'net', 'weights'];

const advice = 'in PyTorch, save the state dict alone: torch.save(model.state_dict(), path)';

/**
 * The tensors of the state dict by name. `key` chooses one inside a checkpoint; `path` names the file if it is wrong.
 * @throws DataError if there is none, or several; UsageError if there is no such key.
 */
export function stateDictIn(
  root: PickleValue,
  key: string | undefined,
  path: string,
): ReadonlyMap<string, TensorRecord> {
  if (root instanceof Inert || root instanceof PickleGlobal)
    throw new DataError(`it holds ${describedModule(root)}, not a state dict; ${advice}`);
  if (!(root instanceof PickleDict))
    throw new DataError(`it holds ${described(root)}, not a state dict; ${advice}`);
  if (key !== undefined) return tensorsOf(chosen(root, key, path), JSON.stringify(key));
  const candidates = usualKeys.filter((name) => root.get(name) instanceof PickleDict);
  if (candidates.length > 1)
    throw new DataError(`it holds several state dicts; choose one: ${choices(candidates)}`);
  const [only] = candidates;
  if (only !== undefined) return tensorsOf(root.get(only) as PickleDict, JSON.stringify(only));
  if (holdsTensors(root)) return tensorsOf(root, 'its state dict');
  const inert = usualKeys.map((name) => root.get(name)).find((value) => value instanceof Inert);
  if (inert instanceof Inert)
    throw new DataError(`it holds ${describedModule(inert)}, not a state dict; ${advice}`);
  const others = [...first(root)].flatMap(([name, value]) =>
    typeof name === 'string' && value instanceof PickleDict && holdsTensors(value) ? [name] : [],
  );
  throw new DataError(
    others.length > 0
      ? `it has no state dict under a usual key (${usualKeys.join(', ')}); choose one: ${choices(others)}`
      : `it has no state dict, neither at its root nor under ${usualKeys.join(', ')}; ${advice}`,
  );
}

const describedModule = ({ name }: Inert | PickleGlobal): string =>
  `a pickled object of class ${name.slice(0, 100)}`;

/** Both ways to choose a key, with the keys. */
const choices = (keys: readonly string[]): string =>
  keys
    .slice(0, 6)
    .map((name) => `--key ${JSON.stringify(name.slice(0, 100))}`)
    .join(' or ')
    .concat(` (vgg train: --init-key; in the library: { key })`);

/** The first entries: a message needs no more, and a hostile file may hold one dictionary under many keys. */
const first = (dict: PickleDict): IteratorObject<readonly [PickleValue, PickleValue]> =>
  dict.entries().take(1000);

const keysOf = (dict: PickleDict): readonly string[] =>
  [...first(dict)].flatMap(([name]) => (typeof name === 'string' ? [name] : []));

const holdsTensors = (dict: PickleDict): boolean =>
  first(dict).some(([, value]) => value instanceof TensorRecord);

function chosen(root: PickleDict, key: string, path: string): PickleDict {
  const value = root.get(key);
  if (value === undefined)
    throw new UsageError(`${path}: ${unknownName('key', key, keysOf(root).slice(0, 20))}`);
  if (value instanceof PickleDict) return value;
  throw new UsageError(`${path}: its key ${JSON.stringify(key)} holds ${described(value)}, not a state dict`);
}

function tensorsOf(dict: PickleDict, where: string): ReadonlyMap<string, TensorRecord> {
  const tensors = new Map<string, TensorRecord>();
  for (const [name, value] of dict.entries()) {
    if (typeof name !== 'string')
      throw new DataError(`${where} has ${described(name)} for a name; ${advice}`);
    const shown = JSON.stringify(name.slice(0, 200));
    if (!(value instanceof TensorRecord))
      throw new DataError(`in ${where}, ${shown} is ${described(value)}, not a tensor; ${advice}`);
    if (tensors.has(name)) throw new DataError(`${where} has the tensor ${shown} twice; it is damaged`);
    tensors.set(name, value);
  }
  return tensors;
}
