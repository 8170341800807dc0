/**
 * The studio in Chromium, as users see it: built by Vite and served from a folder of a static host. What it trains is real;
 * nothing here asserts a time.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Browser, BrowserContext, Download, Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { readSafetensors } from '../src/model/safetensors.ts';
import { accessibilityProblems, hasChromium, openBrowser, skipped } from './browser.ts';
import {
  builtStudio,
  complaintsAbout,
  fingerprint,
  open,
  ready,
  type ServedStudio,
  serveStudio,
  step,
  stepsOf,
} from './studio-page.ts';

const views = ['learn', 'see', 'build', 'try', 'compare', 'break', 'lecture', 'share'] as const;

/** A loaded machine is slow, but not wrong. */
const patience = { timeout: 200_000 };

/** Kilobytes of the first load, after gzip: what is fetched until the network can train. */
const firstLoad = 250;

describe.skipIf(!hasChromium)(`the studio in Chromium${hasChromium ? '' : ` ${skipped}`}`, () => {
  let studio: Awaited<ReturnType<typeof builtStudio>>;
  let server: ServedStudio;
  let browser: Browser;
  let context: BrowserContext;
  let page: Page;
  let complaints: string[];

  beforeAll(async () => {
    studio = await builtStudio();
    server = await serveStudio(studio.folder);
    browser = await openBrowser();
  });
  afterAll(async () => {
    await browser?.close();
    server?.[Symbol.dispose]();
    await studio?.[Symbol.asyncDispose]();
  });
  beforeEach(async () => {
    context = await browser.newContext({ locale: 'en-US', serviceWorkers: 'block' });
    context.setDefaultTimeout(patience.timeout);
    page = await context.newPage();
    complaints = complaintsAbout(page, server.url);
  });
  afterEach(async () => {
    await context.close();
    expect(complaints).toEqual([]);
  });

  const saved = async (click: () => Promise<void>): Promise<{ name: string; path: string }> => {
    const [download] = await Promise.all([page.waitForEvent('download') as Promise<Download>, click()]);
    return { name: download.suggestedFilename(), path: await download.path() };
  };

  test(`loads at most ${firstLoad} KB until it can train`, async () => {
    const own = await serveStudio(studio.folder);
    try {
      complaints = complaintsAbout(page, own.url);
      await page.goto(own.url);
      await ready(page);
      const sizes = [...own.fetched].sort(([, a], [, b]) => b - a);
      const total = sizes.reduce((sum, [, bytes]) => sum + bytes, 0) / 1000;
      console.log(
        `${sizes.map(([name, bytes]) => `${(bytes / 1000).toFixed(1).padStart(7)} KB  ${name}`).join('\n')}\n` +
          `${total.toFixed(1).padStart(7)} KB  first load of the studio, gzip`,
      );
      expect(total).toBeLessThanOrEqual(firstLoad);
    } finally {
      own[Symbol.dispose]();
    }
  });

  test('trains shapes above 90 %, pauses, steps and changes the learning rate', async () => {
    await page.goto(`${server.url}#/learn?epochs=2`);
    await ready(page);
    expect(await page.locator('#device').textContent()).toContain('WebAssembly');
    await step(page, 3);
    await page.locator('.phase.paused').waitFor();
    // The probe answers for all its images, and the filters are drawn.
    await page.locator('.probe .right, .probe .wrong').nth(29).waitFor();
    expect(await page.locator('.filters canvas').count()).toBe(16);
    const rate = page.locator('.slider input').first();
    await rate.focus();
    await page.keyboard.press('ArrowRight');
    await step(page, 1);
    await page.getByText('Learning rate 0.025').first().waitFor();
    await page.locator('#run').click();
    await page.locator('.phase.training').waitFor();
    await page.locator('#run').click();
    await page.locator('.phase.paused').waitFor();
    const paused = await stepsOf(page);
    expect(paused).toBeGreaterThan(4);
    await page.waitForTimeout(500);
    expect(await stepsOf(page)).toBe(paused);
    await page.locator('#run').click();
    await page.locator('.phase.ended').waitFor();
    const accuracy = Number.parseFloat((await page.locator('#accuracy').textContent())!);
    expect(accuracy).toBeGreaterThan(90);
  });

  test('shows maps of all layers, the sum behind a value, evidence, and images of a confusion', async () => {
    await page.goto(server.url);
    await ready(page);
    await step(page, 2);
    await open(page, 'see');
    await page.locator('.layer').first().waitFor();
    expect(await page.locator('.layer h3').allTextContents()).toEqual([
      expect.stringContaining('relu1_1'),
      expect.stringContaining('relu1_2'),
      expect.stringContaining('pool1'),
    ]);
    await page.locator('.stacked .heat canvas').waitFor();
    // By keyboard: the largest value of a map.
    await page.locator('.tile').first().focus();
    await page.keyboard.press('Enter');
    const numbers = async (): Promise<number[]> =>
      (await page.locator('.equation').textContent())!
        .replaceAll('−', '-')
        .replaceAll(/([-+]) (?=\d)/g, '$1')
        .match(/[-+]?\d+\.\d+/g)!
        .map(Number);
    await page.locator('.equation').waitFor();
    const [red, green, blue, bias, sum, value] = (await numbers()) as [
      number,
      number,
      number,
      number,
      number,
      number,
    ];
    // Each is rounded to two digits.
    expect(Math.abs(red + green + blue + bias - sum)).toBeLessThan(0.03);
    expect(value).toBe(Math.max(0, sum));
    const at = await page.locator('.sum .note').first().textContent();
    await page.getByRole('button', { name: 'Right', exact: true }).click();
    await expect.poll(() => page.locator('.sum .note').first().textContent(), patience).not.toBe(at);
    // A cell of the matrix opens its images.
    const cell = page.locator('.matrix td button:not(:empty)').first();
    await cell.waitFor();
    const count = Number(await cell.textContent());
    await cell.click();
    await expect.poll(() => page.locator('.cell-images canvas').count(), patience).toBe(Math.min(40, count));
  });

  test('compares two trainings: nothing different, the same bits; another seed, others', async () => {
    await page.goto(`${server.url}#/compare`);
    await page.locator('.choice select').first().selectOption('nothing');
    await ready(page);
    await page.locator('#run').click();
    await page.locator('.bits.same').waitFor();
    const [a, b] = await page.locator('.bits code').allTextContents();
    expect(a).toMatch(/^[0-9a-f]{16}$/);
    expect(b).toBe(a);
    await page.locator('.choice select').first().selectOption('seed');
    await ready(page);
    await page.locator('#run').click();
    await page.locator('.bits code').nth(1).waitFor();
    const [first, second] = await page.locator('.bits code').allTextContents();
    expect(first).toBe(a);
    expect(second).not.toBe(first);
  });

  test('explains a training that diverges, and counts dead ReLUs', async () => {
    await page.goto(`${server.url}#/break`);
    await page.getByRole('button', { name: 'Too high a learning rate' }).click();
    await ready(page);
    await page.locator('#run').click();
    await page.locator('.side.b .banner').waitFor();
    expect(await page.locator('.side.b .banner').textContent()).toContain('NaN');
    await page.getByRole('button', { name: 'Dead ReLUs' }).click();
    await ready(page);
    await page.locator('#run').click();
    const dead = (): Promise<number> =>
      page.evaluate<number>(
        "Math.max(...[...document.querySelectorAll('.side.b meter')].map((one) => one.value))",
      );
    await page.locator('.side.b meter').first().waitFor();
    await expect.poll(dead, patience).toBeGreaterThan(4);
  });

  test('a link repeats a training with its changes, bit by bit, in another tab', async () => {
    await page.goto(server.url);
    await ready(page);
    await step(page, 2);
    await page.locator('.slider input').first().focus();
    await page.keyboard.press('ArrowRight');
    await step(page, 2);
    const expected = await fingerprint(page);
    expect(expected).toMatch(/Weights after step 4: [0-9a-f]{16}/);
    const link = await page.locator('#link').inputValue();
    const other = await browser.newContext({ serviceWorkers: 'block' });
    other.setDefaultTimeout(patience.timeout);
    try {
      const tab = await other.newPage();
      const wrong = complaintsAbout(tab, server.url);
      await tab.goto(link);
      await ready(tab);
      await step(tab, 4);
      expect(await fingerprint(tab)).toBe(expected);
      expect(wrong).toEqual([]);
    } finally {
      await other.close();
    }
  });

  test.each([
    ['lr=fast', 'lr=fast is not a number'],
    ['lr=0.1&lr=0.2', 'it has lr twice'],
    ['data=/etc/passwd', 'unknown option data'],
    [`model=${'x'.repeat(20_000)}`, 'more than 16000'],
    ['model={"name":', 'model is not an object in JSON'],
  ])('says what is wrong with a damaged link, %#', async (query, problem) => {
    await page.goto(`${server.url}#/learn?${query}`);
    expect(await page.locator('.banner.warning').textContent()).toContain(problem);
    // The usual training is there instead.
    await ready(page);
  });

  test('says why a training of a link is impossible', async () => {
    await page.goto(`${server.url}#/learn?model=vgg99`);
    await page.locator('.banner.warning').waitFor();
    expect(await page.locator('.banner.warning').textContent()).toContain('vgg99');
    expect(await page.locator('.phase').textContent()).toBe('Stopped by an error');
  });

  test('a reload continues the run from its last checkpoint', async () => {
    await page.goto(`${server.url}#/learn?epochs=1000`);
    await ready(page);
    await page.locator('#run').click();
    await expect.poll(() => stepsOf(page), patience).toBeGreaterThan(104);
    await page.reload();
    // It trains on by itself, with the curves of before.
    await page.locator('.phase.training').waitFor();
    expect(await stepsOf(page)).toBeGreaterThanOrEqual(100);
    await page.locator('.plot').first().waitFor();
    const continued = await stepsOf(page);
    await expect.poll(() => stepsOf(page), patience).toBeGreaterThan(continued);
  });

  test('exports a run as a zip and imports it, and saves weights', async () => {
    await page.goto(`${server.url}#/learn?epochs=1&dataset=shapes`);
    await ready(page);
    await page.locator('#run').click();
    await page.locator('.phase.ended').waitFor();
    const expected = await fingerprint(page);
    const zip = await saved(() => page.locator('#export-run').click());
    expect(zip.name).toBe('simplified-shapes-1.zip');
    const weights = await saved(() => page.getByText('Weights (safetensors)').click());
    const { tensors } = readSafetensors(new Uint8Array(await readFile(weights.path)));
    expect([...tensors.keys()]).toContain('conv1.weight');
    const onnx = await saved(() => page.getByText('Network (ONNX)').click());
    expect(onnx.name).toBe('simplified.onnx');

    const other = await browser.newContext({ serviceWorkers: 'block' });
    other.setDefaultTimeout(patience.timeout);
    try {
      const tab = await other.newPage();
      await tab.goto(`${server.url}#/share`);
      await tab.locator('#import-run').setInputFiles(zip.path);
      await tab.getByText('Imported as simplified-shapes-1').waitFor();
      await expect.poll(() => tab.locator('#fingerprint').textContent(), patience).toBe(expected);
      // Something else is refused, with a reason.
      const wrong = join(tmpdir(), 'vggnet-not-a-run.zip');
      await writeFile(wrong, 'no zip');
      await tab.locator('#import-run').setInputFiles(wrong);
      await tab.locator('.banner.warning').waitFor();
    } finally {
      await other.close();
    }
  });

  test('speaks Korean and English, and remembers language and theme', async () => {
    await page.goto(server.url);
    await page.locator('#language').selectOption('ko');
    expect(await page.locator('html').getAttribute('lang')).toBe('ko');
    await page.getByRole('heading', { name: '신경망이 보는 법을 배우는 모습' }).waitFor();
    await page.locator('#theme').selectOption('dark');
    await page.reload();
    expect(await page.locator('html').getAttribute('lang')).toBe('ko');
    expect(await page.locator('html').getAttribute('data-theme')).toBe('dark');
  });

  test.each([
    ['en', 'light'],
    ['en', 'dark'],
    ['ko', 'light'],
    ['ko', 'dark'],
  ] as const)('axe finds nothing in any view: %s, %s', async (language, theme) => {
    await page.goto(server.url);
    await page.locator('#language').selectOption(language);
    await page.locator('#theme').selectOption(theme);
    await ready(page);
    await step(page, 1);
    for (const view of views) {
      await open(page, view);
      if (view === 'see') {
        await page.locator('.tile').first().click();
        await page.locator('.equation').waitFor();
        await page.locator('.matrix button:not(:empty)').first().click();
      }
      expect(await accessibilityProblems(page), view).toEqual([]);
    }
  });

  test('fits a phone: no view is wider than 390 pixels', async () => {
    await page.setViewportSize({ width: 390, height: 844 });
    await page.goto(server.url);
    await ready(page);
    await step(page, 1);
    for (const view of views) {
      await open(page, view);
      if (view === 'see') {
        await page.locator('.tile').nth(17).click();
        await page.locator('.equation').waitFor();
      }
      expect(await page.evaluate<number>('document.documentElement.scrollWidth'), view).toBeLessThanOrEqual(
        390,
      );
    }
  });

  test('works by keyboard from the first key on', async () => {
    await page.goto(server.url);
    await ready(page);
    await page.keyboard.press('Tab');
    expect(await page.evaluate('document.activeElement.className')).toBe('skip');
    await page.keyboard.press('Enter');
    expect(await page.evaluate('document.activeElement.id')).toBe('content');
    await page.keyboard.press('Tab');
    expect(await page.evaluate('document.activeElement.id')).toBe('run');
    await page.keyboard.press('Enter');
    await page.locator('.phase.training').waitFor();
  });

  test('on a host without headers, the service worker isolates the page and works offline', async () => {
    const plain = await serveStudio(studio.folder, { isolated: false });
    const own = await browser.newContext({ locale: 'en-US' });
    own.setDefaultTimeout(patience.timeout);
    try {
      const tab = await own.newPage();
      await tab.goto(plain.url);
      await expect.poll(() => tab.evaluate('crossOriginIsolated').catch(() => false), patience).toBe(true);
      await ready(tab);
      await plain.close();
      await tab.reload();
      await ready(tab);
      await step(tab, 1);
      for (const view of views) await open(tab, view);
    } finally {
      await own.close();
      plain[Symbol.dispose]();
    }
  });

  test('without shared memory, it trains on one thread', async () => {
    const plain = await serveStudio(studio.folder, { isolated: false });
    try {
      complaints = complaintsAbout(page, plain.url);
      await page.goto(plain.url);
      await ready(page);
      expect(await page.locator('#device').textContent()).toMatch(/1 thread|one thread/);
      await step(page, 2);
    } finally {
      plain[Symbol.dispose]();
    }
  });
});
