import { mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import {
  binaryMembers,
  tarGz,
  writeArchive,
  writeBinaryFolder,
  writePickle,
  writePythonFolder,
  writeSparse,
} from '../../test/cifar-fixtures.ts';
import { DataError } from '../errors.ts';
import { cacheDirectory } from './cache.ts';
import { cifar10, cifar100 } from './cifar-files.ts';

let root: string;
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), 'vggnet-cifar-'));
  writeBinaryFolder(root, 'cifar10');
  writeBinaryFolder(root, 'cifar100');
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

const fresh = (): string => mkdtempSync(join(root, 'case-'));

describe('binary files', () => {
  test('of CIFAR-10, from the parent folder and from their own', async () => {
    for (const data of [root, join(root, 'cifar-10-batches-bin')]) {
      const { train, test: held } = await cifar10({ data });
      expect([train.length, held.length, train.classes.length]).toEqual([50_000, 10_000, 10]);
      // The first record of each of the five files has label 1 … 5.
      expect([0, 1, 2, 3, 4].map((n) => train.labels[n * 10_000])).toEqual([1, 2, 3, 4, 5]);
      expect([...train.pixels.subarray(3072 * 10_000, 3072 * 10_000 + 3)]).toEqual([10, 20, 0]);
      expect(held.labels[0]).toBe(6);
    }
  });

  test('of CIFAR-100, with fine and coarse labels', async () => {
    const fine = await cifar100({ data: root });
    expect([fine.train.labels[0], fine.test.labels[0]]).toEqual([7, 8]);
    expect(fine.train.classes[7]).toBe('beetle');
    expect(fine.train.superclasses?.of[7]).toBe(3);
    const coarse = await cifar100({ data: root, labels: 'coarse' });
    expect([coarse.train.labels[0], coarse.train.classes.length]).toEqual([3, 20]);
  });

  test('lie in memory that workers can share', async () => {
    expect((await cifar10({ data: root })).train.pixels.buffer).toBeInstanceOf(SharedArrayBuffer);
  });
});

describe('python files', () => {
  test('of CIFAR-10', async () => {
    const data = fresh();
    writePythonFolder(data, 'cifar10');
    const { train } = await cifar10({ data });
    expect(train.labels[10_000]).toBe(4);
    expect([...train.pixels.subarray(3072 * 10_000, 3072 * 10_000 + 3)]).toEqual([5, 6, 0]);
  });

  test('of CIFAR-100', async () => {
    const data = fresh();
    const folder = writePythonFolder(data, 'cifar100');
    expect((await cifar100({ data: folder })).train.labels[0]).toBe(42);
    expect((await cifar100({ data, labels: 'coarse' })).test.labels[0]).toBe(2);
  });

  test('with too few labels or a wrong one', async () => {
    const data = fresh();
    const folder = writePythonFolder(data, 'cifar10');
    writePickle(join(folder, 'data_batch_2'), 10_000, { labels: 10 });
    await expect(cifar10({ data })).rejects.toThrow(/data_batch_2: record 0 has label 10; expected 0 to 9/);
    writePickle(join(folder, 'data_batch_2'), 9_999, { labels: 1 });
    await expect(cifar10({ data })).rejects.toThrow(DataError);
  });

  test('that are far too long are rejected before reading', async () => {
    const data = fresh();
    const folder = writePythonFolder(data, 'cifar10');
    truncateSync(join(folder, 'data_batch_3'), 2 ** 33);
    await expect(cifar10({ data })).rejects.toThrow(
      /data_batch_3 is too long: it has 8589934592 bytes, but 10000 records take at most 33280000/,
    );
  });

  test('that would run code are rejected', async () => {
    const data = fresh();
    const folder = writePythonFolder(data, 'cifar10');
    writeFileSync(join(folder, 'data_batch_1'), '\x80\x02cos\nsystem\nU\x02ls\x85R.', 'latin1');
    await expect(cifar10({ data })).rejects.toThrow(
      /data_batch_1 is not a pickle .* it refers to "os system", which is not allowed/,
    );
  });
});

