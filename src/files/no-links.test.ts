/** On a file system without hard links, such as FAT. */
import { mkdtemp, readdir, rm, utimes, writeFile } from 'node:fs/promises';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { Checkpoint } from '../runs/checkpoint.ts';
import { readCheckpoint, writeCheckpoint } from '../runs/checkpoint-files.ts';
import { lockFolder } from './lock.ts';

const link = vi.hoisted(() =>
  vi.fn(() => Promise.reject(Object.assign(new Error('link'), { code: 'EPERM' }))),
);
vi.mock('node:fs/promises', async (original) => ({ ...(await original<object>()), link }));

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'vggnet-no-links-'));
  link.mockClear();
});
afterEach(() => rm(folder, { recursive: true }));

test('the previous checkpoint is kept as a copy', async () => {
  const path = join(folder, 'last.safetensors');
  const at = (totalSteps: number): Checkpoint => ({
    weights: new Map([['fc.bias', { shape: [1], data: Float32Array.of(totalSteps) }]]),
    training: new Map(),
    loop: {
      epoch: 1,
      step: totalSteps,
      totalSteps,
      optimizerSteps: totalSteps,
      running: { lossSum: 0, correct: 0, images: 0 },
      best: null,
      counters: {},
      finished: false,
    },
  });
  for (const steps of [1, 2, 3]) await writeCheckpoint(path, at(steps));
  expect(await readCheckpoint(path)).toEqual(at(3));
  expect(await readCheckpoint(join(folder, 'last.previous.safetensors'))).toEqual(at(2));
  expect((await readdir(folder)).sort()).toEqual(['last.previous.safetensors', 'last.safetensors']);
  expect(link).toHaveBeenCalled();
});

test('a folder still has one writer', async () => {
  const held = await lockFolder(folder);
  await expect(lockFolder(folder)).rejects.toThrow(/is in use/);
  await held.release();
  const dead = { id: 'a', pid: 1, boot: 'an earlier one', started: '', hostname: hostname() };
  await writeFile(join(folder, 'lock'), JSON.stringify(dead));
  await utimes(join(folder, 'lock'), 1, 1);
  const answers = await Promise.allSettled([1, 2, 3, 4].map(() => lockFolder(folder)));
  expect(answers.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
  expect(await readdir(folder)).toEqual(['lock']);
  expect(link).toHaveBeenCalled();
});
