/**
 * Reports as their readers have them: opened from a file in Chromium. The network in the page must answer as it does
 * in Node, and nothing that a class or a run is called may become markup.
 */
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { parseHTML } from 'linkedom';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Dataset, type DatasetSplits, fromArrays } from '../src/data/dataset.ts';
import { random } from '../src/data/random.ts';
import { shapes } from '../src/data/shapes.ts';
import { subset } from '../src/data/split.ts';
import { channelStatistics } from '../src/data/statistics.ts';
import { applyTransform, imageFromBytes } from '../src/data/transforms/apply.ts';
import { inputTransform } from '../src/data/transforms.ts';
import { UsageError } from '../src/errors.ts';
import { encodePng } from '../src/images/png.ts';
import { sampleRaster } from '../src/images/rasters.ts';
import { roundedToHalf } from '../src/model/half.ts';
import { networkOf } from '../src/model/models.ts';
import { buildReport, writeReport } from '../src/report/report.ts';
import type { ReportRun } from '../src/report/run.ts';
import { compile } from '../src/train/model.ts';
import { accessibilityProblems, complaintsOf, hasChromium, openBrowser, skipped } from './browser.ts';
import { sampleRun } from './sample-report.ts';

const hostile = '</script><script>document.title="owned"</script><img src=x onerror=alert(1)>&amp;"\'';

let folder: string;
let run: ReportRun;
/** Its report, and its brief one. */
let whole: string;
let brief: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'vggnet-report-'));
  const { train, test } = shapes();
  const some = (dataset: Dataset, count: number): Dataset => ({
    ...subset(
      dataset,
      Uint32Array.from({ length: count }, (_, i) => i),
    ),
    classes: [hostile, ...dataset.classes.slice(1)],
  });
  // No test image has the last class.
  const labeled = subset(
    test,
    Uint32Array.from(test.labels.keys()).filter((i) => test.labels[i] !== 9),
  );
  const splits = { train: some(train, 2000), test: some(labeled, 300) };
  run = await sampleRun(`runs/${hostile}`, splits, { epochs: 2, normalize: true, device: 'wasm' });
  whole = await buildReport([run], { device: 'wasm' });
  brief = await buildReport([run], { device: 'wasm', brief: true });
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** Probabilities of a test image with half-precision weights, in Node. */
async function expected(bytes: Uint8Array): Promise<Float32Array> {
  const { config, weights } = run;
  const splits = run.splits as DatasetSplits;
  const network = networkOf(config.model, { classes: splits.test.classes.length });
  await using model = await compile(network, { input: splits.test.shape, device: 'wasm' });
  await model.setWeights(roundedToHalf(weights));
  const transform = inputTransform(channelStatistics(splits.train));
  const { values } = applyTransform(transform, imageFromBytes(bytes, splits.test.shape), random(0, 0));
  return (await model.predict(values)).probabilities;
}

const imageBytes = (dataset: Dataset, index: number): Uint8Array =>
  dataset.pixels.subarray(3072 * index, 3072 * (index + 1));

test('a report tells what a network can and how to train it again', () => {
  expect(parseHTML(whole).document.querySelector('pre.command')?.textContent).toBe(
    'npx vgg train --model simplified --dataset shapes --normalize --epochs 2 --device wasm',
  );
  expect(whole).toMatch(/of\s+300 test images/);
  expect(whole).toContain('binary16');
  for (const id of ['curves', 'network', 'results', 'try', 'explanations', 'data', 'setup']) {
    expect(whole).toContain(`<section id="${id}"`);
  }
});

test('a class without test images has no accuracy', () => {
  const { document } = parseHTML(brief);
  const rows = [...document.querySelectorAll('table[data-sortable] tbody tr')];
  const cells = rows.map((row) => [...row.children].map(({ textContent }) => textContent));
  expect(cells).toHaveLength(10);
  expect(cells[9]!.slice(1, 4)).toEqual(['–', expect.any(String), '0']);
  for (const [, accuracy] of cells.slice(0, 9)) expect(accuracy).toMatch(/^\d+\.\d %$/);
});

test('a brief report does not carry the network', () => {
  const { document } = parseHTML(brief);
  const ids = [...document.querySelectorAll('main > section')].map(({ id }) => id);
  expect(ids).toEqual(['summary', 'curves', 'network', 'results', 'setup']);
  expect(document.querySelectorAll('script')).toHaveLength(1);
  expect(brief).not.toContain('wasm-unsafe-eval');
  expect(document.querySelector('#matrix')).not.toBe(null);
  expect(brief).not.toMatch(/binary16|arrow keys/);
  expect(brief.length).toBeLessThan(400_000);
});

test('names are escaped everywhere', () => {
  expect(whole).not.toContain('<img src=x');
  expect(whole).not.toContain('document.title="owned"</script>');
  // Two data elements and the page's own script.
  expect(whole.match(/<script/g)).toHaveLength(3);
});

test('without runs there is no report', async () => {
  await expect(buildReport([])).rejects.toThrow(UsageError);
});

