/**
 * Runs in a browser's store: the same files as on disk. A run that is exported continues with `vgg` to the same bits as in the
 * tab, and one of `vgg` in the tab to the same bits as on disk; with and without threads.
 */
import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { readConfig, readRun } from '../src/runs/folder.ts';
import { hasChromium, skipped } from './browser.ts';
import { type OpenPage, openPages, type Pages, type Side } from './browser-pages.ts';
import { vgg as runVgg } from './run-vgg.ts';

/** A small network that has convolutions, dropout, normalization and moments; a batch that does not divide an epoch. */
const config = {
  model: 'vgg7-bn',
  modelOptions: { channels: [8, 16], hidden: 16 },
  dataset: 'shapes',
  batchSize: 96,
  steps: 14,
  checkpointEvery: 5,
  logEvery: 1,
  optimizer: 'adamw',
  device: 'wasm',
  validation: 0.1,
} as const;

/** Node's kernels without what browsers do not have. */
const environment = { VGGNET_REVECTORIZE: '0' };
const files = ['last.safetensors', 'best.safetensors', 'last.previous.safetensors'] as const;

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');
const onDisk = async (folder: string): Promise<Record<string, string>> =>
  Object.fromEntries(
    await Promise.all(files.map(async (file) => [file, sha256(await readFile(join(folder, file)))] as const)),
  );
const inTab = async ({ call }: OpenPage, name: string): Promise<Record<string, string>> => {
  const digests: Record<string, string> = {};
  for (const file of files) digests[file] = await call('digest', name, file);
  return digests;
};

