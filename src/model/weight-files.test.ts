import { execFile } from 'node:child_process';
import { type FileHandle, mkdtemp, open, readdir, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { readWeights } from '../../test/read-weights.ts';
import { DataError, UsageError } from '../errors.ts';
import { initialWeights, sourceOfInitial } from './initialize.ts';
import type { Weights } from './layer.ts';
import { flatten, linear } from './layers/index.ts';
import { buildNetwork, sequential } from './network.ts';
import { readSafetensors, writeSafetensors } from './safetensors.ts';
import { openWeights, readInfo, writeWeights } from './weight-files.ts';
import { partValues, sourceOf } from './weight-streams.ts';

const network = buildNetwork(sequential([flatten(), linear({ out: 2, name: 'fc' })]), [1, 1, 3]);
const weights = initialWeights(network, 1);

/** A file of any header and values. */
function fileOf(header: object, values: Uint8Array = new Uint8Array(0)): Buffer {
  const json = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeUInt32LE(json.length);
  return Buffer.concat([length, json, values]);
}

/** Compares many values; `toEqual` would take seconds. */
const isEqual = (a: Float32Array, b: Float32Array): boolean =>
  a.length === b.length && a.every((value, i) => value === b[i]);

let folder: string;
let path: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'vggnet-weights-'));
  path = join(folder, 'weights.safetensors');
});
afterAll(() => rm(folder, { recursive: true }));

describe('weight files', () => {
  test('load what was saved and leave no temporary file', async () => {
    await writeFile(path, 'an older file');
    await writeWeights(path, weights);
    expect(await readWeights(path, network)).toEqual({ weights });
    expect(await readdir(folder)).toEqual(['weights.safetensors']);
  });

  test('are rejected before values are read if there are too many bytes', async () => {
    const length = 5 * 2 ** 30;
    const header = fileOf({
      'fc.weight': { dtype: 'F32', shape: [length / 4], data_offsets: [0, length] },
    });
    await writeFile(path, header);
    await truncate(path, header.length + length);
    await using handle = await open(path);
    const read = vi.spyOn(Object.getPrototypeOf(handle) as FileHandle, 'read');
    await expect(readWeights(path, network)).rejects.toThrow(
      /fc\.weight is \[1342177280\], expected \[2, 3\]/,
    );
    // The format, the header's length, the header.
    expect(read.mock.calls.length).toBe(3);
    // A file that is longer than its header says.
    await writeFile(path, writeSafetensors(weights));
    await truncate(path, length);
    await expect(readInfo(path)).rejects.toThrow(/its tensors end at byte 32, but it has \d+ bytes/);
    read.mockRestore();
  });

  test('say which file is wrong, and why', async () => {
    await writeFile(path, fileOf({ 'fc.weight': { dtype: 'F32', shape: [7], data_offsets: [0, 0] } }));
    await expect(readWeights(path, network)).rejects.toThrow(DataError);
    await expect(readWeights(path, network)).rejects.toThrow(
      /weights\.safetensors: .*tensor "fc.weight": shape \[7\]/,
    );
    await expect(readWeights(join(folder, 'none'), network)).rejects.toThrow(
      /none cannot be read: no such file/,
    );
    await expect(writeWeights(join(folder, 'none', 'file'), weights)).rejects.toThrow(UsageError);
    await expect(writeWeights(folder, weights)).rejects.toThrow(UsageError);
  });
});

