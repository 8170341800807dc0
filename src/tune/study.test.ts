import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { VggError } from '../errors.ts';
import { categorical, float, int } from './distributions.ts';
import { machineFault } from './faults.ts';
import { latestTrials } from './lineage.ts';
import { ashaPruner } from './pruners.ts';
import { gridSampler } from './samplers/grid.ts';
import { tpeSampler } from './samplers/tpe.ts';
import { searchSpace } from './search-space.ts';
import { createStudy, loadStudy } from './study.ts';
import type { StudyOptions } from './study-options.ts';
import { type Trial, TrialPruned } from './trial.ts';

let folder: string;
let journal: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'vgg-study-'));
  journal = join(folder, 'journal.log');
});
afterEach(() => rmSync(folder, { recursive: true }));

const space = searchSpace({ x: float(-1, 1), kind: categorical(['a', 'b']) });
const study = (options: Partial<StudyOptions> = {}) =>
  createStudy({ journal, name: 's', direction: 'minimize', space, loadIfExists: true, ...options });

test('optimize asks, runs and tells; the best trial is found', async () => {
  using it = await study({ seed: 3 });
  await it.optimize(({ params }) => (params.x as number) ** 2, { trials: 20, jobs: 4 });
  expect(it.trials.length).toBe(20);
  expect(it.trials.every(({ state }) => state === 'complete')).toBe(true);
  expect(it.bestTrial?.value).toBe(Math.min(...it.trials.map(({ value }) => value!)));
});

test('equal seeds and histories lead to equal proposals', async () => {
  const values = async (name: string, seed: number): Promise<unknown[]> => {
    using it = await study({ name, seed, sampler: tpeSampler({ startupTrials: 4 }) });
    await it.optimize(({ params }) => (params.x as number) ** 2, { trials: 12 });
    return it.trials.map(({ params }) => params.x);
  };
  const first = await values('a', 1);
  expect(await values('b', 1)).toEqual(first);
  expect(await values('c', 2)).not.toEqual(first);
});

test('values are maximised where the study says so, and NaN fails a trial', async () => {
  using it = await study({ direction: 'maximize' });
  const values = [1, 3, Number.NaN, 2];
  await it.optimize(({ number }) => values[number]!, { trials: 4 });
  expect(it.bestTrial?.number).toBe(1);
  expect(it.trials[2]).toMatchObject({ state: 'fail', userAttrs: { 'vgg:reason': 'the value is NaN' } });
});

test('a pruned trial keeps its last value; an error fails the trial and is thrown', async () => {
  using it = await study();
  await it.optimize(
    async (trial) => {
      await trial.report(5, 1);
      await trial.report(4, 2);
      throw new TrialPruned();
    },
    { trials: 1 },
  );
  expect(it.trials[0]).toMatchObject({ state: 'pruned', value: 4 });
  const failing = it.optimize(
    () => {
      throw new Error('out of memory');
    },
    { trials: 5 },
  );
  await expect(failing).rejects.toThrow('out of memory');
  expect(it.trials.map(({ state }) => state)).toEqual(['pruned', 'fail']);
  expect(it.trials[1]?.userAttrs['vgg:reason']).toBe('out of memory');
});

test('a result comes once: what a trial is told after its end is not recorded', async () => {
  using it = await study();
  const trial = (await it.ask())!;
  expect(await it.tell(trial, 1)).toBe(true);
  expect(await it.tell(trial, 2)).toBe(false);
  expect(it.trials[0]?.value).toBe(1);
});

test('enqueued points come first, completed by the sampler; impossible ones are refused', async () => {
  using it = await study();
  await it.enqueue({ x: 0.25 });
  const trial = (await it.ask())!;
  expect(trial.params.x).toBe(0.25);
  expect(['a', 'b']).toContain(trial.params.kind);
  await expect(it.enqueue({ x: 2 })).rejects.toThrow('x = 2 is not float -1 to 1');
  await expect(it.enqueue({ y: 0 })).rejects.toThrow('there is no parameter "y"');
});

test('without a space, enqueued points come back as they were given, in order, from any process', async () => {
  using it = await createStudy({ journal, name: 's', direction: 'minimize' });
  await expect(it.ask()).rejects.toThrow(
    'study "s" has no space to draw from; give it one, or enqueue points',
  );
  const points = [
    { lr: 0.01, hidden: 64 },
    { lr: 1, hidden: 128, optimizer: 'adam', augment: true, note: null },
    { lr: 'auto' },
    { optimizer: 'sgd' },
  ];
  for (const point of points) await it.enqueue(point);
  using other = loadStudy({ journal, name: 's' });
  for (const [number, point] of points.entries()) {
    const trial = (await other.ask())!;
    expect({ ...trial.params }).toEqual(point);
    await other.tell(trial, number);
  }
  expect({ ...it.bestTrial?.params }).toEqual(points[0]);
  expect(it.trials.slice(0, 2).map(({ params }) => ({ ...params }))).toEqual(points.slice(0, 2));
  expect(await it.ask()).toBeUndefined();
  // A value that contradicts what the journal has under its name stays with the trial all the same.
  await it.enqueue({ optimizer: 'rmsprop', lr: 0.1 });
  const trial = (await it.ask())!;
  expect({ ...trial.params }).toEqual({ optimizer: 'rmsprop', lr: 0.1 });
  await it.tell(trial, { state: 'fail' });
  await it.retry(trial.frozen, 1);
  expect({ ...(await it.ask())!.params }).toEqual({ optimizer: 'rmsprop', lr: 0.1 });
});

