/** What stands where a regular file belongs: nothing blocks on it, and the message says what it is. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { readConfigFile } from '../cli/config-options.ts';
import { checkWritable } from '../cli/weight-saver.ts';
import { cifar10 } from '../data/cifar-files.ts';
import { VggError } from '../errors.ts';
import { createModel } from '../model/models.ts';
import { buildNetwork } from '../model/network.ts';
import { openWeights, writeWeights } from '../model/weight-files.ts';
import { reason } from '../reason.ts';
import { readCheckpoint, writeCheckpoint } from '../runs/checkpoint-files.ts';
import { listRuns, readRun } from '../runs/folder.ts';
import { openMetrics, readMetrics } from '../runs/table-files.ts';
import { readWorkers } from '../tune/heartbeat.ts';
import { Journal } from '../tune/journal.ts';
import { cannotRun, openAppend, readJson, readTailSync, readWhole, writeWhole } from './files.ts';

const network = buildNetwork(createModel('simplified', { classes: 10 }), [3, 32, 32]);
const loop = {
  ...{ epoch: 1, step: 0, totalSteps: 0, optimizerSteps: 0, best: null, counters: {}, finished: false },
  running: { lossSum: 0, correct: 0, images: 0 },
};
const checkpoint = { weights: new Map(), training: new Map(), loop };

/** Whatever opens a file by its name. */
const users: Readonly<Record<string, (path: string) => unknown>> = {
  readWhole: (path) => readWhole(path, 100),
  readJson,
  readTailSync: async (path) => readTailSync(path, 100),
  writeWhole: (path) => writeWhole(path, 'x'),
  openAppend,
  checkWritable: (path) => checkWritable(path),
  readConfigFile,
  openWeights: (path) => openWeights(path, network),
  writeWeights: (path) => writeWeights(path, new Map()),
  readCheckpoint,
  writeCheckpoint: (path) => writeCheckpoint(path, checkpoint),
  readMetrics,
  openMetrics,
  journal: async (path) => new Journal(path),
};

describe.skipIf(process.platform === 'win32')('special files', () => {
  let folder: string;
  const server = createServer();
  const kinds: Readonly<Record<string, string>> = {
    pipe: 'is a pipe (FIFO), not a regular file',
    socket: 'is a socket, not a regular file',
    device: 'is a device, not a regular file',
    folder: 'is a folder',
    dangling: 'is a symbolic link to /nowhere/at/all, which cannot be reached',
    circle: 'circle',
  };
  const at = (kind: string): string => join(folder, 'special', kind);
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'vggnet-special-'));
    mkdirSync(at('folder'), { recursive: true });
    spawnSync('mkfifo', [at('pipe')]);
    symlinkSync('/dev/zero', at('device'));
    symlinkSync('/nowhere/at/all', at('dangling'));
    symlinkSync('circle', at('circle'));
    await new Promise<void>((done) => server.listen(at('socket'), done));
  });
  afterAll(() => {
    server.close();
    rmSync(folder, { recursive: true });
  });

  describe.each(Object.entries(kinds))('a %s', (kind, problem) => {
    test.each(Object.entries(users))('%s', async (_, use) => {
      const used = Promise.resolve(at(kind)).then(use);
      await expect(used).rejects.toThrow(VggError);
      await expect(used).rejects.toThrow(problem);
      await expect(used).rejects.not.toThrow(/\bE[A-Z]{4,}\b/);
      expect(readdirSync(join(folder, 'special')).sort()).toEqual(Object.keys(kinds).sort());
    });

    test('in a run folder', async () => {
      const run = mkdtempSync(join(folder, 'run-'));
      symlinkSync(at(kind), join(run, 'config.json'));
      await expect(readRun(run)).rejects.toThrow(VggError);
      const inList = await listRuns(folder);
      const here = inList.find((found) => found.folder === run);
      // A link that leads nowhere is no run.
      if (kind === 'dangling' || kind === 'circle') expect(here).toBeUndefined();
      else expect(here).toMatchObject({ problem: expect.stringContaining('config.json') });
    });

    test('as CIFAR, and as one of its files', async () => {
      await expect(cifar10({ data: at(kind) })).rejects.toThrow(VggError);
      const data = mkdtempSync(join(folder, 'data-'));
      for (const name of [1, 2, 3, 4, 5].map((n) => `data_batch_${n}.bin`))
        writeFileSync(join(data, name), '');
      symlinkSync(at(kind), join(data, 'test_batch.bin'));
      await expect(cifar10({ data })).rejects.toThrow(VggError);
    });

    test("as a worker's heartbeat", () => {
      const workers = mkdtempSync(join(folder, 'workers-'));
      symlinkSync(at(kind), join(workers, 'a.json'));
      expect(readWorkers(workers)).toEqual([]);
    });
  });
});

test('system errors are shown without codes, calls and quotes', () => {
  const error = (code: string, message: string): Error => Object.assign(new Error(message), { code });
  expect(reason(error('EUCLEAN', "EUCLEAN: structure needs cleaning, open '/a, b'"))).toBe(
    'structure needs cleaning',
  );
  expect(reason(error('EXYZ', 'EXYZ: something, rare, read'))).toBe('something, rare');
  expect(reason(new Error('plain words, and more'))).toBe('plain words, and more');
  expect(cannotRun('sbatch', error('ENOENT', 'spawn sbatch ENOENT')).message).toBe(
    'sbatch cannot be started: program not found',
  );
  expect(cannotRun('/x', error('EACCES', 'spawn /x EACCES')).message).toBe(
    '/x cannot be started: no permission',
  );
});
