import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseHTML } from 'linkedom';
import { afterAll, beforeAll, expect, test } from 'vitest';
import {
  accessibilityProblems,
  complaintsOf,
  hasChromium,
  openBrowser,
  skipped,
} from '../../test/browser.ts';
import { createStudyFolder, type StudyFolder } from './folder.ts';
import { reportStudy, studyReport } from './report.ts';
import { TrialPruned } from './trial.ts';

let root: string;
let folder: StudyFolder;
beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), 'vgg-report-'));
  folder = await createStudyFolder(join(root, 'study'), {
    space: {
      dataset: 'shapes',
      epochs: 3,
      lr: { float: [0.001, 0.1], log: true },
      batchSize: { choices: [50, 100] },
      optimizer: { choices: ['adam', 'sgd'] },
      momentum: { float: [0.5, 0.99], when: { optimizer: ['sgd'] } },
    },
    sampler: 'random',
    pruner: { name: 'none' },
    seed: 1,
    trials: 16,
    retries: 1,
    report: true,
  });
});
afterAll(() => rmSync(root, { recursive: true }));

test('while no trial has ended there is nothing to report', async () => {
  await expect(studyReport(folder, [])).rejects.toThrow('no trial has ended yet');
  const place = join(root, 'all failed');
  const failed = await createStudyFolder(place, folder.settings);
  using study = await failed.open();
  await study.tell((await study.ask())!, { state: 'fail', reason: 'NaN' });
  await expect(studyReport(failed, study.trials)).rejects.toThrow(
    `every trial failed; after a change, vgg tune --study '${place}' --retry-failed runs them again`,
  );
});

test('the answer comes first, and everything has its words', async () => {
  using study = await folder.open('here');
  await study.optimize(
    async (trial) => {
      const value = trial.params.batchSize === 50 ? 0.6 + trial.number / 100 : 0.2;
      await trial.report(value / 2, 1);
      if (trial.number % 5 === 4) throw new TrialPruned();
      if (trial.number === 3) throw new Error('<b>no disk</b>');
      await trial.report(value, 2);
      return value;
    },
    { trials: 16, shouldCatch: () => true },
  );
  const text = await studyReport(folder, study.trials);
  const { document } = parseHTML(text);
  const best = study.bestTrial!;
  const lead = document.querySelector('.lead')!.textContent!.replaceAll(/\s+/g, ' ');
  expect(lead).toContain(`trial ${best.number}, reaches ${(100 * best.value!).toFixed(2)}`);
  expect(lead).toContain('batchSize mattered most');
  const ids = [...document.querySelectorAll('main > section')].map(({ id }) => id);
  expect(ids.slice(0, 3)).toEqual(['summary', 'best', 'history']);
  expect(ids).toEqual(
    expect.arrayContaining(['importance', 'curves', 'parallel', 'slices', 'pair', 'timeline']),
  );
  const commands = [...document.querySelectorAll('pre.command')].map(({ textContent }) => textContent);
  expect(commands[0]).toMatch(/^npx vgg train --model simplified --dataset shapes .*--epochs 3/);
  expect(commands[2]).toMatch(/^npx vgg train --resume .*trial-00\d\d --epochs 80$/);
  for (const svg of document.querySelectorAll('svg[role=img]')) {
    const [title, description] = svg.getAttribute('aria-labelledby')!.split(' ');
    expect(document.getElementById(title!)!.textContent).not.toBe('');
    expect(document.getElementById(description!)!.textContent!.length).toBeGreaterThan(10);
  }
  // A message is text, and only the page's own script runs.
  expect(text).toContain('&lt;b&gt;no disk');
  expect(document.querySelectorAll('script')).toHaveLength(1);
  expect(document.body.textContent).not.toMatch(/NaN|undefined/);
});

test.skipIf(!hasChromium)(`in Chromium it asks for nothing, and axe finds nothing ${skipped}`, async () => {
  const path = await reportStudy(folder);
  await using browser = await openBrowser();
  for (const width of [1400, 850, 390]) {
    const page = await browser.newPage({ viewport: { width, height: 900 } });
    const complaints = complaintsOf(page);
    await page.goto(`file://${path}`);
    expect(await accessibilityProblems(page)).toEqual([]);
    expect(complaints).toEqual([]);
    expect(await page.evaluate('document.documentElement.scrollWidth')).toBe(width);
    // As large as text should be, whether a chart has a section to itself or a column.
    const pixels = await page.evaluate<number[]>(
      "[...document.querySelectorAll('.chart > svg')].map((svg) => parseFloat(getComputedStyle(svg).fontSize) * svg.getScreenCTM().a)",
    );
    // Commands break between words: a word takes one line, or all of its own.
    const broken = await page.evaluate<string[]>(
      `[...document.querySelectorAll('.words span')].filter((word) => {
        const { height, width } = word.getBoundingClientRect();
        return height > 30 && width < word.closest('pre').clientWidth - 40;
      }).map((word) => word.textContent)`,
    );
    expect(broken).toEqual([]);
    expect(await page.locator('.words span').count()).toBeGreaterThan(10);
    const paper = (): Promise<string> => page.evaluate('getComputedStyle(document.body).backgroundColor');
    const before = await paper();
    await page.getByRole('button', { name: 'Dark theme' }).click();
    expect(await paper()).not.toBe(before);
    expect(pixels.length).toBeGreaterThan(5);
    for (const size of pixels) expect(Math.abs(size - 12.5)).toBeLessThan(3.5);
  }
});
