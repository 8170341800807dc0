import { crc32 } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { dictOf, inMemory, opcodes, tensorOf } from '../../../test/pth-vectors.ts';
import { DataError } from '../../errors.ts';
import { readZip } from '../../files/zip.ts';
import { tensorsAt } from '../tensor-files.ts';
import { openPth } from './open.ts';

interface Entry {
  readonly name: string;
  readonly bytes: Uint8Array;
  /** What the directory says instead of the truth. */
  readonly said?: Partial<Record<'size' | 'stored' | 'begin' | 'crc' | 'method' | 'flags', number>>;
  readonly localName?: string;
}

interface Ending {
  readonly count?: number;
  readonly size?: number;
  readonly begin?: number;
  readonly disk?: number;
}

/** An archive of stored entries, whose directory may lie. */
function zipOf(entries: readonly Entry[], ending: Ending = {}): Buffer {
  const parts: Buffer[] = [];
  const directory: Buffer[] = [];
  let at = 0;
  for (const { name, bytes, said = {}, localName = name } of entries) {
    const {
      size = bytes.length,
      stored = size,
      begin = at,
      crc = crc32(bytes),
      method = 0,
      flags = 0,
    } = said;
    const local = Buffer.alloc(30);
    local.writeUInt32LE(0x04034b50, 0);
    local.writeUInt16LE(method, 8);
    local.writeUInt16LE(localName.length, 26);
    parts.push(local, Buffer.from(localName), Buffer.from(bytes));
    const central = Buffer.alloc(46);
    central.writeUInt32LE(0x02014b50, 0);
    central.writeUInt16LE(flags, 8);
    central.writeUInt16LE(method, 10);
    central.writeUInt32LE(crc, 16);
    central.writeUInt32LE(stored, 20);
    central.writeUInt32LE(size, 24);
    central.writeUInt16LE(name.length, 28);
    central.writeUInt32LE(begin, 42);
    directory.push(central, Buffer.from(name));
    at += 30 + localName.length + bytes.length;
  }
  const listed = Buffer.concat(directory);
  const end = Buffer.alloc(22);
  const { count = entries.length, size = listed.length, begin = at, disk = 0 } = ending;
  end.writeUInt32LE(0x06054b50, 0);
  end.writeUInt16LE(disk, 4);
  end.writeUInt16LE(count, 8);
  end.writeUInt16LE(count, 10);
  end.writeUInt32LE(size, 12);
  end.writeUInt32LE(begin, 16);
  return Buffer.concat([...parts, listed, end]);
}

const bytesOf = (text: string): Uint8Array => Buffer.from(text);
const pickle = Uint8Array.from([
  ...opcodes.proto,
  ...dictOf({ a: tensorOf({ count: 2, shape: [2], strides: [1] }) }),
  ...opcodes.stop,
]);
const values = new Uint8Array(Float32Array.of(1, 2).buffer);
const good: readonly Entry[] = [
  { name: 'x/data.pkl', bytes: pickle },
  { name: 'x/data/0', bytes: values },
];
/** The values of tensor `a`, read in parts of some lengths. */
async function read(bytes: Uint8Array, parts: readonly number[] = [2]): Promise<readonly number[]> {
  const file = inMemory(bytes);
  const { shapes, locate } = await openPth(file, 'archive');
  const source = tensorsAt(file, await locate(['a']), shapes);
  const found: number[] = [];
  for (const length of parts) {
    const part = new Float32Array(length);
    await source.read('a', found.length, part);
    found.push(...part);
  }
  return found;
}