test('several processes share a grid: each point once', async () => {
  const grid = searchSpace(
    { a: int(0, 3), b: categorical([true, false]), c: int(1, 2) },
    { when: { c: { b: [true] } }, impossibility: ({ a }) => (a === 3 ? 'three is too many' : undefined) },
  );
  const studies = await Promise.all([0, 1, 2].map(() => study({ space: grid, sampler: gridSampler() })));
  await Promise.all(
    studies.map((it) =>
      it.optimize(async () => {
        await sleep(1);
        return 0;
      }),
    ),
  );
  const points = studies[0]!.trials.map(({ params }) => JSON.stringify({ ...params }));
  expect(points.length).toBe(9);
  expect(new Set(points).size).toBe(9);
  using later = await study({ space: grid, sampler: gridSampler() });
  expect(await later.ask()).toBeUndefined();
  for (const it of studies) it.close();
});

test('two processes promote a trial once; a promotion continues its parent', async () => {
  const pruner = ashaPruner({ minResource: 1, reductionFactor: 2 });
  using one = await study({ pruner, direction: 'maximize' });
  using other = await study({ pruner, direction: 'maximize' });
  const first = (await one.ask())!;
  await first.report(0.9, 1);
  // Nobody to compare with yet.
  expect(first.shouldPrune()).toBe(true);
  await one.tell(first, { state: 'pruned' });
  const second = (await one.ask())!;
  expect(second.parent).toBeUndefined();
  await second.report(0.1, 1);
  expect(second.shouldPrune()).toBe(true);
  await one.tell(second, { state: 'pruned' });
  const next = await Promise.all([one.ask(), other.ask()]);
  const promoted = next.find((trial) => trial?.parent === 0)!;
  expect(next.filter((trial) => trial?.parent !== undefined).length).toBe(1);
  expect({ ...promoted.params }).toEqual({ ...first.params });
  expect(promoted.lastStep).toBe(1);
  // Promotions are no new configurations.
  expect(await one.ask({ trials: 3 })).toBeUndefined();
});

test('trials of workers that are gone fail and are retried from where they were, so often and no more', async () => {
  using gone = await study({ worker: 'w1' });
  const trial = (await gone.ask())!;
  await trial.report(1, 7);
  using it = await study({ worker: 'w2' });
  await it.ask();
  const failed = await it.failTrialsOf((worker) => worker === 'w1', 'killed');
  expect(failed.map(({ number }) => number)).toEqual([0]);
  expect(await gone.tell(trial, 1)).toBe(false);
  expect(await it.retry(failed[0]!, 1)).toBe(true);
  expect(await it.retry(failed[0]!, 1)).toBe(false);
  const again = (await it.ask())!;
  expect(again).toMatchObject({ parent: 0, lastStep: 7 });
  expect(again.userAttrs).toMatchObject({ 'vgg:retry': 1, 'vgg:worker': 'w2' });
  expect({ ...again.params }).toEqual({ ...trial.params });
  await it.tell(again, { state: 'fail' });
  expect(await it.retry(again.frozen, 1)).toBe(false);
});

test('whoever dies in the middle of a write loses no trial', async () => {
  const lines = (): string[] => readFileSync(journal, 'utf8').split('\n').slice(0, -1);
  const all = (): boolean => true;
  using it = await study({ worker: 'w' });
  const changes: (() => Promise<unknown>)[] = [
    () => it.enqueue({ x: 0.5 }),
    () => it.ask(),
    () => it.giveBack(it.trials[0]!, 'full disk', 3),
    () => it.ask(),
    () => it.release(it.trials[0]!, 'told to end'),
    () => it.ask(),
    () => it.failTrialsOf(all, 'killed', () => 'its log', 3),
    () => it.ask(),
    async () => it.tell(it.trials[2]!, { state: 'fail', reason: 'a bug', retries: 3 }),
  ];
  for (const [index, change] of changes.entries()) {
    const before = lines().length;
    await change();
    const after = lines();
    for (let kept = before; index > 0 && kept <= after.length; kept++) {
      const cut = `${journal}-${index}-${kept}`;
      writeFileSync(cut, `${after.slice(0, kept).join('\n')}\n`);
      using next = await study({ journal: cut, worker: 'next' });
      await next.failTrialsOf((worker) => worker === 'w', 'killed', undefined, 99);
      const states = latestTrials(next.trials).map(({ state }) => state);
      expect(states, `change ${index}, ${kept - before} lines`).toEqual(['waiting']);
    }
  }
});

