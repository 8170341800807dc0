import { spawnSync } from 'node:child_process';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { DataError, UsageError, VggError } from '../errors.ts';
import { temporaryBeside } from '../files/files.ts';
import { parseConfig } from '../train/config.ts';
import type { EpochRecord } from '../train/records.ts';
import { captureEnvironment } from './environment.ts';
import { listRuns, readRun } from './folder.ts';
import { createRun, newRunFolder, openRun } from './run.ts';
import { defaultRunName } from './run-folder.ts';
import { openMetrics } from './table-files.ts';

let root: string;
let dir: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'vggnet-runs-'));
  dir = join(root, 'first');
});
afterEach(() => rm(root, { recursive: true }));

const config = parseConfig({ model: 'vgg7', dataset: 'cifar100', modelOptions: { dropout: 0.4 } }, 'test');
const environment = await captureEnvironment({
  device: 'native',
  description: 'native, 2 threads',
  threads: 2,
});
const epoch: EpochRecord = {
  epoch: 1,
  step: 500,
  lr: 0.001,
  trainLoss: 1,
  trainAccuracy: 0.5,
  testLoss: 2,
  testAccuracy: 0.25,
  testTopFive: 0.75,
  trainSeconds: 10,
  testSeconds: 1,
  imagesPerSecond: 5000,
};

describe('a run', () => {
  test('is a folder with its config, from the start', async () => {
    const run = await createRun(dir, config);
    expect((await readdir(dir)).sort()).toEqual(['config.json', 'lock']);
    expect(await readRun(dir)).toEqual({ name: 'first', folder: dir, config, state: 'running', epochs: [] });
    await run.writeEnvironment(environment);
    await run.close();
    expect(await readRun(dir)).toMatchObject({ env: environment, state: 'interrupted' });
    const text = await readFile(join(dir, 'config.json'), 'utf8');
    expect(text).toContain('\n  "model": "vgg7",\n');
    expect(parseConfig(JSON.parse(text), 'test')).toEqual(config);
  });

  test('has the state that its lock and state.json say', async () => {
    const run = await createRun(dir, config, environment);
    const at = { epoch: 1, step: 500, seconds: 11.5 };
    const table = await openMetrics(run.path('metrics'));
    await table.append([{ kind: 'epoch', ...epoch }]);
    await table.close();
    await run.writeStatus({ state: 'finished', ...at });
    expect((await readRun(dir)).state).toBe('running');
    await run.close();
    expect(await readRun(dir)).toMatchObject({ state: 'finished', status: at, epochs: [epoch] });

    const again = await openRun(dir);
    expect(again.config).toEqual(config);
    await again.writeStatus({ state: 'running', ...at });
    await again.close();
    expect((await readRun(dir)).state).toBe('interrupted');
    const last = await openRun(dir);
    await last.writeStatus({ state: 'failed', reason: 'the loss is NaN', ...at });
    await last.close();
    expect(await readRun(dir)).toMatchObject({
      state: 'failed',
      status: { reason: 'the loss is NaN' },
    });
  });

  test('is not created in a folder that has one', async () => {
    const run = await createRun(dir, config);
    await expect(createRun(dir, config)).rejects.toThrow(UsageError);
    await expect(createRun(dir, config)).rejects.toThrow(
      `${dir} already holds config.json: resume that run (--resume ${dir}), or choose another folder (--run)`,
    );
    await expect(openRun(dir)).rejects.toThrow(/first is in use: this process/);
    await run.close();
    await expect(createRun(dir, config)).rejects.toThrow(UsageError);
    await writeFile(join(root, 'file'), '');
    await expect(createRun(join(root, 'file'), config)).rejects.toThrow(VggError);
    await expect(openRun(root)).rejects.toThrow(`${root} is not a run folder: it has no config.json`);
    await expect(readRun(join(root, 'file'))).rejects.toThrow(
      /file is a file, not a run folder; .* with vgg evaluate$/,
    );
  });

  test('of a killed process can be opened, which removes leftovers', async () => {
    const program = `
      import { createRun } from ${JSON.stringify(new URL('run.ts', import.meta.url).href)};
      import { parseConfig } from ${JSON.stringify(new URL('../train/config.ts', import.meta.url).href)};
      await createRun(process.argv[1], parseConfig({}, ''));
      process.kill(process.pid, 'SIGKILL');`;
    expect(spawnSync(process.execPath, ['--input-type=module', '--eval', program, dir]).signal).toBe(
      'SIGKILL',
    );
    await writeFile(temporaryBeside(join(dir, 'last.safetensors')), 'half');
    expect((await readRun(dir)).state).toBe('interrupted');
    const run = await openRun(dir);
    expect((await readdir(dir)).sort()).toEqual(['config.json', 'lock']);
    await run.close();
  });

  test('logs lines with their time', async () => {
    const run = await createRun(dir, config);
    await Promise.all([run.log('one'), run.log('two\nthree')]);
    await run.close();
    const lines = (await readFile(join(dir, 'log.txt'), 'utf8')).split('\n');
    expect(lines.map((line) => line.replace(/^\d{4}-\d\d-\d\dT[\d:.]+Z /, '<time> '))).toEqual([
      '<time> one',
      '<time> two',
      '<time> three',
      '',
    ]);
  });

  test.each([
    ['config.json', '{"model":', 'is damaged: it is not JSON'],
    ['config.json', '{"modle":"vgg7"}', 'modle'],
    ['config.json', '[]', '[] is not an object'],
    ['config.json', '{"lr":"fast"}', 'config.json: lr: "fast" is not a number above 0'],
    ['config.json', `"${'x'.repeat(2 ** 20)}"`, 'above the limit of 1048576'],
    ['env.json', '{"cores":"two"}', 'cores: "two" is not a whole number ≥ 0'],
    [
      'state.json',
      '{"state":"over","epoch":1,"step":1,"seconds":1}',
      'state: "over" is not one of running, finished, interrupted, failed',
    ],
    ['metrics.csv', 'a,b\n', 'starts with "a,b", not with the columns'],
  ])('with a damaged %s says so (%#)', async (file, text, message) => {
    await (await createRun(dir, config, environment)).close();
    await writeFile(join(dir, file), text);
    await expect(readRun(dir)).rejects.toThrow(DataError);
    await expect(readRun(dir)).rejects.toThrow(join(dir, file));
    await expect(readRun(dir)).rejects.toThrow(message);
  });
});

test('listRuns returns the runs of a folder, damaged ones with their problem', async () => {
  expect(await listRuns(join(root, 'none'))).toEqual([]);
  await mkdir(join(root, 'empty'));
  await (await createRun(join(root, 'b'), config)).close();
  await (await createRun(join(root, 'a'), config)).close();
  await writeFile(join(root, 'a', 'config.json'), '{');
  expect(await listRuns(root)).toEqual([
    { name: 'a', folder: join(root, 'a'), problem: expect.stringContaining('config.json is damaged') },
    expect.objectContaining({ name: 'b', state: 'interrupted' }),
  ]);
});

test('default names have model, data set and time, and are never used twice', async () => {
  const date = new Date(2026, 10, 24, 12, 5, 30);
  expect(defaultRunName(config, date)).toBe('vgg7-cifar100-20261124-120530');
  const folders = await Promise.all([1, 2, 3].map(() => newRunFolder(join(root, 'runs'), config, date)));
  const name = 'vgg7-cifar100-20261124-120530';
  expect(folders.map((folder) => basename(folder)).sort()).toEqual([name, `${name}-2`, `${name}-3`]);
  await (await createRun(folders[0]!, config)).close();
});