describe('zip archives', () => {
  test('give the values of a tensor', async () => {
    expect(await read(zipOf(good))).toEqual([1, 2]);
  });

  describe('whose values are damaged', () => {
    const damaged = zipOf([good[0]!, { ...good[1]!, said: { crc: 1 } }]);
    const complaint = 'the checksum of entry "x/data/0" is wrong';

    test('are refused with the last value, if it is read in order', async () => {
      await expect(read(damaged, [1])).resolves.toEqual([1]);
      await expect(read(damaged, [1, 1])).rejects.toThrow(complaint);
    });

    test('are refused at once otherwise', async () => {
      const file = inMemory(damaged);
      const { shapes, locate } = await openPth(file, 'archive');
      const source = tensorsAt(file, await locate(['a']), shapes);
      await expect(source.read('a', 1, new Float32Array(1))).rejects.toThrow(complaint);
      await expect(source.read('a', 1, new Float32Array(1))).rejects.toThrow(complaint);
    });

    test('are refused before a part of a storage is read', async () => {
      const part = Uint8Array.from([
        ...opcodes.proto,
        ...dictOf({ a: tensorOf({ count: 2, shape: [1], strides: [1] }) }),
        ...opcodes.stop,
      ]);
      const bytes = zipOf([
        { name: 'x/data.pkl', bytes: part },
        { ...good[1]!, said: { crc: 1 } },
      ]);
      const { locate } = await openPth(inMemory(bytes), 'archive');
      await expect(locate(['a'])).rejects.toThrow(complaint);
    });
  });

  test.each<[string, Buffer, string]>([
    ['nothing but a start', Buffer.from('PK\x03\x04'), 'no directory at its end'],
    [
      'no directory',
      Buffer.concat([Buffer.from('PK\x03\x04'), Buffer.alloc(100)]),
      'no directory at its end',
    ],
    ['bytes behind its end', Buffer.concat([zipOf(good), Buffer.alloc(3)]), 'no directory at its end'],
    ['several disks', zipOf(good, { disk: 1 }), 'one of several parts'],
    ['a directory elsewhere', zipOf(good, { begin: 5 }), 'does not end at'],
    ['more entries than listed', zipOf(good, { count: 3 }), 'has no entry at byte'],
    ['fewer entries than listed', zipOf(good, { count: 1 }), 'but its entries take'],
    ['65,000 entries', zipOf(good, { count: 65_000 }), 'has 65000 entries, above the limit of 10000'],
    ['the same name twice', zipOf([...good, good[1]!]), 'the entry "x/data/0" twice'],
    [
      'overlapping entries',
      zipOf([...good, { name: 'x/data/1', bytes: values, said: { begin: 10 } }]),
      'overlaps what begins at',
    ],
    [
      'entries at one place',
      zipOf([...good, { name: 'x/data/1', bytes: values, said: { begin: 0 } }]),
      'overlaps what begins at',
    ],
    ['an entry beyond the file', zipOf([good[0]!, { ...good[1]!, said: { begin: 2 ** 31 } }]), 'overlaps'],
    ['a huge entry', zipOf([good[0]!, { ...good[1]!, said: { size: 2 ** 31 } }]), 'overlaps'],
    [
      'a bomb',
      zipOf([good[0]!, { ...good[1]!, said: { size: 2 ** 31, stored: 8, method: 8 } }]),
      'is compressed',
    ],
    ['two sizes', zipOf([good[0]!, { ...good[1]!, said: { size: 8, stored: 4 } }]), 'its sizes are 4 and 8'],
    [
      'a missing zip64 field',
      zipOf([good[0]!, { ...good[1]!, said: { size: 2 ** 32 - 1 } }]),
      'lacks a zip64 field',
    ],
    ['encryption', zipOf([{ ...good[0]!, said: { flags: 1 } }, good[1]!]), 'is encrypted'],
    [
      'another name at the place',
      zipOf([{ ...good[0]!, localName: 'y/data.pkl' }, good[1]!]),
      'is called otherwise',
    ],
    [
      'a wrong checksum',
      zipOf([{ ...good[0]!, said: { crc: 1 } }, good[1]!]),
      'checksum of entry "x/data.pkl" is wrong',
    ],
    [
      'a wrong checksum of values',
      zipOf([good[0]!, { ...good[1]!, said: { crc: 1 } }]),
      'checksum of entry "x/data/0"',
    ],
    ['a missing storage', zipOf([good[0]!]), 'it has no storage "0"'],
    [
      'a short storage',
      zipOf([good[0]!, { name: 'x/data/0', bytes: values.subarray(4) }]),
      'has 4 bytes, and should',
    ],
    ['no data.pkl', zipOf([good[1]!]), 'not one of torch.save: it has no data.pkl'],
    ['two of them', zipOf([...good, { name: 'y/data.pkl', bytes: pickle }]), 'or several'],
    [
      'bytes behind its pickle',
      zipOf([{ name: 'x/data.pkl', bytes: Buffer.concat([pickle, values]) }, good[1]!]),
      'its pickle ends at byte',
    ],
    [
      'half a pickle',
      zipOf([{ name: 'x/data.pkl', bytes: pickle.subarray(0, 50) }, good[1]!]),
      'its pickle ends too early',
    ],
    ['code', zipOf([...good, { name: 'x/code/a.py', bytes: values }]), 'TorchScript'],
    ['an unknown byte order', zipOf([...good, { name: 'x/byteorder', bytes: bytesOf('big') }]), 'big-endian'],
  ])('with %s are refused', async (_name, bytes, message) => {
    const error: unknown = await read(bytes).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(DataError);
    expect((error as DataError).message).toContain(message);
  });

  test('with a huge pickle or directory are refused before they are read', async () => {
    const small = inMemory(zipOf(good));
    // A sparse file: only its end exists.
    const sparse = (size: number, end: Buffer) => ({
      path: 'sparse',
      size,
      read: async (into: Uint8Array, position: number): Promise<number> => {
        if (into.length > 2 ** 20) throw new Error(`it reads ${into.length} bytes`);
        into.fill(0);
        for (const [i, byte] of end.entries()) {
          const at = size - end.length + i - position;
          if (at >= 0 && at < into.length) into[at] = byte;
        }
        return into.length;
      },
    });
    const end = Buffer.alloc(22);
    end.writeUInt32LE(0x06054b50, 0);
    end.writeUInt32LE(2 ** 30, 12);
    await expect(readZip(sparse(2 ** 30 + 22, end))).rejects.toThrow(
      /directory has 1073741824 bytes, above the limit/,
    );
    expect([...(await readZip(small)).keys()]).toEqual(['x/data.pkl', 'x/data/0']);
  });
});
