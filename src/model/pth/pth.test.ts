import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { tiny, tinyWeights, vector } from '../../../test/pth-vectors.ts';
import { readWeights } from '../../../test/read-weights.ts';
import { DataError } from '../../errors.ts';
import { openParts } from '../../files/files.ts';
import { fromHalf, toHalf } from '../half.ts';
import type { Weights } from '../layer.ts';
import { tensorsAt } from '../tensor-files.ts';
import { openWeights, readInfo } from '../weight-files.ts';
import { readAll } from '../weight-streams.ts';
import { openPth, pthForm } from './open.ts';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'vggnet-pth-'));
});
afterAll(() => rm(folder, { recursive: true }));

const asIs = (value: number): number => value;
const toBrainFloat = (value: number): number => {
  const words = new Uint32Array(Float32Array.of(value).buffer);
  // Rounds to the nearest, ties to even.
  words[0] = ((words[0]! + 0x7fff + ((words[0]! >>> 16) & 1)) >>> 16) << 16;
  return new Float32Array(words.buffer)[0]!;
};

describe('files of torch.save', () => {
  const valid: readonly (readonly [string, (value: number) => number])[] = [
    ['zip.pth', asIs],
    ['zip64.pth', asIs],
    ['torch2.pth', asIs],
    ['legacy.pth', asIs],
    ['plain-dict.pth', asIs],
    ['parameters.pth', asIs],
    ['protocol4.pth', asIs],
    ['protocol4-legacy.pth', asIs],
    ['checkpoint.pth', asIs],
    ['compiled.pth', asIs],
    ['namespace.pth', asIs],
    ['numpy-scalar.pth', asIs],
    ['double.pth', asIs],
    ['half.pth', (value) => fromHalf(toHalf(value))],
    ['bfloat16.pth', toBrainFloat],
    ['bfloat16-legacy.pth', toBrainFloat],
  ];
  test.each(valid)('%s has its exact values', async (name, round) => {
    const { weights } = await readWeights(vector(name), tiny());
    expect([...weights]).toEqual([...tinyWeights(round)]);
    expect(await readInfo(vector(name))).toBeUndefined();
  });

  const refused: readonly (readonly [string, RegExp])[] = [
    ['evil.pth', /malicious: PyTorch would call posix\.system/],
    [
      'module.pth',
      /holds a pickled object of class __main__\.Tiny, not a state dict; .*model\.state_dict\(\)/,
    ],
    ['module-legacy.pth', /holds a pickled object of class __main__\.Tiny/],
    ['torchscript.pt', /is a TorchScript program, not a state dict/],
    ['big-endian.pth', /its values are big-endian/],
    ['deflated.pth', /entry "archive\/data\.pkl" is compressed/],
    ['truncated.pth', /damaged or cut short: .*no directory at its end/],
    ['features-only.pth', /weights do not fit tiny on 3×8×8: features\.0\.weight \[4, 3, 3, 3\] is missing/],
    ['views.pth', /a is unexpected/],
    ['views-legacy.pth', /a is unexpected/],
  ];
  test.each(refused)('%s is refused', async (name, message) => {
    const reading = readWeights(vector(name), tiny());
    await expect(reading).rejects.toThrow(DataError);
    await expect(reading).rejects.toThrow(message);
    await expect(reading).rejects.toThrow(name);
  });

  test('are all listed here', async () => {
    const files = (await readdir(vector('.'))).filter(
      (name) => /\.pth?$/.test(name) && !name.startsWith('tiny-'),
    );
    expect([...valid, ...refused].map(([name]) => name).sort()).toEqual(files.sort());
  });

  test('have views with their offsets and strides', async () => {
    const base = Float32Array.from({ length: 24 }, (_, i) => i);
    const transposed = Float32Array.from({ length: 24 }, (_, i) => 6 * (i % 4) + Math.floor(i / 4));
    const common: Weights = new Map([
      ['a', { shape: [3, 4], data: base.slice(0, 12) }],
      ['b', { shape: [4, 3], data: base.slice(6, 18) }],
      ['t', { shape: [6, 4], data: transposed }],
    ]);
    const more: Weights = new Map([
      ['step', { shape: [5], data: Float32Array.of(1, 6, 11, 16, 21) }],
      ['scalar', { shape: [], data: Float32Array.of(3) }],
      ['empty', { shape: [0, 3], data: new Float32Array(0) }],
      ['expanded', { shape: [2, 3], data: new Float32Array(6).fill(2) }],
    ]);
    expect(await tensorsOf(vector('views-legacy.pth'))).toEqual(common);
    expect(await tensorsOf(vector('views.pth'))).toEqual(new Map([...common, ...more]));
  });

  test('are read in parts, whatever the order', async () => {
    const whole = tinyWeights().get('classifier.0.weight')!.data;
    await using file = await openWeights(vector('half.pth'), tiny());
    const part = new Float32Array(7);
    for (const from of [100, 3, 313]) {
      await file.read('classifier.0.weight', from, part);
      expect([...part]).toEqual([...whole.subarray(from, from + 7)].map((value) => fromHalf(toHalf(value))));
    }
  });

  test('are told apart by their content, not their name', async () => {
    const path = join(folder, 'weights.safetensors');
    await writeFile(path, await readFile(vector('legacy.pth')));
    expect([...(await readWeights(path, tiny())).weights]).toEqual([...tinyWeights()]);
    for (const [bytes, message] of [
      [Buffer.from('\x89HDF\r\n\x1a\n', 'latin1'), /HDF5 file, as of Keras/],
      [
        Buffer.concat([Buffer.alloc(257), Buffer.from('ustar'), Buffer.alloc(250)]),
        /tar file, as of PyTorch before/,
      ],
      [Buffer.from('<!DOCTYPE html>'), /not a safetensors file/],
      [Buffer.alloc(0), /not a safetensors file: it has 0 bytes/],
    ] as const) {
      await writeFile(path, bytes);
      await expect(readWeights(path, tiny())).rejects.toThrow(message);
    }
  });
});

