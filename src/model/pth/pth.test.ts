import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { inMemory, tiny, tinyWeights, vector } from '../../../test/pth-vectors.ts';
import { readWeights } from '../../../test/read-weights.ts';
import { DataError } from '../../errors.ts';
import { openParts } from '../../files/files.ts';
import { fromHalf, toHalf } from '../half.ts';
import type { Weights } from '../layer.ts';
import { sizeOf } from '../network.ts';
import { tensorsAt } from '../tensor-files.ts';
import { openWeights, readInfo } from '../weight-files.ts';
import { fittingTensors } from '../weight-names.ts';
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
    ['views.pth', /weights do not fit tiny/],
    ['views-legacy.pth', /weights do not fit tiny/],
  ];
  test.each(refused)('%s is refused', async (name, message) => {
    const error: unknown = await readWeights(vector(name), tiny()).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(DataError);
    expect((error as DataError).message).toMatch(message);
    expect((error as DataError).message).toContain(`${name}: `);
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
  return await readAll(tensorsAt(file, await locate(shapes.keys()), shapes));
}

describe('a file with one byte changed', () => {
  const network = tiny();
  const wanted = [...tinyWeights()];

  /** Values of the file, or undefined if it is refused. Any error but a DataError fails the test. */
  async function loaded(bytes: Uint8Array): Promise<Weights | undefined> {
    const file = inMemory(bytes);
    try {
      const form = await pthForm(file);
      if (form === undefined) return undefined;
      const { shapes, locate } = await openPth(file, form);
      const fit = fittingTensors(network, shapes);
      const places = await locate(fit.sources.values());
      const named = new Map([...fit.sources].map(([name, source]) => [name, places.get(source)!]));
      return await readAll(tensorsAt(file, named, fit.shapes));
    } catch (error) {
      if (!(error instanceof DataError)) throw error;
      return undefined;
    }
  }

  /** Flips all bits of each byte in turn, then one bit. */
  async function* flipped(bytes: Uint8Array): AsyncGenerator<readonly [at: number, Weights | undefined]> {
    for (const flip of [() => 0xff, (at: number) => 1 << (at % 8), () => 1]) {
      for (const at of bytes.keys()) {
        const changed = Uint8Array.from(bytes);
        changed[at]! ^= flip(at);
        yield [at, await loaded(changed)];
      }
    }
  }

  test('zip.pth gives the same values or a clear error', async () => {
    const bytes = await readFile(vector('zip.pth'));
    let refused = 0;
    const wrong: number[] = [];
    for await (const [at, weights] of flipped(bytes)) {
      if (weights === undefined) refused++;
      else if (!same(weights, wanted)) wrong.push(at);
    }
    expect(wrong).toEqual([]);
    expect(refused).toBeGreaterThan(bytes.length);
  });

  test('legacy.pth changes values only where storages did', async () => {
    const bytes = await readFile(vector('legacy.pth'));
    const { shapes, locate } = await openPth(inMemory(bytes), 'legacy');
    const places = await locate(fittingTensors(network, shapes).sources.values());
    const inStorage = (at: number): boolean =>
      [...places].some(([name, { begin }]) => at >= begin && at < begin + 4 * sizeOf(shapes.get(name)!));
    let changed = 0;
    const wrong: number[] = [];
    for await (const [at, weights] of flipped(bytes)) {
      if (weights === undefined || same(weights, wanted)) continue;
      if (inStorage(at)) changed++;
      else wrong.push(at);
    }
    expect(wrong).toEqual([]);
    expect(changed).toBeGreaterThan(1000);
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
