import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { categorical, float } from './distributions.ts';
import {
  createStudyFolder,
  isRepeatable,
  openStudyFolder,
  parsePruner,
  prunerNames,
  type StudySettings,
} from './folder.ts';
import { Journal } from './journal.ts';
import { createTrialRecord } from './records.ts';
import { studyReport } from './report.ts';
import { gridSampler } from './samplers/grid.ts';
import { searchSpace } from './search-space.ts';
import { createStudy } from './study.ts';
import { workOn } from './work.ts';

let parent: string;
let dir: string;
beforeEach(() => {
  parent = mkdtempSync(join(tmpdir(), 'vgg-folder-'));
  dir = join(parent, 'study');
});
afterEach(() => rmSync(parent, { recursive: true }));

const settings: StudySettings = {
  space: {
    dataset: 'shapes',
    epochs: 1,
    lr: { float: [0.001, 0.1], log: true },
    batchSize: { choices: [50, 100] },
  },
  sampler: 'tpe',
  pruner: { name: 'none' },
  seed: 0,
  trials: 2,
  retries: 3,
  report: false,
};

test('a grid over a continuous option is rejected before anything is written', async () => {
  const problem = 'grid: lr is continuous (float 0.001 to 0.1, log); give it choices or a step';
  await expect(createStudyFolder(dir, { ...settings, sampler: 'grid' })).rejects.toThrow(problem);
  const journal = join(parent, 'journal.log');
  const space = searchSpace({ lr: float(0.001, 0.1, { log: true }) });
  await expect(
    createStudy({ journal, name: 's', direction: 'minimize', space, sampler: gridSampler() }),
  ).rejects.toThrow(problem);
  expect(readdirSync(parent)).toEqual([]);
});

test.each(prunerNames)('a study with the pruner %s opens', async (name) => {
  const pruner = parsePruner(name, '--pruner');
  const space = { ...(settings.space as object), epochs: 4 };
  const folder = await createStudyFolder(dir, { ...settings, space, pruner });
  using study = await folder.open();
  expect(study.trials).toEqual([]);
});

test('continued with other settings, a study says which ones differ', async () => {
  await createStudyFolder(dir, settings);
  const other: StudySettings = {
    ...settings,
    space: { ...(settings.space as object), epochs: 2, data: '/data' },
    sampler: 'random',
    pruner: { name: 'asha', minResource: 1, reductionFactor: 4 },
    seed: 7,
  };
  await expect(createStudyFolder(dir, other)).rejects.toThrow(
    'has a study with other settings: --sampler is tpe there, random here; --pruner is none there, asha here; ' +
      '--seed is 0 there, 7 here; epochs is 1 there, 2 here; data is not set there, /data here. Continue it with',
  );
  const reordered = Object.fromEntries(Object.entries(settings.space as object).reverse());
  const more = await createStudyFolder(dir, { ...settings, space: reordered, trials: 9 });
  expect(more.settings).toEqual({ ...settings, trials: 9 });
  expect(Object.keys(more.settings.space as object)).toEqual(Object.keys(settings.space as object));
});

test('a journal that is older than its run folders is reported before any trial starts', async () => {
  const folder = await createStudyFolder(dir, settings);
  const backup = join(parent, 'backup.log');
  copyFileSync(folder.path('journal'), backup);
  {
    using study = await folder.open();
    for (const number of [0, 1]) {
      await study.ask();
      mkdirSync(folder.runOf(number), { recursive: true });
    }
  }
  await createStudyFolder(dir, settings);
  copyFileSync(backup, folder.path('journal'));
  const problem =
    'journal.log is older than the folders in runs/: trial-0000 exists, but the journal says that trial 0 has not ' +
    'started. Restore the journal that belongs to these runs, or move these 2 folders away';
  await expect(createStudyFolder(dir, settings)).rejects.toThrow(problem);
  await expect(workOn(folder)).rejects.toThrow(problem);
  rmSync(folder.path('journal'));
  await expect(createStudyFolder(dir, settings)).rejects.toThrow(problem);
  expect(existsSync(folder.path('journal'))).toBe(false);
});

test('a trial that Optuna added with other parameters is listed, but not offered to be repeated', async () => {
  const folder = await createStudyFolder(dir, settings);
  using journal = new Journal(folder.path('journal'));
  const params = { tags: [9007199254740993n, null] };
  const foreign = createTrialRecord(0, {
    state: 'running',
    params,
    distributions: { tags: categorical([params.tags]) },
  });
  await journal.append([{ ...foreign, state: 1, values: [0.99] }]);
  using study = await (await openStudyFolder(dir)).open();
  const own = (await study.ask())!;
  await own.report(0.5, 1);
  await study.tell(own, 0.5);
  expect(study.trials.map((trial) => isRepeatable(folder, trial.params))).toEqual([false, true]);
  expect(await studyReport(folder, study.trials)).toContain('The best of 1 configurations, trial 1,');
});