describe.skipIf(!hasChromium)(`in Chromium ${skipped}`, () => {
  let browser: Browser;
  let url: string;
  beforeAll(async () => {
    const path = join(folder, 'report.html');
    await writeReport(path, [run, { ...run, name: 'runs/other', config: { ...run.config, lr: 0.002 } }], {
      device: 'wasm',
    });
    url = pathToFileURL(path).href;
    browser = await openBrowser();
  });
  afterAll(() => browser?.close());

  async function withPage(
    use: (page: Page) => Promise<void>,
    options: Parameters<Browser['newPage']>[0] = {},
  ): Promise<void> {
    const page = await browser.newPage(options);
    const complaints = complaintsOf(page);
    try {
      await page.goto(url);
      await use(page);
      expect(complaints).toEqual([]);
    } finally {
      await page.close();
    }
  }

  /** What the page says: class and probability, the most probable first. */
  async function answers(page: Page, status: RegExp): Promise<readonly (readonly [number, number])[]> {
    await page.locator('#try-status', { hasText: status }).waitFor({ timeout: 60_000 });
    return page
      .locator('#try-result button.bar')
      .evaluateAll((bars) =>
        bars.map((bar) => [Number(bar.dataset.label), Number(bar.dataset.probability)] as const),
      );
  }

  function compare(found: readonly (readonly [number, number])[], probabilities: Float32Array): void {
    expect(found).toHaveLength(5);
    for (const [label, probability] of found) expect(probability).toBeCloseTo(probabilities[label]!, 4);
    expect(probabilities[found[0]![0]]).toBe(Math.max(...probabilities));
  }

  test('a class without a value comes last, however the table is sorted', () =>
    withPage(async (page) => {
      const table = page.locator('#results table[data-sortable]');
      for (const order of ['ascending', 'descending']) {
        await table.locator('th button', { hasText: 'Accuracy' }).click();
        await table.locator(`th[aria-sort="${order}"]`).waitFor();
        const accuracies = await table.locator('tbody tr > :nth-child(2)').allTextContents();
        expect(accuracies.map((text) => text === '–')).toEqual([...new Array(9).fill(false), true]);
      }
    }));

  test('a sample is classified as in Node', () =>
    withPage(async (page) => {
      const sample = page.locator('button.sample').nth(3);
      const index = Number(await sample.getAttribute('data-index'));
      await sample.click();
      compare(
        await answers(page, /^test image .* ms\)$/),
        await expected(imageBytes(run.splits.test as Dataset, index)),
      );
      // Another class's evidence, by a click on its bar.
      await page.locator('#try-result button.bar').nth(1).click();
      expect(await page.locator('#try-result button.bar').nth(1).getAttribute('aria-pressed')).toBe('true');
      expect(await page.locator('#try-result canvas.heat').isVisible()).toBe(true);
    }));

  test('a chosen and a dropped file are classified as in Node; another file is refused with a reason', () =>
    withPage(async (page) => {
      const path = join(folder, 'own.png');
      const png = Buffer.from(encodePng(sampleRaster(run.splits.train, 17)));
      await writeFile(path, png);
      const probabilities = await expected(imageBytes(run.splits.train as Dataset, 17));
      await page.setInputFiles('#try-file', path);
      compare(await answers(page, /^own\.png: .* ms\)$/), probabilities);

      const drop = async (name: string, bytes: Buffer): Promise<void> => {
        const transfer = await page.evaluateHandle(`{
          const data = new DataTransfer();
          data.items.add(new File([Uint8Array.from([${bytes.join()}])], '${name}', { type: 'image/png' }));
          data;
        }`);
        await page.dispatchEvent('#try-panel', 'drop', { dataTransfer: transfer });
      };
      await drop('dropped.png', png);
      compare(await answers(page, /^dropped\.png: .* ms\)$/), probabilities);
      await drop('text.png', Buffer.from('no image'));
      await page.locator('#try-status', { hasText: /^text\.png cannot .* choose a PNG/ }).waitFor();
      expect(await page.locator('#try-result').textContent()).toBe('');
    }));

  test.each(['light', 'dark'] as const)('axe finds nothing to complain of, %s', (colorScheme) =>
    withPage(
      async (page) => {
        await page.locator('button.sample').first().click();
        await answers(page, /ms\)$/);
        await page.locator('details').evaluateAll((all) => {
          for (const one of all) one.setAttribute('open', '');
        });
        expect(await accessibilityProblems(page)).toEqual([]);
      },
      { colorScheme },
    ),
  );

  test('the theme can be chosen', () =>
    withPage(
      async (page) => {
        const paper = (): Promise<string> => page.evaluate('getComputedStyle(document.body).backgroundColor');
        const before = await paper();
        await page.getByRole('button', { name: 'Dark theme' }).click();
        expect(await paper()).not.toBe(before);
        await page.getByRole('button', { name: 'Light theme' }).click();
        expect(await paper()).toBe(before);
      },
      { colorScheme: 'light' },
    ));

  test('everything can be done by keyboard', () =>
    withPage(async (page) => {
      // Listening early: the browser is told in passing that choosers are awaited.
      const chosen = new Promise((resolve) => page.once('filechooser', resolve));
      await page.keyboard.press('Tab');
      expect(await page.locator(':focus').textContent()).toBe('Skip to the report');
      await page.locator('#try').evaluate((section) => {
        section.tabIndex = -1;
        section.focus();
      });
      await page.keyboard.press('Tab');
      await page.keyboard.press('Enter');
      await chosen;
      await page.keyboard.press('Tab');
      await page.keyboard.press('Enter');
      await answers(page, /^test image .* ms\)$/);

      const cells = page.locator('#matrix tbody tr').nth(1).locator('td');
      await page.locator('#matrix td[tabindex="0"]').focus();
      await page.keyboard.press('ArrowDown');
      await page.keyboard.press('ArrowRight');
      expect(await cells.nth(1).evaluate((cell) => cell.matches(':focus'))).toBe(true);

      // Sorting: the least accurate class first, then the most accurate.
      const accuracy = page.getByRole('button', { name: 'Accuracy', exact: true });
      const first = page
        .locator('table:has(th button:text("Precision")) tbody tr')
        .first()
        .locator('td')
        .first();
      await accuracy.focus();
      await page.keyboard.press('Enter');
      const least = Number(await first.getAttribute('data-value'));
      await page.keyboard.press('Enter');
      expect(Number(await first.getAttribute('data-value'))).toBeGreaterThan(least);
    }));

  test('paper is light and has no border to scroll over', () =>
    withPage(
      async (page) => {
        await page.emulateMedia({ media: 'print' });
        expect(await page.evaluate('getComputedStyle(document.body).backgroundColor')).toBe(
          'rgb(255, 255, 255)',
        );
        expect(await page.evaluate('document.documentElement.scrollWidth')).toBe(794);
      },
      { colorScheme: 'dark', viewport: { width: 794, height: 1123 } },
    ));

  test('a phone scrolls down only; navigation and tables scroll by themselves, and show it', () =>
    withPage(
      async (page) => {
        expect(await page.evaluate('document.documentElement.scrollWidth')).toBe(390);
        const nav = page.locator('.bar-top nav');
        expect(await nav.evaluate((one) => one.scrollWidth > one.clientWidth)).toBe(true);
        await page.getByRole('link', { name: 'Setup' }).scrollIntoViewIfNeeded();
        expect(await nav.evaluate((one) => one.scrollLeft)).toBeGreaterThan(0);
        const shadowed = await page.evaluate<string[]>(
          `[...document.querySelectorAll('.bar-top nav, .scroll')].map((one) => {
            const { overflowX, backgroundAttachment } = getComputedStyle(one);
            return overflowX + ': ' + backgroundAttachment;
          })`,
        );
        expect(shadowed.length).toBeGreaterThan(3);
        expect(new Set(shadowed)).toEqual(new Set(['auto: local, local, scroll, scroll']));
      },
      { viewport: { width: 390, height: 844 } },
    ));
});