test('a signal ends the search after the running trials', async () => {
  using it = await study();
  const abort = new AbortController();
  await it.optimize(
    ({ number }) => {
      if (number === 2) abort.abort();
      return 0;
    },
    { signal: abort.signal, trials: 100 },
  );
  expect(it.trials.map(({ state }) => state)).toEqual(['complete', 'complete', 'complete']);
});

test('studies that are not there, exist, or contradict the options are refused', async () => {
  using it = await study();
  await it.optimize(() => 0, { trials: 1 });
  expect(() => loadStudy({ journal, name: 'other' })).toThrow('there is no study "other"; the journal has s');
  expect(() => loadStudy({ journal: `${journal}x`, name: 's' })).toThrow('this journal does not exist');
  await expect(study({ loadIfExists: false })).rejects.toThrow('study "s" already exists');
  await expect(study({ direction: 'maximize' })).rejects.toThrow('must minimize its value, not maximize it');
  const changed = searchSpace({ x: float(0.1, 1, { log: true }) });
  await expect(study({ space: changed })).rejects.toThrow('x is float 0.1 to 1, log in this space');
});

const fullDisk = (): Error =>
  new VggError('weights cannot be written', {
    cause: Object.assign(new Error('ENOSPC'), { code: 'ENOSPC' }),
  });

test('a fault of the machine is no result: the trial waits, as itself, and runs again', async () => {
  using it = await study({ worker: 'w' });
  let isFull = true;
  const objective = async (trial: Trial): Promise<number> => {
    await trial.report(trial.number, 1);
    if (isFull) throw fullDisk();
    return trial.number;
  };
  await expect(it.optimize(objective, { trials: 2, shouldCatch: () => true })).rejects.toThrow(
    'weights cannot be written',
  );
  expect(it.trials).toMatchObject([
    {
      number: 0,
      state: 'waiting',
      userAttrs: { 'vgg:worker': null, 'vgg:reason': 'weights cannot be written' },
    },
  ]);
  const { params } = it.trials[0]!;
  isFull = false;
  await it.optimize(objective, { trials: 2 });
  expect(it.trials.map(({ state }) => state)).toEqual(['complete', 'complete']);
  expect(it.trials[0]).toMatchObject({ params, userAttrs: { 'vgg:worker': 'w', 'vgg:reason': null } });
});

test('memory that is short comes back so often, for the trial may be too large', async () => {
  using it = await study();
  const trial = (await it.ask())!;
  expect(await it.giveBack(trial, 'no memory', 1)).toBe(true);
  expect((await it.ask())!.number).toBe(0);
  expect(await it.giveBack(trial, 'no memory', 1)).toBe(false);
  expect(it.trials).toMatchObject([{ state: 'fail', userAttrs: { 'vgg:reason': 'no memory' } }]);
});

test('trials of workers that left are given back; nobody else’s, and none that ended', async () => {
  using left = await study({ worker: 'left' });
  using here = await study({ worker: 'here' });
  await left.tell((await left.ask())!, 1);
  await left.ask();
  await here.ask();
  await here.giveBackTrialsOf((worker) => worker === 'left', 'gone');
  expect(here.trials.map(({ state }) => state)).toEqual(['complete', 'waiting', 'running']);
});

test('failed trials are retried on request, once each, and with retries of their own', async () => {
  using it = await study();
  for (const state of ['fail', 'fail', 'pruned'] as const) await it.tell((await it.ask())!, { state });
  await it.retry(it.trials[0]!, 1);
  await it.tell((await it.ask())!, { state: 'fail' });
  expect(await it.retry(it.trials[3]!, 1)).toBe(false);
  expect(await it.retryFailed()).toEqual([1, 3]);
  expect(await it.retryFailed()).toEqual([]);
  expect(it.trials.slice(4)).toMatchObject([
    { state: 'waiting', params: it.trials[1]!.params, userAttrs: { 'vgg:parent': 1, 'vgg:retry': 0 } },
    { state: 'waiting', params: it.trials[0]!.params, userAttrs: { 'vgg:parent': 3, 'vgg:retry': 0 } },
  ]);
  await it.tell((await it.ask())!, { state: 'fail' });
  expect(await it.retry(it.trials[4]!, 1)).toBe(true);
});

test.for([
  [new Error('the loss became NaN'), undefined],
  [Object.assign(new Error('x'), { code: 'ENOENT' }), undefined],
  [
    new VggError('no run', { cause: Object.assign(new Error('x'), { code: 'ENOENT' }) }),
    { message: 'no run', isMemory: false },
  ],
  [new RangeError('Invalid array length'), undefined],
  [
    Object.assign(new Error('x'), { code: 'EMFILE' }),
    { message: expect.stringContaining('too many open files'), isMemory: false },
  ],
  [fullDisk(), { message: 'weights cannot be written', isMemory: false }],
  [
    new VggError('too large', { cause: new RangeError('WebAssembly.Memory(): could not allocate memory') }),
    { message: 'too large', isMemory: true },
  ],
] as const)('what is a fault of the machine: %s', ([error, fault]) => {
  expect(machineFault(error)).toEqual(fault);
});
