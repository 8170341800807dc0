import { spawnSync } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { readWeights } from '../../test/read-weights.ts';
import { canMountSmallDisk, mountSmallDisk } from '../../test/small-disk.ts';
import { random } from '../data/random.ts';
import { DataError } from '../errors.ts';
import { initialWeights } from '../model/initialize.ts';
import type { Weight, Weights } from '../model/layer.ts';
import { flatten, linear } from '../model/layers/index.ts';
import { buildNetwork, sequential } from '../model/network.ts';
import { readSafetensors, writeSafetensors } from '../model/safetensors.ts';
import { appendTensors } from '../model/tensor-files.ts';
import { readAll } from '../model/weight-streams.ts';
import type { LoopState } from '../train/loop-state.ts';
import { type Checkpoint, checkpointIn, encoded } from './checkpoint.ts';
import {
  lastGoodCheckpoint,
  lastGoodWeights,
  openCheckpoint,
  readCheckpoint,
  writeCheckpoint,
} from './checkpoint-files.ts';

const network = buildNetwork(sequential([flatten(), linear({ out: 2, name: 'fc' })]), [1, 1, 3]);
const weights = initialWeights(network, 1);
const training: Weights = new Map(
  [...weights].map(([name, { shape, data }]): [string, Weight] => [
    `optimizer.exp_avg.${name}`,
    { shape, data: data.map((value) => value / 3) },
  ]),
);
const loop: LoopState = {
  epoch: 3,
  step: 17,
  totalSteps: 1017,
  optimizerSteps: 508,
  running: { lossSum: 0.1 + 0.2, correct: 12, images: 1700 },
  best: { epoch: 2, value: 2 / 3 },
  counters: { plateau: 1, earlyStopping: 0 },
  finished: false,
};
const checkpoint: Checkpoint = {
  weights,
  training,
  loop,
  extra: { b: [1, null, { y: 'ü', x: 1e-300 }], a: true },
};
const at = (totalSteps: number): Checkpoint => ({ ...checkpoint, loop: { ...loop, totalSteps } });

/** The bytes of a checkpoint, without a disk. */
async function bytesOf(state: Checkpoint): Promise<Buffer> {
  let bytes = Buffer.alloc(0);
  const { header, source } = encoded(state);
  await appendTensors(
    {
      append: async (part) => {
        bytes = Buffer.concat([bytes, part]);
      },
      overwrite: async (part, position) => bytes.set(part, position),
    },
    header,
    source,
  );
  return bytes;
}

/** The bytes with zeros for the checksum's digits, of which it is the checksum. */
function withoutSum(bytes: Buffer): Buffer {
  const at = bytes.indexOf('crc32:') + 6;
  return Buffer.from(bytes).fill('0', at, at + 8);
}

/** The checkpoint in such bytes. */
async function parsed(bytes: Buffer): Promise<Checkpoint> {
  const { weights, training, ...rest } = await checkpointIn({
    path: 'memory',
    size: bytes.length,
    read: async (into, position) => bytes.copy(into, 0, Math.min(position, bytes.length)),
  });
  return { ...rest, weights: await readAll(weights), training: await readAll(training) };
}

let folder: string;
let last: string;
let previous: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'vggnet-checkpoint-'));
  last = join(folder, 'last.safetensors');
  previous = join(folder, 'last.previous.safetensors');
});
afterEach(() => rm(folder, { recursive: true }));