describe.skipIf(!hasChromium)(`runs in Chromium${hasChromium ? '' : ` ${skipped}`}`, () => {
  let pages: Pages;
  let root: string;
  beforeAll(async () => {
    root = await mkdtemp(join(tmpdir(), 'vggnet-browser-runs-'));
    pages = await openPages();
  });
  afterAll(async () => {
    await pages?.[Symbol.asyncDispose]();
    await rm(root, { recursive: true });
  });

  const vgg = async (...args: readonly string[]): Promise<string> => {
    const { code, stdout, stderr } = await runVgg(args, {
      cwd: root,
      env: { ...environment, VGGNET_RUNS: join(root, 'runs') },
    });
    expect(`${code} ${stderr}`).toMatch(/^0 /);
    return stdout;
  };

  /** A run that was stopped after seven steps, in the store, and as an archive on disk. */
  async function interrupted(open: OpenPage, name: string): Promise<string> {
    expect(await open.call('run', { name, config, stopAfter: 7 })).toMatchObject({ reason: 'interrupted' });
    const path = join(root, `${name}.zip`);
    await writeFile(path, Buffer.from(await open.call<string>('export', name), 'base64'));
    return path;
  }

  test.each<readonly [string, boolean, Side, RegExp]>([
    ['threads, in a worker', true, 'inWorker', /^wasm, \d+ threads$/],
    ['one thread, in a worker', false, 'inWorker', /^wasm, 1 thread$/],
    ['one thread, in the page', false, 'inPage', /^wasm, 1 thread$/],
  ])('continue on disk with the same bits: %s', async (title, isolated, side, description) => {
    const open = await pages.open(isolated, side);
    const name = title.replaceAll(/\W+/g, '-');
    const path = await interrupted(open, name);
    expect(await open.call('run', { name, changes: {} })).toMatchObject({
      reason: 'finished',
      description: expect.stringMatching(description),
    });
    const record = await open.call<{ env: { browser: string } }>('record', name);
    expect(record.env.browser).toMatch(/^Chromium \d+$/);
    await vgg('train', '--resume', path, '--no-report', '--threads', '1');
    const folder = join(root, 'runs', name);
    expect(await onDisk(folder)).toEqual(await inTab(open, name));
    const { state, env, epochs } = await readRun(folder);
    expect([state, epochs.length, env?.browser]).toEqual(['finished', 1, undefined]);
    expect(env?.resumed?.[0]?.differs).toMatch(/^program Chromium \d+ before, Node /);
    expect(open.complaints).toEqual([]);
  });

  test('a run of vgg continues in a tab with the same bits', async () => {
    const open = await pages.open(true);
    await writeFile(join(root, 'config.json'), JSON.stringify(config));
    await vgg('train', '--config', 'config.json', '--run', 'mine', '--no-report', '--threads', '2');
    await vgg('export', 'mine', '--to', 'zip');
    const zip = await readFile(join(root, 'mine.zip'));
    expect(await open.call('import', zip.toString('base64'))).toBe('mine');
    expect(await open.call('import', zip.toString('base64'))).toBe('mine-2');
    expect(await open.call('run', { name: 'mine', changes: { steps: 20, threads: 1 } })).toMatchObject({
      reason: 'finished',
      steps: 6,
      notices: [expect.stringMatching(/program Node \S+ before, Chromium \d+ now/)],
    });
    await vgg('train', '--resume', 'mine', '--steps', '20', '--no-report');
    expect(await inTab(open, 'mine')).toEqual(await onDisk(join(root, 'mine')));
    expect(open.complaints).toEqual([]);
  });

  test('have all files of a run folder, a report, and weights that open again', async () => {
    const open = await pages.open(false);
    const finished = { ...config, steps: 6 };
    expect(await open.call('run', { name: 'all', config: finished })).toMatchObject({ reason: 'finished' });
    await writeFile(join(root, 'all.zip'), Buffer.from(await open.call<string>('export', 'all'), 'base64'));
    await vgg('report', 'all.zip', '--brief');
    expect(await readFile(join(root, 'all.html'), 'utf8')).toContain('Chromium');
    await vgg('train', '--resume', 'all.zip', '--no-report');
    const folder = join(root, 'runs', 'all');
    const names = (await readdir(folder)).map((name) => name.replace(/tfevents\..*/, 'tfevents')).sort();
    expect(new Set(names)).toEqual(
      new Set([
        'best.safetensors',
        'config.json',
        'env.json',
        'events.out.tfevents',
        'last.previous.safetensors',
        'last.safetensors',
        'log.txt',
        'metrics.csv',
        'state.json',
      ]),
    );
    expect((await readConfig(folder)).batchSize).toBe(96);
    const weights = await open.call<{ same: boolean; classes: string[]; onnx: string }>('weights', 'all');
    expect([weights.same, weights.classes.length]).toEqual([true, 10]);
    expect(Buffer.from(weights.onnx, 'base64').includes('vggnet')).toBe(true);
    const { steps, epochs } = await open.call<{ steps: unknown[]; epochs: unknown[] }>('metrics', 'all');
    expect([steps.length, epochs.length]).toEqual([6, 1]);
  });

  test('one writer at a time; a reload finds them; a closed tab leaves them interrupted', async () => {
    const open = await pages.open(false);
    await interrupted(open, 'one');
    const [first, second] = await open.call<[unknown, string]>('twice', 'one');
    expect(first).toMatchObject({ reason: 'finished' });
    expect(second).toMatch(/^InUseError: the run one is in use in another tab or worker/);
    await open.page.reload();
    await open.page.waitForFunction(() => 'tests' in globalThis);
    expect(await open.call('runs')).toMatchObject([{ name: 'one', state: 'finished' }]);
    // A new page of the same browser, which is closed while it trains.
    const page = await open.page.context().newPage();
    await page.goto(open.page.url());
    await page.waitForFunction(() => 'tests' in globalThis);
    const { steps: _, ...endless } = config;
    const request = { name: 'killed', config: { ...endless, epochs: 50 } };
    await page.evaluate((given) => {
      const { tests } = globalThis as unknown as {
        tests: { inWorker(name: string, args: unknown[]): unknown };
      };
      void tests.inWorker('run', [given]);
    }, request);
    const steps = async (): Promise<number> =>
      (await open.call<{ steps: unknown[] }>('metrics', 'killed').catch(() => ({ steps: [] }))).steps.length;
    await expect.poll(steps, { timeout: 120_000, interval: 500 }).toBeGreaterThan(5);
    expect(await open.call('record', 'killed')).toMatchObject({ state: 'running' });
    await page.close({ runBeforeUnload: false });
    await expect
      .poll(async () => (await open.call<{ state: string }>('record', 'killed')).state, { timeout: 30_000 })
      .toBe('interrupted');
    expect(await open.call('run', { name: 'killed', stopAfter: 3 })).toMatchObject({
      reason: 'interrupted',
    });
    await open.call('remove', 'killed');
    expect(await open.call('runs')).toMatchObject([{ name: 'one' }]);
  });

  test('archives and names that are refused', async () => {
    const open = await pages.open(false);
    const message = (name: string, ...args: unknown[]): Promise<string> =>
      open.call(name, ...args).then(
        () => 'no error',
        (error: Error) => error.message,
      );
    const text = Buffer.from('PK no zip').toString('base64');
    expect(await message('import', text)).toContain('given.zip: damaged or cut short');
    expect(await message('run', { name: '../a', config })).toContain('cannot be the name of a run');
    expect(await message('run', { name: 'a', config: { dataset: 'cifar10' } })).toContain(
      'the data set cifar10 is not in this browser',
    );
    expect(await message('run', { name: 'none' })).toContain('there is no run "none" in this browser');
    await mkdir(join(root, 'runs', 'given'), { recursive: true });
    const path = await interrupted(open, 'given');
    const { code, stderr } = await runVgg(['train', '--resume', path], {
      cwd: root,
      env: { ...environment, VGGNET_RUNS: join(root, 'runs') },
    });
    expect([code, stderr]).toEqual([2, expect.stringContaining('holds the run given, but ')]);
  });
});
