/**
 * What a pickle of PyTorch is read as: plain data, records of storages and tensors, and inert records of everything
 * else. No name is ever looked up or called. Source: `torch/serialization.py`, `torch/_utils.py`.
 */
import { DataError } from '../../errors.ts';
import { isObject, shown } from '../../options.ts';

/** Lists and tuples are arrays. Values may contain themselves, so nothing here walks them recursively. */
export type PickleValue =
  | null
  | boolean
  | number
  | bigint
  | string
  | readonly PickleValue[]
  | PickleDict
  | PickleGlobal
  | Inert
  | StorageRecord
  | TensorRecord;

/** A dictionary as a flat list of keys and values: a million empty ones must stay small. */
export class PickleDict {
  #items: PickleValue[] | undefined;

  get items(): readonly PickleValue[] {
    return this.#items ?? [];
  }

  /** Appends keys, each followed by its value. */
  add(items: readonly PickleValue[]): void {
    this.#items ??= [];
    for (const item of items) this.#items.push(item);
  }

  /** The value of a key; like in Python, the last one if it was set several times. */
  get(key: string): PickleValue | undefined {
    const { items } = this;
    for (let i = items.length - 2; i >= 0; i -= 2) if (items[i] === key) return items[i + 1];
    return undefined;
  }

  *entries(): Generator<readonly [PickleValue, PickleValue]> {
    const { items } = this;
    for (let i = 0; i + 1 < items.length; i += 2) yield [items[i]!, items[i + 1]!];
  }
}

/** A name such as `collections.OrderedDict`. */
export class PickleGlobal {
  readonly name: string;
  constructor(name: string) {
    this.name = name;
  }
}

/** What a pickle would make of a class or function without a meaning here. */
export class Inert {
  readonly name: string;
  constructor(name: string) {
    this.name = name;
  }
}

/** The types of PyTorch's values, and their bytes. */
export const torchTypes = {
  float64: 8,
  float32: 4,
  float16: 2,
  bfloat16: 2,
  int64: 8,
  int32: 4,
  int16: 2,
  int8: 1,
  uint8: 1,
  bool: 1,
} as const;
export type TorchType = keyof typeof torchTypes;

/** A run of values in the file, which tensors share. */
export class StorageRecord {
  readonly key: string;
  readonly type: TorchType;
  /** In values of `type`. */
  readonly count: number;
  /** Where this record's values begin in the storage, and how many they are: all of them, except in old files. */
  readonly viewOffset: number;
  readonly viewCount: number;

  constructor(
    key: string,
    type: TorchType,
    count: number,
    [viewOffset, viewCount]: readonly [number, number],
  ) {
    this.key = key;
    this.type = type;
    this.count = count;
    this.viewOffset = viewOffset;
    this.viewCount = viewCount;
  }
}

/** A tensor in a storage. Offset and strides are in values of `type`. */
export class TensorRecord {
  readonly storage: StorageRecord;
  readonly type: TorchType;
  readonly offset: number;
  readonly shape: readonly number[];
  readonly strides: readonly number[];

  constructor(
    storage: StorageRecord,
    type: TorchType,
    place: Pick<TensorRecord, 'offset' | 'shape' | 'strides'>,
  ) {
    this.storage = storage;
    this.type = type;
    this.offset = place.offset;
    this.shape = place.shape;
    this.strides = place.strides;
  }
}

export const invalid = (problem: string): DataError =>
  new DataError(`not a valid PyTorch file: ${problem}; it is damaged, or not from torch.save`);

/** Names a value's kind for a message. */
export function described(value: PickleValue | undefined): string {
  if (value instanceof TensorRecord) return 'a tensor';
  if (value instanceof StorageRecord) return 'a storage';
  if (value instanceof PickleDict) return 'a dictionary';
  if (value instanceof PickleGlobal) return `the class ${shortName(value.name)}`;
  if (value instanceof Inert) return `an object of class ${shortName(value.name)}`;
  return Array.isArray(value) || isObject(value) ? 'a list' : value === null ? 'None' : shown(value);
}

const shortName = (name: string): string => name.slice(0, 100);
