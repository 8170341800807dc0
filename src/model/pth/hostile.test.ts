import { execFileSync } from 'node:child_process';
import { describe, expect, test } from 'vitest';
import { dictOf, inMemory, legacyFile, opcodes, tensorOf, tupleOf } from '../../../test/pth-vectors.ts';
import { DataError, UsageError } from '../../errors.ts';
import type { Weights } from '../layer.ts';
import { tensorsAt } from '../tensor-files.ts';
import { readAll } from '../weight-streams.ts';
import { openPth, pthForm } from './open.ts';
import { PickleContext, unpickle } from './pickle.ts';

const { text, int, global, mark, stop, none, dict, list, append, setItem, reduce, build, put, get, proto } =
  opcodes;

const values = Float32Array.of(1, 2, 3, 4, 5, 6);
const tensor = tensorOf({ count: 6, shape: [6], strides: [1] });
const storages = { '0': values };

async function tensorsOf(bytes: Uint8Array, key?: string): Promise<Weights> {
  const file = inMemory(bytes);
  const { shapes, locate } = await openPth(file, (await pthForm(file))!, key);
  return readAll(tensorsAt(file, await locate(shapes.keys()), shapes));
}

const only = async (object: readonly number[], from: Readonly<Record<string, Float32Array>> = storages) => [
  ...(await tensorsOf(legacyFile(dictOf({ a: object }), from))).get('a')!.data,
];

describe('tensors of older and newer PyTorch', () => {
  test('of 0.3 and earlier: _rebuild_tensor, views, texts of Python 2', async () => {
    expect(await only(tensor)).toEqual([...values]);
    const parameter = [
      ...global('torch._utils', '_rebuild_parameter'),
      ...tupleOf(tensor, none, none),
      ...reduce,
    ];
    expect(await only(parameter)).toEqual([...values]);
    const view = tupleOf(text('1'), int(2), int(3));
    expect(await only(tensorOf({ count: 6, shape: [3], strides: [1], view }))).toEqual([3, 4, 5]);
    expect(await only(tensorOf({ count: 6, offset: 1, shape: [2], strides: [1], view }))).toEqual([4, 5]);
    await expect(only(tensorOf({ count: 6, shape: [4], strides: [1], view }))).rejects.toThrow(
      /tensor "a" takes values 0 to 4 of a storage of 3/,
    );
    const ordered = [
      ...global('collections', 'OrderedDict'),
      ...tupleOf([...list, ...list, ...opcodes.oldText('b'), ...append, ...tensor, ...append, ...append]),
      ...reduce,
    ];
    expect([...(await tensorsOf(legacyFile(ordered, storages))).keys()]).toEqual(['b']);
  });

  test('with a type of its own: _rebuild_tensor_v3', async () => {
    const typed = (type: string): readonly number[] =>
      tensorOf({
        ...{ type: 'FloatStorage', count: 6, shape: [12], strides: [1], rebuild: '_rebuild_tensor_v3' },
        more: [opcodes.none, opcodes.none, global('torch', type)],
      });
    const found = await only(typed('bfloat16'));
    expect(found.filter((_, i) => i % 2 === 1)).toEqual([...values]);
    await expect(only(typed('float8_e5m2'))).rejects.toThrow(
      /the class torch\.float8_e5m2, which is not read/,
    );
    await expect(only(typed('float64'))).rejects.toThrow(/takes values 0 to 12 of a storage of 3/);
  });

  test('that are integers are not weights', async () => {
    const whole = tensorOf({ type: 'LongStorage', count: 3, shape: [3], strides: [1] });
    await expect(tensorsOf(legacyFile(dictOf({ a: whole }), {}))).rejects.toThrow(DataError);
  });
});