/** All tensors of a file. */
async function tensorsOf(path: string): Promise<Weights> {
  await using file = await openParts(path).then((parts) => ({
    ...parts,
    [Symbol.asyncDispose]: parts.close,
  }));
  const { shapes, locate } = await openPth(file, (await pthForm(file))!);
  return readAll(tensorsAt(file, await locate(shapes.keys()), shapes));
}

describe('a file with one byte changed', () => {
  const network = tiny();
  const wanted = [...tinyWeights()];
  /** Values of the file, or undefined if it is refused. Any error but a DataError fails the test. */
  async function loaded(path: string, bytes: Uint8Array): Promise<Weights | undefined> {
    await writeFile(path, bytes);
    try {
      return (await readWeights(path, network)).weights;
    } catch (error) {
      expect(error).toBeInstanceOf(DataError);
      return undefined;
    }
  }
  const flips = (bytes: Uint8Array): readonly (readonly [number, number])[] =>
    [...bytes.keys()].flatMap((at) => [0xff, 1, 1 << (at % 8)].map((flip) => [at, flip] as const));

  test('zip.pth gives the same values or a clear error', { timeout: 120_000 }, async () => {
    const bytes = await readFile(vector('zip.pth'));
    const path = join(folder, 'flipped-zip');
    let refused = 0;
    for (const [at, flip] of flips(bytes)) {
      const changed = Uint8Array.from(bytes);
      changed[at]! ^= flip;
      const weights = await loaded(path, changed);
      if (weights === undefined) refused++;
      else if (!same(weights, wanted)) expect.fail(`byte ${at} xor ${flip} changes values`);
    }
    expect(refused).toBeGreaterThan(bytes.length);
  });

  test('legacy.pth changes values only where storages did', { timeout: 120_000 }, async () => {
    const bytes = await readFile(vector('legacy.pth'));
    const path = join(folder, 'flipped-legacy');
    await using file = await openParts(vector('legacy.pth')).then((parts) => ({
      ...parts,
      [Symbol.asyncDispose]: parts.close,
    }));
    const { shapes, locate } = await openPth(file, 'legacy');
    const places = await locate([...shapes.keys()].filter((name) => !name.endsWith('num_batches_tracked')));
    const inStorage = (at: number): boolean =>
      [...places].some(([name, { begin }]) => {
        const size = 4 * shapes.get(name)!.reduce((product, side) => product * side, 1);
        return at >= begin && at < begin + size;
      });
    let changedValues = 0;
    for (const [at, flip] of flips(bytes)) {
      const changed = Uint8Array.from(bytes);
      changed[at]! ^= flip;
      const weights = await loaded(path, changed);
      if (weights === undefined || same(weights, wanted)) continue;
      if (!inStorage(at)) expect.fail(`byte ${at} xor ${flip} changes values`);
      changedValues++;
    }
    expect(changedValues).toBeGreaterThan(1000);
  });
});

const same = (
  weights: Weights,
  wanted: readonly (readonly [string, { readonly data: Float32Array }])[],
): boolean =>
  wanted.every(([name, { data }]) => {
    const found = weights.get(name)!.data;
    return data.every((value, i) => Object.is(value, found[i]));
  });