describe('archives', () => {
  test('as they are downloaded, by name or in their folder', async () => {
    const data = fresh();
    const path = join(data, 'cifar-10-binary.tar.gz');
    writeArchive(path, [
      { path: 'cifar-10-batches-bin/', content: new Uint8Array(0), type: '5' },
      { path: 'cifar-10-batches-bin/readme.html', content: Uint8Array.of(60, 112) },
      ...binaryMembers('cifar10'),
    ]);
    for (const place of [path, data]) {
      const { train } = await cifar10({ data: place });
      expect([train.labels[10_000], train.labels[1], train.pixels[0]]).toEqual([9, 0, 77]);
    }
  });

  test('that are corrupt, incomplete or of something else', async () => {
    const path = join(fresh(), 'a.tar.gz');
    const whole = tarGz(binaryMembers('cifar100'));
    writeFileSync(path, whole.subarray(0, whole.length - 2000));
    await expect(cifar100({ data: path })).rejects.toThrow(/a\.tar\.gz.*(not a complete|truncated)/);
    const flipped = whole.slice();
    flipped[flipped.length - 6]! ^= 1;
    writeFileSync(path, flipped);
    await expect(cifar100({ data: path })).rejects.toThrow(/not a complete \.tar\.gz archive/);
    writeFileSync(path, 'not an archive');
    await expect(cifar100({ data: path })).rejects.toThrow(
      /not a complete \.tar\.gz archive: incorrect header check/,
    );
    const plain = `${path.slice(0, -3)}`;
    writeFileSync(plain, 'not an archive');
    await expect(cifar100({ data: plain })).rejects.toThrow(
      'is not a .tar or .tar.gz archive: it has 14 bytes',
    );
    writeArchive(path, binaryMembers('cifar100').slice(0, 1));
    await expect(cifar100({ data: path })).rejects.toThrow(
      /does not contain test\.bin \(or test\) of cifar100/,
    );
  });

  test.each([
    ['leaves the folder', { path: '../../etc/evil', content: Uint8Array.of(1) }, /is outside/],
    ['is absolute', { path: '/etc/evil', content: Uint8Array.of(1) }, /is outside/],
    [
      'is a link',
      { path: 'cifar-10-batches-bin/x', content: new Uint8Array(0), type: '2' },
      /link or special file/,
    ],
    [
      'has another size',
      { path: 'cifar-10-batches-bin/test_batch.bin', content: Uint8Array.of(1) },
      /test_batch\.bin in .* is truncated: it has 1 bytes, but 10000 records take 30730000/,
    ],
  ])('with a member that %s', async (_, member, message) => {
    const path = join(fresh(), 'b.tar.gz');
    writeArchive(path, [member]);
    await expect(cifar10({ data: path })).rejects.toThrow(message);
  });

  test('with too many members', async () => {
    const path = join(fresh(), 'c.tar.gz');
    writeArchive(
      path,
      Array.from({ length: 65 }, (_, i) => ({ path: `f${i}`, content: new Uint8Array(0) })),
    );
    await expect(cifar10({ data: path })).rejects.toThrow(/more than 64 members/);
  });

  test('that unpack to more than the limit', async () => {
    const path = join(fresh(), 'd.tar.gz');
    writeArchive(path, [{ path: 'bomb', content: new Uint8Array(257 * 2 ** 20) }]);
    await expect(cifar10({ data: path })).rejects.toThrow(/unpacks to more than/);
  });
});

describe('wrong files', () => {
  test('a path that does not exist or has no files', async () => {
    await expect(cifar10({ data: join(root, 'nowhere') })).rejects.toThrow(
      /nowhere does not exist; download them with: vgg download cifar10/,
    );
    const data = fresh();
    await expect(cifar10({ data })).rejects.toThrow(/no files found in .*--data.*\n.*data_batch_1\.bin/);
    mkdirSync(join(data, 'cifar-10-batches-bin'));
    writeSparse(join(data, 'cifar-10-batches-bin', 'data_batch_1.bin'), 30_730_000);
    await expect(cifar10({ data })).rejects.toThrow(/data_batch_2\.bin is missing/);
  });

  test('truncated, overlong, or with a label out of range', async () => {
    const data = fresh();
    const folder = writeBinaryFolder(data, 'cifar10');
    const path = join(folder, 'data_batch_3.bin');
    truncateSync(path, 30_729_999);
    await expect(cifar10({ data })).rejects.toThrow(
      /data_batch_3\.bin is truncated: it has 30729999 bytes, but 10000 records take 30730000/,
    );
    truncateSync(path, 30_730_001);
    await expect(cifar10({ data })).rejects.toThrow(/is too long: it has 30730001 bytes/);
    writeSparse(path, 30_730_000, { [3073 * 5]: [10] });
    await expect(cifar10({ data })).rejects.toThrow(
      /data_batch_3\.bin: record 5 has label 10; expected 0 to 9/,
    );
  });
});

describe('places', () => {
  test('$VGGNET_DATA is searched only if no path is given', async () => {
    vi.stubEnv('VGGNET_DATA', root);
    expect((await cifar10()).train.length).toBe(50_000);
    await expect(cifar10({ data: fresh() })).rejects.toThrow(/no files found/);
    vi.unstubAllEnvs();
  });

  test("the cache directory is the platform's own", () => {
    expect(cacheDirectory({ XDG_CACHE_HOME: '/x' }, 'linux')).toBe('/x/vggnet');
    expect(cacheDirectory({}, 'linux')).toMatch(/\.cache\/vggnet$/);
    expect(cacheDirectory({}, 'darwin')).toMatch(/Library\/Caches\/vggnet$/);
    expect(cacheDirectory({ LOCALAPPDATA: '/local' }, 'win32')).toBe('/local/vggnet');
  });
});

const cifar = process.env.VGGNET_TEST_CIFAR;
test.skipIf(!cifar)('the real CIFAR-10 has 5,000 training images of each class', async () => {
  const { train } = await cifar10({ data: cifar! });
  const counts = new Array<number>(10).fill(0);
  for (const label of train.labels) counts[label]!++;
  expect(counts).toEqual(new Array(10).fill(5000));
});