describe('state dicts inside checkpoints', () => {
  const other = tensorOf({ count: 6, shape: [2], strides: [1] });
  const both = legacyFile(
    dictOf({ model: dictOf({ a: tensor }), net: dictOf({ b: other }), epoch: int(3) }),
    storages,
  );

  test('are chosen by key', async () => {
    await expect(tensorsOf(both)).rejects.toThrow(
      /several state dicts; choose one: --key "model" or --key "net" \(vgg train: --init-key/,
    );
    expect([...(await tensorsOf(both, 'net')).keys()]).toEqual(['b']);
    await expect(tensorsOf(both, 'nett')).rejects.toThrow(UsageError);
    await expect(tensorsOf(both, 'nett')).rejects.toThrow(/there is no key "nett"; did you mean "net"/);
    await expect(tensorsOf(both, 'epoch')).rejects.toThrow(/key "epoch" holds 3, not a state dict/);
    const unusual = legacyFile(dictOf({ ema: dictOf({ a: tensor }) }), storages);
    await expect(tensorsOf(unusual)).rejects.toThrow(/under a usual key .*choose one: --key "ema"/);
  });

  test('hold only tensors', async () => {
    const inside = (object: readonly number[]) =>
      tensorsOf(legacyFile(dictOf({ t: tensor, a: object }), storages));
    const record = [...global('numpy', 'ndarray'), ...tupleOf(), ...reduce];
    await expect(inside(record)).rejects.toThrow(/"a" is an object of class numpy\.ndarray, not a tensor/);
    await expect(inside(none)).rejects.toThrow(/"a" is None, not a tensor/);
    await expect(tensorsOf(legacyFile(tensor, storages))).rejects.toThrow(/holds a tensor, not a state dict/);
    await expect(tensorsOf(legacyFile(list, {}))).rejects.toThrow(/holds a list, not a state dict/);
    await expect(tensorsOf(legacyFile(dict, {}))).rejects.toThrow(/has no state dict/);
    const twice = [...dict, ...text('a'), ...tensor, ...setItem, ...text('a'), ...tensor, ...setItem];
    await expect(tensorsOf(legacyFile(twice, storages))).rejects.toThrow(/has the tensor "a" twice/);
  });
});

describe('hostile pickles are refused', () => {
  const loop = [...list, ...put(0), ...get(0), ...append];
  test.each<[string, readonly number[], string]>([
    ['os.system by another name', [...global('torch.serialization', 'os.system'), ...stop], 'malicious'],
    ['eval', [...global('builtins', 'eval'), ...stop], 'malicious: PyTorch would call builtins.eval'],
    ['getattr of Python 2', [...global('__builtin__', 'getattr'), ...stop], 'malicious'],
    ['a list inside itself as a state dict', loop, 'holds a list'],
    [
      'a list inside itself as a shape',
      [
        ...global('torch._utils', '_rebuild_tensor'),
        ...tupleOf(
          [
            ...tupleOf(text('storage'), global('torch', 'FloatStorage'), text('0'), none, int(6)),
            ...opcodes.persistent,
          ],
          int(0),
          loop,
          loop,
        ),
        ...reduce,
      ],
      'shape and strides are not two lists',
    ],
    [
      'a negative offset',
      tensorOf({ count: 6, offset: -1, shape: [1], strides: [1] }),
      "tensor's offset is -1",
    ],
    ['a negative stride', tensorOf({ count: 6, offset: 5, shape: [6], strides: [-1] }), 'whole numbers ≥ 0'],
    ['a negative count', tensorOf({ count: -6, shape: [6], strides: [1] }), 'a storage has -6 values'],
    [
      'an unknown storage',
      tensorOf({ count: 6, type: 'QInt8Storage', shape: [6], strides: [1] }),
      'the class torch.QInt8Storage, which is not known',
    ],
    ['a call of a number', [...int(1), ...tupleOf(), ...reduce], 'calls 1'],
    ['a state for a number', [...int(1), ...none, ...build], 'sets the state of a value'],
    ['an empty stack', [...append], 'takes a value that is not there'],
    ['a value below the mark', [...none, ...mark, ...append], 'takes a value that is not there'],
    ['no mark', [...none, ...opcodes.tuple], 'has no mark'],
    ['a memo that is not there', [...get(7)], 'recalls value 7'],
    [
      'a memo beyond the limit',
      [...none, 0x72, 0xff, 0xff, 0xff, 0x7f],
      'has memo 2147483647, above the limit of 1000000',
    ],
    ['deep nesting', Array.from({ length: 300 }, () => mark).flat(), 'nested more than 256 deep'],
    [
      'a long text',
      [0x58, 0, 0, 2, 0, ...new Array<number>(131_072).fill(65)],
      'a text of 131072 bytes, above the limit of 65536',
    ],
    ['a text of 2⁶³ bytes', [0x8d, 0, 0, 0, 0, 0, 0, 0, 0x80], 'a text of Infinity bytes'],
    ['a number of a gigabyte', [0x8b, 0, 0, 0, 0x40], 'a number of 1073741824 bytes'],
    ['a long name', [0x63, ...new Array<number>(300).fill(65), 10], 'a name of more than 256 bytes'],
    ['an unknown opcode', [0x01], 'has the opcode 0x01'],
    ['protocol 9', [0x80, 9], 'has protocol 9'],
    ['unused values', [...none, ...none], 'ends with unused values'],
    ['an odd number of items', [...dict, ...mark, ...none, ...opcodes.setItems], 'a key without a value'],
  ])('%s', async (_name, object, message) => {
    const reading = tensorsOf(legacyFile(object, {}));
    await expect(reading).rejects.toThrow(message);
    await expect(tensorsOf(legacyFile(object, {}))).rejects.toThrow(DataError);
  });

  test('that never end', () => {
    for (const opcode of [none, dict, list, [...mark, ...opcodes.tuple], [...list, 0x94]]) {
      const bytes = Uint8Array.from({ length: 2_000_000 }, (_, i) => opcode[i % opcode.length]!);
      expect(() => unpickle(bytes, 0, new PickleContext())).toThrow(/more than 1000000 opcodes/);
    }
    // A stack that doubles would need opcodes for it.
    const doubling = Uint8Array.from([...none, ...new Array<number>(1_100_000).fill(opcodes.dup[0]!)]);
    expect(() => unpickle(doubling, 0, new PickleContext())).toThrow(/more than 1000000 opcodes/);
  });

  test('that repeat what they stored', async () => {
    const bytes = (setUp: readonly number[], repeated: readonly number[], times: number): Uint8Array =>
      Uint8Array.from([...setUp, ...Array.from({ length: times }, () => repeated).flat()]);
    // Copies of one long list of pairs.
    const pairs = [...list, ...put(0), ...mark];
    const pair = [...none, ...none, 0x86];
    const long = bytes(pairs, pair, 20_000);
    const copies = bytes([0x65], [...global('collections', 'OrderedDict'), ...get(0), 0x85, ...reduce], 1000);
    expect(() => unpickle(Buffer.concat([long, copies]), 0, new PickleContext())).toThrow(
      /more than 1000000 opcodes/,
    );
    // Names made of stored texts.
    const name = [0x58, 0xe8, 3, 0, 0, ...new Array<number>(1000).fill(65)];
    const names = bytes([...name, ...put(0)], [...get(0), ...get(0), 0x93], 10_000);
    expect(() => unpickle(names, 0, new PickleContext())).toThrow(/bytes of text/);
    // A long list as a shape.
    const shaped = [...global('torch._utils', '_rebuild_tensor'), ...put(1)];
    const storage = [
      ...tupleOf(text('storage'), global('torch', 'FloatStorage'), text('0'), none, int(6)),
      0x51,
    ];
    const tensors = [0x65, ...shaped, ...tupleOf(storage, int(0), get(0), get(0)), ...reduce, ...stop];
    const numbers = bytes(pairs, [0x4b, 1], 100_000);
    expect(() => unpickle(Buffer.concat([numbers, Buffer.from(tensors)]), 0, new PickleContext())).toThrow(
      /two lists of up to 8/,
    );
    // One dictionary under very many keys, none of them usual.
    const shared = bytes(
      [...dict, ...mark, ...text('x'), ...dict, ...mark, ...none, ...none, ...opcodes.setItems, ...put(0)],
      [...text('y'), ...get(0)],
      150_000,
    );
    await expect(tensorsOf(legacyFile([...shared, ...opcodes.setItems], {}))).rejects.toThrow(
      /has no state dict/,
    );
  });

  test('whose tensors are outside the storage, overlap or are too many values', async () => {
    await expect(only(tensorOf({ count: 6, offset: 1, shape: [6], strides: [1] }))).rejects.toThrow(
      /takes values 1 to 7 of a storage of 6/,
    );
    await expect(only(tensorOf({ count: 6, shape: [3, 3], strides: [1, 1] }))).rejects.toThrow(
      /values of tensor "a" overlap/,
    );
    await expect(only(tensorOf({ count: 6, shape: [2 ** 40], strides: [0] }))).rejects.toThrow(/overlap/);
    await expect(
      only(tensorOf({ count: 6, shape: [2 ** 52, 2 ** 52], strides: [2 ** 52, 1] })),
    ).rejects.toThrow(DataError);
    await expect(only(tensorOf({ count: 2 ** 52, shape: [6], strides: [1] }))).rejects.toThrow(
      /has 6 values, and should have/,
    );
    await expect(only(tensor, {})).rejects.toThrow(/it has no storage "0"/);
    await expect(only(none, { '7': values })).rejects.toThrow(/storage "7" is not described/);
    const twice = legacyFile(dictOf({ a: tensor }), { '0': values, '00': values });
    await expect(tensorsOf(twice)).rejects.toThrow(/storage "00" is not described/);
    const longer = Buffer.concat([legacyFile(dictOf({ a: tensor }), storages), Buffer.alloc(1)]);
    await expect(tensorsOf(longer)).rejects.toThrow(/its storages end at byte/);
    await expect(tensorsOf(longer.subarray(0, -5))).rejects.toThrow(/damaged or cut short/);
    await expect(tensorsOf(longer.subarray(0, 40))).rejects.toThrow(/ends within its description/);
    await expect(
      tensorsOf(Buffer.from([...proto, ...dict, ...stop, ...new Array<number>(8).fill(0)])),
    ).rejects.toThrow(/a pickle, but not one of torch\.save/);
  });

  test('of the largest size take little time and memory', { timeout: 60_000 }, () => {
    const program = `
      const { unpickle, PickleContext } = await import(${JSON.stringify(new URL('./pickle.ts', import.meta.url).href)});
      // 64 MiB of texts, or a million dictionaries.
      let bytes = Buffer.alloc(1_100_000, '}');
      if (process.argv[1] === 'texts') {
        bytes = Buffer.alloc(64 * 2 ** 20, 'ä');
        for (let at = 0; at + 1029 < bytes.length; at += 1029) bytes.set([0x58, 0, 4, 0, 0], at), bytes.fill('ä', at + 5, at + 1029);
      }
      try { unpickle(bytes, 0, new PickleContext()); } catch (error) { console.log(error.message); }
      console.log(process.resourceUsage().maxRSS);`;
    const run = (which: string): readonly string[] =>
      execFileSync(process.execPath, ['--input-type=module', '--eval', program, which], { encoding: 'utf8' })
        .trim()
        .split('\n');
    for (const [which, message] of [
      ['texts', /more than 8388608 bytes of text/],
      ['dictionaries', /more than 1000000 opcodes/],
    ] as const) {
      const [problem, memory] = run(which);
      expect(problem).toMatch(message);
      expect(Number(memory)).toBeLessThan(200_000);
    }
  });
});
