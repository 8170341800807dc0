/** A worker on a machine with faults: none of them is a result of its trial. */
import { rmSync } from 'node:fs';
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { canMountSmallDisk, mountSmallDisk } from '../../test/small-disk.ts';
import { VggError } from '../errors.ts';
import { lockFolder } from '../files/lock.ts';
import { readRun } from '../runs/folder.ts';
import { createStudyFolder, type StudyFolder } from './folder.ts';
import { readWorkers } from './heartbeat.ts';
import { workOn } from './work.ts';

let root: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'vggnet-work-'));
});
afterEach(() => rm(root, { recursive: true }));

const create = (dir: string, space: object = {}): Promise<StudyFolder> =>
  createStudyFolder(dir, {
    space: {
      model: 'simplified',
      dataset: 'shapes',
      steps: 2,
      batchSize: 50,
      device: 'wasm',
      lr: { choices: [0.001] },
      ...space,
    },
    sampler: 'grid',
    pruner: { name: 'none' },
    seed: 0,
    trials: 1,
    retries: 0,
    report: false,
  });

const work = (folder: StudyFolder): Promise<void> => workOn(folder, { threads: 1, onNotice: () => {} });

const statesOf = async (folder: StudyFolder): Promise<readonly string[]> => {
  using study = await folder.open();
  return study.trials.map(({ state }) => state);
};

test('a run folder that cannot be made ends the worker; the trial keeps its number', {
  timeout: 60_000,
}, async () => {
  const folder = await create(join(root, 's'));
  await symlink(join(root, 'none', 'runs'), folder.path('runs'));
  await expect(work(folder)).rejects.toThrow(VggError);
  await expect(work(folder)).rejects.toThrow(/trial 0 will run again/);
  expect(await statesOf(folder)).toEqual(['waiting']);
  expect(readWorkers(folder.path('workers'))).toEqual([]);
});

test('a run folder that another process uses ends the worker; the trial waits', {
  timeout: 60_000,
}, async () => {
  const folder = await create(join(root, 's'));
  {
    using study = await folder.open();
    await study.giveBack((await study.ask())!, 'the disk was full');
  }
  await mkdir(folder.runOf(0), { recursive: true });
  const lock = await lockFolder(folder.runOf(0));
  await expect(work(folder)).rejects.toThrow(/trial-0000 is in use: .*trial 0 will run again/);
  expect(await statesOf(folder)).toEqual(['waiting']);
  await lock.release();
  await work(folder);
  expect(await statesOf(folder)).toEqual(['complete']);
});

test('a damaged run folder ends the worker; the trial waits until it is gone', {
  timeout: 60_000,
}, async () => {
  const folder = await create(join(root, 's'));
  {
    using study = await folder.open();
    await study.giveBack((await study.ask())!, 'the disk was full');
  }
  await mkdir(folder.runOf(0), { recursive: true });
  await writeFile(join(folder.runOf(0), 'config.json'), '{"epoch": 3}');
  await expect(work(folder)).rejects.toThrow(/config\.json.*trial 0 will run again/);
  await rm(join(folder.runOf(0), 'config.json'));
  await writeFile(join(folder.runOf(0), 'last.safetensors'), 'damaged');
  await writeFile(join(folder.runOf(0), 'config.json'), JSON.stringify(folder.configOf({ lr: 0.001 })));
  await expect(work(folder)).rejects.toThrow(/every checkpoint in .* is damaged.*trial 0 will run again/);
  expect(await statesOf(folder)).toEqual(['waiting']);
  await rm(folder.runOf(0), { recursive: true });
  await work(folder);
  expect(await statesOf(folder)).toEqual(['complete']);
});

test('a run folder that is removed during training ends the worker; the trial waits', {
  timeout: 60_000,
}, async () => {
  const folder = await create(join(root, 's'));
  const removed = workOn(folder, {
    threads: 1,
    onNotice: () => {},
    onEvent: ({ event }) => event === 'epoch' && rmSync(folder.runOf(0), { recursive: true }),
  });
  await expect(removed).rejects.toThrow(/trial 0 will run again/);
  expect(await statesOf(folder)).toEqual(['waiting']);
});

test('a trial that diverges fails', { timeout: 60_000 }, async () => {
  const folder = await create(join(root, 's'), { optimizer: 'sgd', steps: 6, lr: { choices: [1e30] } });
  await work(folder);
  expect(await statesOf(folder)).toEqual(['fail']);
});

test('a data set that went away ends the worker, and its trial waits', { timeout: 60_000 }, async () => {
  const folder = await create(join(root, 's'), {
    dataset: 'cifar10',
    data: join(root, 'cifar'),
  });
  await expect(work(folder)).rejects.toThrow(/cifar does not exist.*trial 0 will run again/s);
  await expect(work(folder)).rejects.toThrow(/trial 0 will run again/);
  expect(await statesOf(folder)).toEqual(['waiting']);
});

describe.skipIf(!canMountSmallDisk)('on a full disk (skipped where tmpfs cannot be mounted)', () => {
  test('workers end, and with space again all trials are run', { timeout: 120_000 }, async () => {
    const disk = join(root, 'disk');
    await mkdir(disk);
    const unmount = mountSmallDisk(disk, '40m');
    try {
      const folder = await create(join(disk, 's'));
      const ballast = join(disk, 'ballast');
      // Room for the journal's few lines and for no checkpoint.
      await writeFile(ballast, new Uint8Array((40 << 20) - 200_000));
      await expect(work(folder)).rejects.toThrow(/no space left on the disk.*trial 0 will run again/s);
      expect(await statesOf(folder)).toEqual(['waiting']);
      // And room for nothing at all.
      await writeFile(join(disk, 'rest'), new Uint8Array(1 << 20)).catch(() => undefined);
      await expect(work(folder)).rejects.toThrow(/no space left on the disk/);
      expect(await statesOf(folder)).toEqual(['waiting']);
      await rm(ballast);
      await work(folder);
      expect(await statesOf(folder)).toEqual(['complete']);
      expect((await readRun(folder.runOf(0))).state).toBe('finished');
    } finally {
      unmount();
    }
  });
});

test('a trial whose end could not be written is given back by the next worker', {
  timeout: 120_000,
}, async () => {
  const folder = await create(join(root, 's'));
  {
    // As such a worker leaves it: running, and its sign is gone.
    using study = await folder.open('host+1+2+3+0');
    await study.ask();
  }
  await work(folder);
  expect(await statesOf(folder)).toEqual(['complete']);
});
