/**
 * The names with a meaning in PyTorch's pickles, and what calling them would make: a closed list. Every other name
 * becomes an inert record, so that side data (arguments, optimizers, NumPy numbers) does not hinder; names that only a
 * malicious file has are refused outright. Source: `torch/_utils.py`, and `persistent_load` in `torch/serialization.py`.
 */
import { DataError } from '../../errors.ts';
import {
  described,
  Inert,
  invalid,
  PickleDict,
  PickleGlobal,
  type PickleValue,
  StorageRecord,
  TensorRecord,
  type TorchType,
  torchTypes,
} from './values.ts';

const storageTypes: ReadonlyMap<string, TorchType> = new Map([
  ['torch.DoubleStorage', 'float64'],
  ['torch.FloatStorage', 'float32'],
  ['torch.HalfStorage', 'float16'],
  ['torch.BFloat16Storage', 'bfloat16'],
  ['torch.LongStorage', 'int64'],
  ['torch.IntStorage', 'int32'],
  ['torch.ShortStorage', 'int16'],
  ['torch.CharStorage', 'int8'],
  ['torch.ByteStorage', 'uint8'],
  ['torch.BoolStorage', 'bool'],
  // Counted in bytes; the tensor says its type.
  ['torch.storage.UntypedStorage', 'uint8'],
]);

/** Modules and functions that run programs or change the system when a pickle calls them. */
const dangerousModules: ReadonlySet<string> = new Set([
  ...['os', 'posix', 'nt', 'sys', 'subprocess', 'shutil', 'pty', 'runpy', 'importlib', 'socket', 'ctypes'],
  ...['multiprocessing', 'webbrowser', 'pdb', 'timeit', 'pickle', '_pickle', 'marshal'],
]);
const dangerousFunctions: ReadonlySet<string> = new Set(
  ['eval', 'exec', 'execfile', 'compile', 'open', 'getattr', '__import__', 'breakpoint', 'input'].flatMap(
    (name) => [`builtins.${name}`, `__builtin__.${name}`],
  ),
);

/** A name in a pickle. @throws DataError if it is dangerous. */
export function globalOf(module: string, name: string): PickleGlobal {
  const full = `${module}.${name}`;
  // A later part of the name counts, too: `torch.serialization` and `os.system` give the same function.
  const parts = [module.split('.')[0]!, ...name.split('.').slice(0, -1)];
  if (dangerousFunctions.has(full) || parts.some((part) => dangerousModules.has(part))) {
    throw new DataError(
      `it is malicious: PyTorch would call ${full.slice(0, 100)} when it loads this file; delete it, and do not load it anywhere`,
    );
  }
  return new PickleGlobal(full);
}

/** What a call makes. `spend` is told of work that the opcodes do not count: a list may be copied many times. */
export function calledWith(
  callee: PickleValue,
  args: PickleValue,
  spend: (steps: number) => void,
): PickleValue {
  if (!(callee instanceof PickleGlobal)) {
    // A bound method or a partial application, in side data.
    if (callee instanceof Inert) return new Inert(callee.name);
    throw invalid(`its pickle calls ${described(callee)}`);
  }
  if (!Array.isArray(args)) throw invalid(`its pickle calls ${callee.name} without a list of arguments`);
  return callers.get(callee.name)?.(args, spend) ?? new Inert(callee.name);
}

type Caller = (args: readonly PickleValue[], spend: (steps: number) => void) => PickleValue;
const callers: ReadonlyMap<string, Caller> = new Map<string, Caller>([
  ['collections.OrderedDict', ([items], spend) => orderedDict(items, spend)],
  // Until PyTorch 0.3 and since 0.4; both begin with storage, offset, size, stride.
  ['torch._utils._rebuild_tensor', (args) => tensorOf(args)],
  ['torch._utils._rebuild_tensor_v2', (args) => plainTensor(args, args[6])],
  ['torch._utils._rebuild_tensor_v3', (args) => plainTensor(args, args[7], args[6])],
  ['torch._utils._rebuild_parameter', ([tensor]) => parameterOf(tensor)],
  ['torch._utils._rebuild_parameter_with_state', ([tensor]) => parameterOf(tensor)],
  ['torch.Size', ([size]) => size ?? []],
]);