describe('a vgg7 on a hundred classes', () => {
  /** A data set of CIFAR-100's form: with few images, drawn from shapes. */
  function hundred(): DatasetSplits {
    const { test } = shapes();
    const part = subset(
      test,
      Uint32Array.from({ length: 400 }, (_, i) => i),
    );
    const classes = Array.from({ length: 100 }, (_, i) => `class_${i}`);
    const dataset = {
      ...fromArrays(
        part.pixels,
        Uint16Array.from({ length: 400 }, (_, i) => i % 100),
        part.shape,
        { name: 'cifar100', classes },
      ),
      superclasses: {
        names: Array.from({ length: 20 }, (_, i) => `group_${i}`),
        of: classes.map((_, i) => (7 * i) % 20),
      },
    };
    return { train: dataset, test: dataset };
  }

  test('fits into 16 MB, and its groups open', async () => {
    const path = join(folder, 'vgg7.html');
    const splits = hundred();
    const large = await sampleRun('runs/vgg7', splits, {
      model: 'vgg7',
      dataset: 'cifar100',
      epochs: 1,
      steps: 1,
      batchSize: 20,
      device: 'wasm',
    });
    await writeReport(path, [large], { device: 'wasm' });
    expect((await stat(path)).size).toBeLessThan(16e6);
    expect(await readFile(path, 'utf8')).toContain('group 19');
    if (!hasChromium) return;
    const browser = await openBrowser();
    try {
      const page = await browser.newPage();
      const complaints = complaintsOf(page);
      await page.goto(pathToFileURL(path).href);
      await page.locator('#matrix td[tabindex="0"]').focus();
      await page.keyboard.press('Enter');
      expect(await page.locator('#matrix-detail tbody tr').count()).toBe(5);
      expect(await page.locator('#matrix-detail caption').textContent()).toBe('Within group 0');
      expect(await accessibilityProblems(page)).toEqual([]);
      expect(complaints).toEqual([]);
    } finally {
      await browser.close();
    }
  });
});