describe('parts of weight files', () => {
  const large = buildNetwork(sequential([linear({ out: 1500, name: 'fc' })]), [1700]);

  test('are those of the values, whatever the source', async () => {
    const values = initialWeights(large, 5);
    await writeWeights(path, sourceOfInitial(large, 5));
    const loaded = await readWeights(path, large);
    for (const [name, { data }] of values) expect(isEqual(loaded.weights.get(name)!.data, data)).toBe(true);
    await using file = await openWeights(path, large);
    expect([...file.shapes]).toEqual([
      ['fc.weight', [1500, 1700]],
      ['fc.bias', [1500]],
    ]);
    const { data } = values.get('fc.weight')!;
    const reads = [
      [0, 1],
      [7, partValues + 9],
      [data.length - 3, 3],
    ].map(async ([from, length]) => {
      const part = new Float32Array(new SharedArrayBuffer(4 * length!));
      await file.read('fc.weight', from!, part);
      expect(isEqual(part, data.subarray(from, from! + length!))).toBe(true);
    });
    await Promise.all(reads);
  });

  test('come in the order of the network, from any type of values', async () => {
    const numbers = [1, -2, 0.5, 3, -0.25, 8];
    const f64 = new Uint8Array(Float64Array.from(numbers).buffer);
    const bf16 = new Uint8Array(Uint16Array.of(0x3f80, 0xbfc0).buffer);
    await writeFile(
      path,
      fileOf(
        {
          'fc.bias': { dtype: 'BF16', shape: [2], data_offsets: [0, 4] },
          'fc.weight': { dtype: 'F64', shape: [2, 3], data_offsets: [4, 52] },
        },
        Buffer.concat([bf16, f64]),
      ),
    );
    const loaded: Weights = new Map([
      ['fc.weight', { shape: [2, 3], data: Float32Array.from(numbers) }],
      ['fc.bias', { shape: [2], data: Float32Array.of(1, -1.5) }],
    ]);
    expect([...(await readWeights(path, network)).weights]).toEqual([...loaded]);
    await using file = await openWeights(path, network);
    const part = new Float32Array(3);
    await file.read('fc.weight', 2, part);
    expect([...part]).toEqual([0.5, 3, -0.25]);
  });

  test('that are missing because the file was cut short meanwhile are an error', async () => {
    const bytes = writeSafetensors(weights);
    await writeFile(path, bytes);
    await using file = await openWeights(path, network);
    await truncate(path, bytes.length - 1);
    const part = new Float32Array(2);
    await expect(file.read('fc.bias', 0, part)).rejects.toThrow(
      /weights\.safetensors: it was cut short while it was read/,
    );
    await file.read('fc.bias', 0, part.subarray(0, 1));
    expect(part[0]).toBe(weights.get('fc.bias')!.data[0]);
  });

  test('are not read on after an abort', async () => {
    await writeWeights(path, weights);
    const reason = new Error('stopped');
    await expect(readWeights(path, network, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
  });

  test('leave no file if their source fails', async () => {
    const source = sourceOf(weights);
    const own = new Error('own');
    const failing = {
      ...source,
      read: async (name: string, from: number, into: Float32Array): Promise<void> => {
        if (name === 'fc.bias') throw own;
        await source.read(name, from, into);
      },
    };
    await writeWeights(path, weights);
    await expect(writeWeights(path, failing)).rejects.toBe(own);
    expect(await readWeights(path, network)).toEqual({ weights });
    expect(await readdir(folder)).toEqual(['weights.safetensors']);
  });
});

test('weights whose values do not match their shape are rejected before anything is written', async () => {
  const wrong: Weights = new Map([['a', { shape: [2], data: new Float32Array(3) }]]);
  await expect(writeWeights(join(folder, 'wrong'), wrong)).rejects.toThrow(
    'tensor "a": shape [2] needs 2 values, not 3',
  );
  expect(await readdir(folder)).not.toContain('wrong');
  expect(() => writeSafetensors(wrong)).toThrow(UsageError);
  expect(readSafetensors(writeSafetensors(weights)).tensors).toEqual(weights);
});

test('a file that its caller forgets to close does not end the process', async () => {
  const program = `
    const { openParts } = await import(${JSON.stringify(new URL('../files/files.ts', import.meta.url).href)});
    await (async () => { (await openParts(process.argv[1])).size; })();
    for (let i = 0; i < 5; i++) {
      gc();
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    console.log('alive');`;
  const arguments_ = [
    '--expose-gc',
    '--input-type=module',
    '--eval',
    program,
    fileURLToPath(import.meta.url),
  ];
  const { stdout } = await promisify(execFile)(process.execPath, arguments_);
  expect(stdout).toBe('alive\n');
});