/** Python 2 passes the items as a list of pairs; Python 3 sets them one by one. */
function orderedDict(items: PickleValue | undefined, spend: (steps: number) => void): PickleDict {
  const dict = new PickleDict();
  if (items === undefined) return dict;
  if (!Array.isArray(items)) throw invalid('an OrderedDict is not made of a list of pairs');
  spend(items.length);
  for (const pair of items as readonly PickleValue[]) {
    const [key, value] = Array.isArray(pair) ? (pair as readonly PickleValue[]) : [];
    if (key === undefined || value === undefined) throw invalid('an OrderedDict is not made of pairs');
    dict.add([key, value]);
  }
  return dict;
}

function parameterOf(tensor: PickleValue | undefined): TensorRecord {
  if (tensor instanceof TensorRecord) return tensor;
  throw invalid(`a parameter is made of ${described(tensor)}, not of a tensor`);
}

const isNatural = (value: PickleValue | undefined): value is number =>
  typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;

/** The most axes of a tensor. */
const maxAxes = 8;

const isShape = (value: PickleValue | undefined): value is readonly number[] =>
  Array.isArray(value) && value.length <= maxAxes && value.every(isNatural);

/** PyTorch 2 adds metadata to negative and conjugate views, whose values are not those of their storage. */
function plainTensor(
  args: readonly PickleValue[],
  metadata: PickleValue | undefined,
  dtype?: PickleValue,
): TensorRecord {
  if (metadata instanceof PickleDict && metadata.items.length > 0) {
    throw invalid('a tensor is a negative or conjugate view; save it after resolve_neg() and resolve_conj()');
  }
  return tensorOf(args, dtype);
}

function tensorOf(args: readonly PickleValue[], dtype?: PickleValue): TensorRecord {
  const [storage, offset, shape, strides] = args;
  if (!(storage instanceof StorageRecord))
    throw invalid(`a tensor is in ${described(storage)}, not in a storage`);
  if (!isNatural(offset)) throw invalid(`a tensor's offset is ${described(offset)}, not a whole number ≥ 0`);
  if (!isShape(shape) || !isShape(strides) || shape.length !== strides.length) {
    throw invalid(`a tensor's shape and strides are not two lists of up to ${maxAxes} whole numbers ≥ 0`);
  }
  // The pickle may still change its lists.
  const place = { offset, shape: [...shape], strides: [...strides] };
  return new TensorRecord(storage, dtype === undefined ? storage.type : dtypeOf(dtype), place);
}

function dtypeOf(dtype: PickleValue): TorchType {
  const name = dtype instanceof PickleGlobal ? dtype.name.replace(/^torch\./, '') : '';
  if (Object.hasOwn(torchTypes, name)) return name as TorchType;
  throw new DataError(
    `a tensor has the type ${described(dtype)}, which is not read; convert it with tensor.float() before torch.save`,
  );
}

/**
 * A persistent id: `('storage', type, key, location, count[, view])`. The location is a device and has no meaning here.
 * Whole modules are `('module', class, file, source)`.
 */
export function storageOf(id: PickleValue, storages: Map<string, StorageRecord>): PickleValue {
  const [kind, type, key, , count, view] = Array.isArray(id) ? (id as readonly PickleValue[]) : [];
  if (kind === 'module' && type instanceof PickleGlobal) return type;
  const valueType = type instanceof PickleGlobal ? storageTypes.get(type.name) : undefined;
  if (kind !== 'storage' || typeof key !== 'string') throw invalid('a storage is described wrongly');
  if (valueType === undefined) throw invalid(`a storage is of ${described(type)}, which is not known`);
  if (!isNatural(count)) throw invalid(`a storage has ${described(count)} values`);
  const storage = new StorageRecord(key, valueType, count, viewOf(view, count));
  const known = storages.get(key);
  if (known && (known.type !== valueType || known.count !== count))
    throw invalid(`storage ${JSON.stringify(key)} is described in two ways`);
  if (!known) storages.set(key, storage);
  return storage;
}

/** A part of a storage, in files before PyTorch 0.4: `(key, offset, count)`. */
function viewOf(view: PickleValue | undefined, count: number): [number, number] {
  if (view === undefined || view === null) return [0, count];
  const [, offset, part] = Array.isArray(view) ? (view as readonly PickleValue[]) : [];
  if (isNatural(offset) && isNatural(part) && offset + part <= count) return [offset, part];
  throw invalid('a view of a storage is outside it');
}

/** Whether the state that a pickle sets may be dropped: `_metadata` of a state dict, or that of an inert record. */
export const stateIsDropped = (value: PickleValue): boolean =>
  value instanceof PickleDict || value instanceof Inert;
