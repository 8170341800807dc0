import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { categorical, float } from '../tune/distributions.ts';
import { ashaPruner } from '../tune/pruners.ts';
import { searchSpace } from '../tune/search-space.ts';
import { createStudy, type Study } from '../tune/study.ts';
import { liveTable, newsOf } from './tune-progress.ts';

let folder: string;
let study: Study;
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'vgg-news-'));
  study = await createStudy({
    journal: join(folder, 'journal.log'),
    name: 's',
    direction: 'maximize',
    space: searchSpace({ x: float(0, 1) }),
    pruner: ashaPruner({ reductionFactor: 2 }),
  });
});
afterEach(() => {
  study.close();
  rmSync(folder, { recursive: true });
});

async function pruned(value: number): Promise<void> {
  const trial = (await study.ask({ trials: 2 }))!;
  await trial.report(value, 1);
  await study.tell(trial, { state: 'pruned' });
}

test('news are told once; a promotion does not tell what its parent told', async () => {
  await pruned(0.5);
  const news = newsOf(study);
  expect(news()).toEqual([]);
  await pruned(0.25);
  expect(news()).toMatchObject([
    { event: 'trial', trial: 1 },
    { event: 'epoch', trial: 1, epoch: 1, value: 0.25 },
    { event: 'told', trial: 1, state: 'pruned', value: 0.25 },
  ]);
  const promoted = (await study.ask({ trials: 2 }))!;
  expect(news()).toMatchObject([{ event: 'trial', trial: 2, parent: 0 }]);
  await promoted.report(0.75, 2);
  expect(news()).toEqual([{ event: 'epoch', trial: 2, epoch: 2, value: 0.75 }]);
  await study.release(promoted, 'told to end');
  expect(news()).toMatchObject([{ event: 'told', trial: 2, state: 'fail', reason: 'told to end' }]);
  // What waits has not begun.
  expect(news()).toEqual([]);
  await study.ask();
  expect(news()).toMatchObject([{ event: 'trial', trial: 3, parent: 2 }]);
});

test('the table is drawn over itself, fits the terminal, and says how long it takes', async () => {
  let written = '';
  let seconds = 0;
  const terminal = { columns: 44, rows: 10, write: (text: string) => (written += text) };
  const table = liveTable(
    {
      settings: {
        space: {},
        sampler: 'random',
        pruner: { name: 'none' },
        seed: 0,
        trials: 4,
        retries: 0,
        report: true,
      },
    },
    study,
    terminal,
    () => seconds * 1000,
  );
  const trial = (await study.ask())!;
  table.update();
  expect(written).toContain('1 of 4 configurations; 0:00\n');
  expect(written).toMatch(/^0 +running +x=/m);
  written = '';
  seconds = 10;
  await study.tell(trial, 0.5);
  table.update();
  // Four lines up: the head, the columns' names, a rule, a trial.
  const start = '\u001b[4A\r\u001b[J';
  expect(written.slice(0, start.length)).toBe(start);
  const lines = written.slice(start.length).split('\n');
  expect(lines.slice(0, 2)).toEqual(['1 of 4 configurations; best: 50.00 % (trial', '0); 0:10']);
  expect(Math.max(...lines.map(({ length }) => length))).toBeLessThanOrEqual(43);
  written = '';
  table.update();
  expect(written).toBe('');
  // Interrupted trials continue; only one that nobody continues has failed.
  await study.release((await study.ask())!, 'told to end');
  await study.tell((await study.ask())!, { state: 'fail' });
  table.update();
  expect(written).toMatch(/^2 +fail .*\n1 +continued /m);
});

test('the time left is shown once three trials say how long one takes', async () => {
  let written = '';
  let seconds = 0;
  const terminal = { columns: 80, rows: 24, write: (text: string) => (written = text) };
  const settings = {
    space: {},
    sampler: 'random' as const,
    pruner: { name: 'none' as const },
    seed: 0,
    trials: 6,
    retries: 0,
    report: true,
  };
  const table = liveTable({ settings }, study, terminal, () => seconds * 1000);
  for (const [done, left] of [
    [1, false],
    [2, false],
    [3, true],
  ] as const) {
    seconds += 10;
    await study.tell((await study.ask())!, 0.5);
    table.update();
    expect(/left/.test(written), `after ${done} trials`).toBe(left);
  }
  expect(written).toContain('0:30, about 0:30 left');
});

test('long parameters are cut between words', async () => {
  study.close();
  study = await createStudy({
    journal: join(folder, 'words.log'),
    name: 's',
    direction: 'maximize',
    space: searchSpace({ optimizer: categorical(['adamw']), schedule: categorical(['cosine']) }),
    pruner: ashaPruner({ reductionFactor: 2 }),
  });
  await study.ask();
  let written = '';
  const terminal = { columns: 60, rows: 24, write: (text: string) => (written = text) };
  const settings = { space: {}, sampler: 'random', pruner: { name: 'none' }, seed: 0, trials: 6, retries: 0 };
  liveTable({ settings: { ...settings, report: true } as never }, study, terminal).update();
  expect(written).toMatch(/running +optimizer=adamw …\n/);
});
