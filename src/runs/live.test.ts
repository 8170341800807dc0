import { existsSync } from 'node:fs';
import { link, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { TrainingStopped } from '../errors.ts';
import { parseConfig } from '../train/config.ts';
import { readConfig, readRun } from './folder.ts';
import { acceptedBy, appendCommand, type LiveRecord, readLive, touchControl } from './live-files.ts';
import { runTraining, type TrainingOptions, type TrainingResult } from './training.ts';

let root: string;
let run: string;
let stop: AbortController;
let running: Promise<unknown>;
beforeEach(async () => {
  stop = new AbortController();
  running = Promise.resolve();
  root = await mkdtemp(join(tmpdir(), 'vggnet-live-'));
  run = join(root, 'run');
});
afterEach(async () => {
  stop.abort(new Error('the test ends'));
  await running.catch(() => undefined);
  await rm(root, { recursive: true, force: true });
});

const config = parseConfig(
  { batchSize: 100, epochs: 1000, device: 'wasm', threads: 1, logEvery: 1, optimizer: 'sgd', lr: 0.01 },
  'test',
);

/** A training that waits to be steered. Its outcome is awaited later. */
async function started(options: TrainingOptions): Promise<{ readonly ended: Promise<TrainingResult> }> {
  const ready = Promise.withResolvers<void>();
  const { signal } = stop;
  const ended = runTraining(config, { folder: run, ...options, signal, onStart: () => ready.resolve() });
  running = ended;
  ended.catch(ready.reject);
  await ready.promise;
  return { ended };
}

/** What the training writes, once it holds. */
async function until(holds: (live: LiveRecord) => boolean): Promise<LiveRecord> {
  for (let i = 0; ; i++) {
    // As somebody who watches does.
    if (i % 50 === 0) await touchControl(run);
    const live = await readLive(run);
    if (live && holds(live)) return live;
    await sleep(20);
  }
}

test('a training is watched and steered through files of its folder, which end with it', async () => {
  const { ended } = await started({ live: 'steer' });
  expect(await acceptedBy(run)).toBe('steer');
  expect(existsSync(join(run, 'live.json'))).toBe(false);
  await touchControl(run);
  const moving = await until(({ points }) => points.length > 0);
  expect(moving).toMatchObject({
    ...{
      paused: false,
      resting: false,
      stopping: false,
      epochs: 1000,
      stepsPerEpoch: 100,
      totalSteps: 100_000,
    },
    settings: { lr: 0.01, momentum: 0.9, weightDecay: 0 },
    changes: [],
  });
  const [step, loss, lr] = moving.points.at(-1)!;
  expect(step).toBe(moving.done);
  expect(loss).toBeGreaterThan(0);
  expect(lr).toBe(0.01);

  await appendCommand(run, { id: 'a', command: 'pause' });
  const { done } = await until(({ resting }) => resting);
  await appendCommand(run, { id: 'b', command: 'step', count: 2 });
  await appendCommand(run, { id: 'c', command: 'change', settings: { lr: 0.02 } });
  await appendCommand(run, { id: 'd', command: 'change', settings: { lr: -1 } });
  await appendCommand(run, { id: 'e', command: 'explode' });
  // Its speed is 0 when it has rested for a while.
  const stepped = await until((live) => live.resting && live.done > done && live.stepsPerSecond === 0);
  expect(stepped.done).toBe(done + 2);
  expect(stepped.answers).toEqual([
    { id: 'a' },
    { id: 'b' },
    { id: 'c' },
    { id: 'd', problem: 'change: lr -1 is not a finite number above 0' },
    { id: 'e', problem: expect.stringContaining('there is no command "explode"') },
  ]);
  expect(stepped.settings.lr).toBe(0.02);
  expect((await readConfig(run)).changes).toEqual(stepped.changes);
  await appendCommand(run, { id: 'f', command: 'stop' });
  await expect(ended).rejects.toThrow(TrainingStopped);
  expect(await readRun(run)).toMatchObject({ state: 'interrupted', status: { step: done + 2 } });
  expect(existsSync(join(run, 'control.jsonl'))).toBe(false);
  expect(existsSync(join(run, 'live.json'))).toBe(false);
  await expect(appendCommand(run, { id: 'g', command: 'stop' })).rejects.toThrow('does not listen any more');
  const log = await readFile(join(run, 'log.txt'), 'utf8');
  expect(log).toContain(`paused after step ${done}`);
  expect(log).toContain(`step ${stepped.changes[0]!.step}: lr 0.02`);
});

test('a training that is only watched refuses commands; torn and foreign lines are ignored', async () => {
  const { ended } = await started({ live: 'watch' });
  expect(await acceptedBy(run)).toBe('watch');
  await writeFile(join(run, 'control.jsonl'), '\u0000{"id":1}\n[]\n"x"\n{"command":"pau', { flag: 'a' });
  await writeFile(join(run, 'control.jsonl'), 'se"}\n', { flag: 'a' });
  await appendCommand(run, { id: 'a', command: 'pause' });
  const { answers, paused } = await until((live) => live.answers.length > 0);
  expect(answers).toEqual([{ id: 'a', problem: expect.stringContaining('a trial of a study') }]);
  expect(paused).toBe(false);
  stop.abort(new Error('enough'));
  await expect(ended).rejects.toThrow('enough');
});

test('rows of metrics reach the file before the epoch ends', async () => {
  const { ended } = await started({});
  while ((await readFile(join(run, 'metrics.csv'), 'utf8')).split('\n').length < 4) await sleep(20);
  expect((await readRun(run)).epochs).toEqual([]);
  stop.abort(new Error('enough'));
  await expect(ended).rejects.toThrow('enough');
});

test('a control file that is a link to another file is not written to', async () => {
  await writeFile(join(root, 'precious'), 'text');
  for (const make of [symlink, link]) {
    const folder = await mkdtemp(join(root, 'run-'));
    await make(join(root, 'precious'), join(folder, 'control.jsonl'));
    await expect(appendCommand(folder, { id: 'a', command: 'stop' })).rejects.toThrow(
      /symbolic link|hard link/,
    );
    await expect(touchControl(folder)).rejects.toThrow(/symbolic link|hard link/);
  }
  expect(await readFile(join(root, 'precious'), 'utf8')).toBe('text');
});