describe('a checkpoint', () => {
  test('is read as it was written', async () => {
    await writeCheckpoint(last, checkpoint);
    expect(await readCheckpoint(last)).toEqual(checkpoint);
    expect(await readdir(folder)).toEqual(['last.safetensors']);
  });

  test('has equal bytes for equal state, whatever the order of its keys', async () => {
    const shuffled: Checkpoint = {
      extra: { a: true, b: [1, null, { x: 1e-300, y: 'ü' }] },
      loop: {
        ...loop,
        counters: { earlyStopping: 0, plateau: 1 },
        running: { images: 1700, correct: 12, lossSum: 0.1 + 0.2 },
      },
      training: new Map(training),
      weights: new Map(weights),
    };
    const bytes = await bytesOf(checkpoint);
    expect(await bytesOf(shuffled)).toEqual(bytes);
    expect(await bytesOf(await parsed(bytes))).toEqual(bytes);
    expect(await bytesOf(at(1018))).not.toEqual(bytes);
  });

  test('is a safetensors file with the weights in front', async () => {
    const { tensors, metadata } = readSafetensors(await bytesOf(checkpoint));
    expect([...tensors]).toEqual([...weights, ...training]);
    expect(Object.keys(metadata)).toEqual(['format', 'checksum', 'state']);
    expect(metadata.format).toBe('vggnet checkpoint 1');
    expect(metadata.checksum).toMatch(/^crc32:[0-9a-f]{8}$/);
  });

  test('of several parts has the checksum of all bytes', async () => {
    const length = 2.5 * 2 ** 20;
    const data = Float32Array.from({ length }, (_, i) => i);
    const large = { ...checkpoint, weights: new Map([['big', { shape: [length], data }]]) };
    await writeCheckpoint(last, large);
    const bytes = await readFile(last);
    expect(bytes.equals(await bytesOf(large))).toBe(true);
    const found = bytes.toString('latin1', 0, 100).match(/crc32:([0-9a-f]{8})/)!;
    expect(crc32(withoutSum(bytes)).toString(16).padStart(8, '0')).toBe(found[1]);
    const { weights } = await readCheckpoint(last);
    expect(weights.get('big')!.data.every((value, i) => value === i)).toBe(true);
    bytes[bytes.length - 40]! ^= 1;
    await writeFile(last, bytes);
    await expect(readCheckpoint(last)).rejects.toThrow(/damaged or cut short: its checksum is/);
  });

  test('can be copied from its file', async () => {
    await writeCheckpoint(last, checkpoint);
    const copy = join(folder, 'copy.safetensors');
    {
      await using open = await openCheckpoint(last);
      expect([...open.weights.shapes]).toEqual([...weights].map(([name, { shape }]) => [name, shape]));
      await writeCheckpoint(copy, open);
    }
    expect(await readFile(copy)).toEqual(await readFile(last));
  });

  test('is not read on after an abort', async () => {
    await writeCheckpoint(last, checkpoint);
    const reason = new Error('stopped');
    await expect(readCheckpoint(last, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
  });

  test('cut short at any length is detected', async () => {
    const bytes = await bytesOf(checkpoint);
    for (let length = 0; length < bytes.length; length++) {
      await expect(parsed(bytes.subarray(0, length)), `${length} bytes`).rejects.toThrow(DataError);
    }
    await expect(parsed(Buffer.concat([bytes, Buffer.from([0])]))).rejects.toThrow(DataError);
  });

  test('with any bit flipped is detected', async () => {
    const bytes = await bytesOf(checkpoint);
    for (let bit = 0; bit < 8 * bytes.length; bit++) {
      bytes[bit >> 3]! ^= 1 << (bit & 7);
      // Not `expect` for each of thousands.
      let error: unknown;
      try {
        await parsed(bytes);
      } catch (thrown) {
        error = thrown;
      }
      if (!(error instanceof DataError)) expect.fail(`bit ${bit}: ${error}`);
      bytes[bit >> 3]! ^= 1 << (bit & 7);
    }
    expect(await parsed(bytes)).toEqual(checkpoint);
  });

  test('with a random run of bytes overwritten is detected', async () => {
    const bytes = await bytesOf(checkpoint);
    const { next } = generator(5);
    for (let i = 0; i < 2000; i++) {
      const damaged = Buffer.from(bytes);
      const start = next(bytes.length);
      for (let j = start; j < Math.min(bytes.length, start + 1 + next(64)); j++) damaged[j] = next(256);
      if (damaged.equals(bytes)) continue;
      await expect(parsed(damaged)).rejects.toThrow(DataError);
    }
  });

  test('an invalid state is rejected when written', () => {
    const bad = (changes: object): Checkpoint => ({ ...checkpoint, loop: { ...loop, ...changes } });
    expect(() => encoded(bad({ step: -1 }))).toThrow(
      /its training state is invalid: loop.step: -1 is not a whole number ≥ 0$/,
    );
    expect(() => encoded(bad({ best: { epoch: 1, value: Number.NaN } }))).toThrow(
      /loop.best.value: NaN is not a number$/,
    );
    expect(() => encoded(bad({ finished: 1 }))).toThrow(/loop.finished: 1 is not true or false$/);
    expect(() => encoded({ ...checkpoint, training: weights })).toThrow(/fc.weight is a weight/);
  });
});

/** Whole numbers below a bound, the same in each run. */
function generator(seed: number): { readonly next: (bound: number) => number } {
  const numbers = random(seed, 0);
  return { next: (bound) => numbers.integer(bound) };
}

describe('keeping', () => {
  test('only the previous one is kept', async () => {
    for (const steps of [1, 2, 3]) await writeCheckpoint(last, at(steps));
    expect((await readCheckpoint(last)).loop.totalSteps).toBe(3);
    expect((await readCheckpoint(previous)).loop.totalSteps).toBe(2);
    expect((await readdir(folder)).sort()).toEqual(['last.previous.safetensors', 'last.safetensors']);
  });

  test('lastGoodCheckpoint falls back and says why in one line', async () => {
    const notices: string[] = [];
    const find = async (): Promise<number | undefined> =>
      (await lastGoodCheckpoint(folder, 'last', (line) => notices.push(line)))?.loop.totalSteps;
    expect(await find()).toBeUndefined();
    for (const steps of [1, 2]) await writeCheckpoint(last, at(steps));
    expect(await find()).toBe(2);
    expect(notices).toEqual([]);

    const good = await readFile(last);
    await truncate(last, good.length - 1);
    expect(await find()).toBe(1);
    expect(notices.pop()).toMatch(/last\.safetensors: damaged or cut short: .*; resuming from .*previous/);
    await writeFile(last, 'weights?');
    expect(await find()).toBe(1);
    expect(notices.pop()).toMatch(/last\.safetensors: not a checkpoint/);
    await rm(last);
    expect(await find()).toBe(1);
    expect(notices).toEqual([]);

    good[good.length - 1]! ^= 1;
    await writeFile(previous, good);
    await writeFile(last, good);
    await expect(find()).rejects.toThrow(
      /every checkpoint in .* is damaged: .*last\.safetensors: .*previous/,
    );
  });

  test('a damaged one never replaces the only good one', async () => {
    for (const steps of [1, 2]) await writeCheckpoint(last, at(steps));
    await writeFile(last, 'damaged');
    await writeCheckpoint(last, at(3));
    expect((await readCheckpoint(last)).loop.totalSteps).toBe(3);
  });

  test('a killed writer leaves a whole one', async () => {
    const url = (name: string): string => JSON.stringify(new URL(name, import.meta.url).href);
    const program = `
      import { readCheckpoint, writeCheckpoint } from ${url('checkpoint-files.ts')};
      const start = await readCheckpoint(process.argv[1]);
      const weights = new Map([...start.weights, ['big', { shape: [500000], data: new Float32Array(500000) }]]);
      setTimeout(() => process.kill(process.pid, 'SIGKILL'), Number(process.argv[2]));
      for (let totalSteps = 2; ; totalSteps++) {
        await writeCheckpoint(process.argv[1], { ...start, weights, loop: { ...start.loop, totalSteps } });
      }`;
    for (const milliseconds of [5, 17, 31, 47]) {
      await writeCheckpoint(last, at(1));
      const run = spawnSync(process.execPath, [
        '--input-type=module',
        '--eval',
        program,
        last,
        `${milliseconds}`,
      ]);
      expect(run.signal).toBe('SIGKILL');
      expect(await lastGoodCheckpoint(folder, 'last', expect.fail)).toBeDefined();
    }
  });
});

describe('weights from a checkpoint', () => {
  test('come without the rest of the training', async () => {
    await writeCheckpoint(last, checkpoint);
    expect(await readWeights(last, network)).toEqual({ weights });
    const bytes = await readFile(last);
    bytes[bytes.length - 1]! ^= 1;
    await writeFile(last, bytes);
    await expect(readWeights(last, network)).rejects.toThrow(/last\.safetensors: damaged or cut short/);
  });

  test('are those of the newest undamaged one', async () => {
    const newer: Checkpoint = { ...checkpoint, weights: initialWeights(network, 2) };
    await writeCheckpoint(last, checkpoint);
    await writeCheckpoint(last, newer);
    const notices: string[] = [];
    const find = () => lastGoodWeights(folder, 'last', (line) => notices.push(line));
    expect(await find()).toEqual({ path: last, weights: newer.weights });
    expect(notices).toEqual([]);
    await writeFile(last, 'damaged');
    expect(await find()).toEqual({ path: previous, weights });
    expect(notices).toEqual([expect.stringMatching(/not a checkpoint.*; resuming from .*previous/)]);
  });

  test('tensors of a training are rejected in other files', async () => {
    await writeFile(last, writeSafetensors(new Map([...weights, ...training]), { format: 'pt' }));
    await expect(readWeights(last, network)).rejects.toThrow(/optimizer\.exp_avg\.fc\.weight is unexpected/);
  });
});

describe.skipIf(!canMountSmallDisk)('on a full disk (skipped where tmpfs cannot be mounted)', () => {
  let unmount: () => void;
  beforeEach(() => {
    unmount = mountSmallDisk(folder, '2m');
  });
  afterEach(() => unmount());

  test('the previous one stays whole', async () => {
    const large = (steps: number): Checkpoint => ({
      ...at(steps),
      weights: new Map([['big', { shape: [300_000], data: new Float32Array(300_000).fill(steps) }]]),
    });
    await writeCheckpoint(last, large(1));
    await expect(writeCheckpoint(last, large(2))).rejects.toThrow(
      /last\.safetensors cannot be written: no space left on the disk/,
    );
    expect(await readCheckpoint(last)).toEqual(large(1));
    expect(await readdir(folder)).toEqual(['last.safetensors']);
  });

  test('a damaged one does not replace the only good one', async () => {
    for (const steps of [1, 2]) await writeCheckpoint(last, at(steps));
    await writeFile(last, 'damaged');
    const large = {
      ...at(3),
      weights: new Map([['big', { shape: [600_000], data: new Float32Array(600_000) }]]),
    };
    await expect(writeCheckpoint(last, large)).rejects.toThrow(/no space left/);
    expect((await readCheckpoint(previous)).loop.totalSteps).toBe(1);
    expect((await readdir(folder)).sort()).toEqual(['last.previous.safetensors', 'last.safetensors']);
  });
});
