/** The files that PyTorch wrote (`golden/weights`, made by `make_pth.py` and `make_zip.py`), and a builder of pickles. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { PartReader } from '../src/files/parts.ts';
import type { Network, Weights } from '../src/model/layer.ts';
import { batchNorm2d, conv2d, flatten, linear, maxPool2d, relu } from '../src/model/layers/index.ts';
import { buildNetwork, sequential } from '../src/model/network.ts';

export const vector = (name: string): string => join(import.meta.dirname, 'golden', 'weights', name);

interface TinyTensor {
  readonly shape: readonly number[];
  readonly values: readonly number[];
}

/** The network of the vectors. */
export const tiny = (classes = 5): Network =>
  buildNetwork(
    sequential(
      [
        conv2d({ out: 4, kernel: 3, padding: 1, name: 'features.0' }),
        batchNorm2d({ name: 'features.1' }),
        relu({ name: 'features.2' }),
        maxPool2d({ kernel: 2, stride: 2, name: 'features.3' }),
        flatten(),
        linear({ out: classes, name: 'classifier.0' }),
      ],
      { name: 'tiny' },
    ),
    [3, 8, 8],
  );

/** Its weights, of which each value was rounded by `round` before it was saved. */
export function tinyWeights(round: (value: number) => number = (value) => value): Weights {
  const { tensors } = JSON.parse(readFileSync(vector('tiny.json'), 'utf8')) as {
    readonly tensors: Readonly<Record<string, TinyTensor>>;
  };
  return new Map(
    Object.entries(tensors)
      .filter(([name]) => !name.endsWith('num_batches_tracked'))
      .map(([name, { shape, values }]) => [name, { shape, data: Float32Array.from(values, round) }]),
  );
}

/** Opcodes of a pickle with their arguments; texts of up to 255 bytes. */
export const opcodes = {
  proto: [0x80, 2],
  mark: [0x28],
  stop: [0x2e],
  none: [0x4e],
  dup: [0x32],
  dict: [0x7d],
  list: [0x5d],
  tuple: [0x74],
  tuple1: [0x85],
  append: [0x61],
  setItem: [0x73],
  setItems: [0x75],
  reduce: [0x52],
  build: [0x62],
  persistent: [0x51],
  text: (text: string): readonly number[] => [0x8c, Buffer.byteLength(text), ...Buffer.from(text)],
  oldText: (text: string): readonly number[] => [0x55, Buffer.byteLength(text), ...Buffer.from(text)],
  int: (value: number): readonly number[] => [
    0x8a,
    8,
    ...new Uint8Array(BigInt64Array.of(BigInt(value)).buffer),
  ],
  global: (module: string, name: string): readonly number[] => [0x63, ...Buffer.from(`${module}\n${name}\n`)],
  put: (index: number): readonly number[] => [0x71, index],
  get: (index: number): readonly number[] => [0x68, index],
} as const;

/** A tuple of values. */
export const tupleOf = (...values: readonly (readonly number[])[]): readonly number[] => [
  ...opcodes.mark,
  ...values.flat(),
  ...opcodes.tuple,
];

/** A tensor as PyTorch pickles it. */
export function tensorOf(place: {
  readonly key?: string;
  readonly type?: string;
  readonly count: number;
  readonly offset?: number;
  readonly shape: readonly number[];
  readonly strides: readonly number[];
  readonly view?: readonly number[];
  readonly rebuild?: string;
  readonly more?: readonly (readonly number[])[];
}): readonly number[] {
  const { key = '0', type = 'FloatStorage', count, offset = 0, shape, strides } = place;
  const { view = opcodes.none, rebuild = '_rebuild_tensor', more = [] } = place;
  const { text, int, global } = opcodes;
  const storage = tupleOf(text('storage'), global('torch', type), text(key), text('cpu'), int(count), view);
  return [
    ...global('torch._utils', rebuild),
    ...tupleOf(
      [...storage, ...opcodes.persistent],
      int(offset),
      tupleOf(...shape.map(int)),
      tupleOf(...strides.map(int)),
      ...more,
    ),
    ...opcodes.reduce,
  ];
}

/** A legacy file with any object and storages. */
export function legacyFile(
  object: readonly number[],
  storages: Readonly<Record<string, Float32Array>> = {},
): Buffer {
  const { proto, stop, text, dict, setItem, list, append } = opcodes;
  const magic = [0x8a, 10, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];
  const keys = Object.keys(storages).flatMap((key) => [...text(key), ...append]);
  return Buffer.concat([
    Buffer.from([...proto, ...magic, ...stop, ...proto, 0x4d, 0xe9, 3, ...stop]),
    Buffer.from([...proto, ...dict, ...text('little_endian'), 0x88, ...setItem, ...stop]),
    Buffer.from(proto),
    Uint8Array.from(object),
    Buffer.from([...stop, ...proto, ...list, ...keys, ...stop]),
    ...Object.values(storages).flatMap((values) => [
      Buffer.from(BigInt64Array.of(BigInt(values.length)).buffer),
      new Uint8Array(values.buffer, values.byteOffset, values.byteLength),
    ]),
  ]);
}

/** A dictionary of any values by name. */
export const dictOf = (entries: Readonly<Record<string, readonly number[]>>): readonly number[] => [
  ...opcodes.dict,
  ...opcodes.mark,
  ...Object.entries(entries).flatMap(([name, value]) => [...opcodes.text(name), ...value]),
  ...opcodes.setItems,
];

/** A file in memory. */
export const inMemory = (bytes: Uint8Array): PartReader => ({
  path: 'memory',
  size: bytes.length,
  read: async (into, position) => {
    const part = bytes.subarray(position, position + into.length);
    into.set(part);
    return part.length;
  },
});
