/**
 * The studio's views Build, Try and The lecture in Chromium: a network of one's own, pictures and classes of one's own, and
 * the tour in both languages. What is trained here is real, and small.
 */
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { Browser, BrowserContext, Download, Locator, Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { crc32 } from '../src/crc32.ts';
import { scanFolder } from '../src/data/folders/scan-folder.ts';
import { bytesOfZipped, filesInZip } from '../src/files/unzip.ts';
import { directoryOf, localHeader } from '../src/files/zip-writer.ts';
import { encodePng } from '../src/images/png.ts';
import { accessibilityProblems, hasChromium, openBrowser, skipped } from './browser.ts';
import {
  builtStudio,
  complaintsAbout,
  open,
  ready,
  type ServedStudio,
  serveStudio,
  step,
} from './studio-page.ts';

/** A loaded machine is slow, but not wrong. */
const patience = { timeout: 150_000 };

/** A camera without hardware, which the page may use without asking. */
const camera = ['--use-fake-device-for-media-stream', '--use-fake-ui-for-media-stream'];

type Color = readonly [red: number, green: number, blue: number];

/** A picture of one color with a brighter square, not quite the same for each `variant`. */
function picture([red, green, blue]: Color, variant: number): Buffer<ArrayBuffer> {
  const side = 48;
  const bytes = new Uint8Array(3 * side * side);
  for (let y = 0; y < side; y++) {
    for (let x = 0; x < side; x++) {
      const inside = Math.abs(x - 16 - variant) < 8 && Math.abs(y - 20 - variant) < 8;
      const light = inside ? 60 : 3 * variant;
      bytes.set(
        [red, green, blue].map((value) => Math.min(255, value + light)),
        3 * (y * side + x),
      );
    }
  }
  return Buffer.from(encodePng({ width: side, height: side, channels: 3, bytes }));
}

const files = (name: string, color: Color, count: number) =>
  Array.from({ length: count }, (_, i) => ({
    name: `${name}-${i}.png`,
    mimeType: 'image/png',
    buffer: picture(color, i),
  }));

const red: Color = [170, 20, 20];
const blue: Color = [20, 30, 170];

/** A zip archive of stored files. */
function zipOf(entries: Readonly<Record<string, Uint8Array>>): Buffer<ArrayBuffer> {
  const stored = Object.entries(entries).map(([name, bytes]) => ({
    name,
    size: bytes.length,
    crc: crc32(bytes),
  }));
  const parts = stored.flatMap((entry) => [localHeader(entry), entries[entry.name]!]);
  return Buffer.concat([...parts, directoryOf(stored)]);
}

describe.skipIf(!hasChromium)(`the studio's workshop in Chromium${hasChromium ? '' : ` ${skipped}`}`, () => {
  let studio: Awaited<ReturnType<typeof builtStudio>>;
  let server: ServedStudio;
  let browser: Browser;
  let context: BrowserContext;
  let page: Page;
  let complaints: string[];

  beforeAll(async () => {
    studio = await builtStudio();
    server = await serveStudio(studio.folder);
    browser = await openBrowser(camera);
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

  const goTo = async (place: string): Promise<void> => {
    await page.goto(`${server.url}#/${place}`);
    await page.locator('main h1').waitFor();
  };
  const names = (): Promise<string[]> => page.locator('.block-name b').allTextContents();
  const text = async (locator: Locator): Promise<string> => (await locator.textContent()) ?? '';

  describe('Build', () => {
    test('builds a network, says what it costs, and trains it', async () => {
      await goTo('build/simplified');
      await page.locator('.block').nth(4).waitFor();
      expect(await text(page.locator('#parameters'))).toBe('20.8K');
      await expect.poll(() => text(page.locator('#memory')), patience).toMatch(/MiB$/);
      // Twice the maps in the second convolution, and another one behind it.
      const second = page.locator('.block').nth(1);
      await second.locator('.block-name').click();
      await second.getByLabel('Maps').fill('64');
      await second.getByLabel('Maps').press('Enter');
      expect(await text(second.locator('.shape'))).toBe('64×28×28');
      await page.getByRole('button', { name: '+ Convolution' }).click();
      expect(await names()).toEqual([
        'Convolution',
        'Convolution',
        'Convolution',
        'Max-pool',
        'Flatten',
        'Output',
      ]);
      expect(await text(page.locator('#weight-layers'))).toBe('4');
      await page.locator('#undo').click();
      expect(await names()).toHaveLength(5);
      await page.locator('#train').click();
      await page.locator('nav a[aria-current]', { hasText: 'Learn' }).waitFor();
      await ready(page);
      expect(decodeURIComponent(page.url())).toContain('"kind":"conv2d","out":64');
      await step(page, 1);
    });

    test('an impossible network says why, at its place, and is repaired', async () => {
      await goTo('build/simplified');
      await page.getByRole('button', { name: 'Remove Flatten' }).click();
      const problem = page.locator('.block.output .problem');
      expect(await text(problem.locator('q'))).toBe(
        'linear: the input of layer 4 is a 32×7×7 feature map, not a vector; put flatten() before it',
      );
      expect(await page.locator('#train').isDisabled()).toBe(true);
      await problem.getByRole('button', { name: 'Insert a flatten' }).click();
      expect(await names()).toEqual(['Convolution', 'Convolution', 'Max-pool', 'Flatten', 'Output']);
      expect(await page.locator('.problem').count()).toBe(0);
      expect(await page.locator('#train').isDisabled()).toBe(false);
      // A window that does not fit, in the library's words.
      const pool = page.locator('.block').nth(2);
      await pool.locator('.block-name').click();
      await pool.getByLabel('Stride').selectOption('8');
      await page.getByRole('button', { name: '+ Max-pool' }).click();
      await page.locator('.block').nth(3).getByLabel('Window').selectOption('8');
      expect(await text(page.locator('.block').nth(3).locator('.problem q'))).toMatch(
        /^maxPool2d: kernel 8×8 does not fit the 4×4 input of layer 4; /,
      );
    });

    test('moves blocks with the arrow keys and by pointer, and removes them by key', async () => {
      await goTo('build/simplified');
      await page.locator('.block .handle').nth(2).focus();
      await page.keyboard.press('ArrowUp');
      expect(await names()).toEqual(['Convolution', 'Max-pool', 'Convolution', 'Flatten', 'Output']);
      // The focus stays with the block.
      await page.keyboard.press('ArrowUp');
      expect(await names()).toEqual(['Max-pool', 'Convolution', 'Convolution', 'Flatten', 'Output']);
      expect(await text(page.locator('.build > [role=status]'))).toBe('Max-pool is now at place 1 of 5.');
      const handle = (await page.locator('.block .handle').first().boundingBox())!;
      const target = (await page.locator('.block').nth(2).boundingBox())!;
      await page.mouse.move(handle.x + 5, handle.y + 5);
      await page.mouse.down();
      await page.mouse.move(handle.x + 5, target.y + 0.8 * target.height, { steps: 8 });
      await page.mouse.up();
      await expect
        .poll(names, patience)
        .toEqual(['Convolution', 'Convolution', 'Max-pool', 'Flatten', 'Output']);
      await page.locator('.block-name').nth(1).press('Delete');
      expect(await names()).toEqual(['Convolution', 'Max-pool', 'Flatten', 'Output']);
    });

    test('shows the networks of the paper, which no page can train', async () => {
      await goTo('build/vgg16/imagenet');
      await page.locator('.block').nth(24).waitFor();
      expect(await text(page.locator('#weight-layers'))).toBe('16');
      expect(await text(page.locator('#parameters'))).toBe('138M');
      expect(await page.locator('#train').isDisabled()).toBe(true);
      await page.locator('#preset').selectOption('vgg19');
      expect(await text(page.locator('#weight-layers'))).toBe('19');
      // On small images it is trainable, with another classifier.
      await page.locator('#images').selectOption('data');
      expect(await page.locator('#train').isDisabled()).toBe(false);
      expect(await text(page.locator('#weight-layers'))).toBe('17');
    });
  });

  describe('Try', () => {
    /** Drops a file on an element, as from the desktop. */
    const drop = async (selector: string, name: string, type: string, bytes: Uint8Array): Promise<void> => {
      const data = await page.evaluateHandle(
        `(() => { const data = new DataTransfer();
          data.items.add(new File([Uint8Array.from(${JSON.stringify([...bytes])})], ${JSON.stringify(name)}, { type: ${JSON.stringify(type)} }));
          return data; })()`,
      );
      await page.dispatchEvent(selector, 'drop', { dataTransfer: data });
    };
    const classAt = (place: number): Locator => page.locator('.own-class').nth(place);
    const fill = async (place: number, name: string, color: Color, count: number): Promise<void> => {
      await classAt(place).locator('input[type=text]').fill(name);
      await classAt(place)
        .locator('input[type=file]')
        .setInputFiles(files(name, color, count));
      await expect.poll(() => classAt(place).locator('.thumbnails li').count(), patience).toBe(count);
    };

    test('classifies a dropped image with its evidence, and refuses what is no image', async () => {
      await goTo('try');
      await ready(page);
      await page.getByText('has not learned anything yet').waitFor();
      await drop('.drop', 'red.png', 'image/png', picture(red, 0));
      await expect.poll(() => page.locator('.bars li').count(), patience).toBe(5);
      const shares = (await page.locator('.bars .number').allTextContents()).map(Number.parseFloat);
      expect([...shares].sort((a, b) => b - a)).toEqual(shares);
      await page.locator('.seen-images .heat canvas').waitFor();
      await drop('.drop', 'notes.png', 'image/png', new TextEncoder().encode('These are notes.'));
      expect(await text(page.locator('.answers .problem'))).toMatch(/notes\.png.*PNG/);
      expect(await accessibilityProblems(page)).toEqual([]);
      // The same picture, from within.
      await drop('.drop', 'blue.png', 'image/png', picture(blue, 0));
      await expect.poll(() => page.locator('.answers .problem').count(), patience).toBe(0);
      await page.getByText('See what happens inside').click();
      await page.getByText('Your image').first().waitFor();
    });

    test('answers while one draws', async () => {
      await goTo('try');
      await ready(page);
      await page.locator('#source-sketch').click();
      const { x, y, width } = (await page.locator('canvas.stage').boundingBox())!;
      await page.mouse.move(x + 0.2 * width, y + 0.3 * width);
      await page.mouse.down();
      await page.mouse.move(x + 0.6 * width, y + 0.3 * width, { steps: 4 });
      await page.locator('.bars li').nth(4).waitFor();
      await page.mouse.up();
    });

    test('asks for the camera only when told to, and ends it when left', async () => {
      await page.addInitScript(`{
        const devices = navigator.mediaDevices;
        const open = devices.getUserMedia.bind(devices);
        globalThis.streams = [];
        devices.getUserMedia = async (wish) => { const stream = await open(wish); streams.push(stream); return stream; };
      }`);
      const states = (): Promise<readonly string[]> =>
        page.evaluate('streams.flatMap((stream) => stream.getTracks().map((track) => track.readyState))');
      await goTo('try');
      await ready(page);
      await page.locator('#source-camera').click();
      expect(await states()).toEqual([]);
      await page.locator('#start-camera').click();
      await page.locator('.bars li').nth(4).waitFor();
      expect(await states()).toEqual(['live']);
      await page.locator('#stop-camera').click();
      await expect.poll(states, patience).toEqual(['ended']);
      await page.locator('#start-camera').click();
      await page.locator('#stop-camera').waitFor();
      await open(page, 'learn');
      await expect.poll(states, patience).toEqual(['ended', 'ended']);
    });

    test('trains on two classes of the user, and recognizes an image that it has not seen', async () => {
      await goTo('try');
      await ready(page);
      await fill(0, 'red things', red, 8);
      expect(await page.locator('#train-classes').isDisabled()).toBe(true);
      await fill(1, 'blue things', blue, 8);
      await page.locator('#train-classes').click();
      await page.locator('.phase.ended').waitFor();
      await drop('.drop', 'new.png', 'image/png', picture(blue, 11));
      await expect.poll(() => text(page.locator('#best')), patience).toMatch(/^blue things, \d+/);
      expect(await page.locator('.bars li').count()).toBe(2);
      // It is a run like others, and other views show it.
      await open(page, 'learn');
      await expect.poll(() => page.locator('.probe li').count(), patience).toBe(4);
    });

    test('exports the images as a zip that vgg takes, imports it, and keeps them over a reload', async () => {
      await goTo('try');
      await fill(0, 'a/b: ☂', red, 3);
      await fill(1, 'blue', blue, 4);
      const [download] = await Promise.all([
        page.waitForEvent('download') as Promise<Download>,
        page.locator('#export-images').click(),
      ]);
      const zip = await readFile(await download.path());
      const parts = {
        path: 'my-images.zip',
        size: zip.length,
        read: async (into: Uint8Array, position: number) =>
          zip.copy(into, 0, position, position + into.length),
        close: async () => undefined,
      };
      const unpacked = await filesInZip(parts, { entries: 100, bytes: 2 ** 24 });
      const folder = await mkdtemp(join(tmpdir(), 'vggnet-images-'));
      try {
        for (const file of unpacked) {
          await mkdir(dirname(join(folder, file.path)), { recursive: true });
          await writeFile(join(folder, file.path), await bytesOfZipped(file));
        }
        const { classes, splits } = scanFolder(folder);
        expect(classes).toEqual(['a-b- ☂', 'blue']);
        expect(splits.train.paths.length + splits.test.paths.length).toBe(7);
      } finally {
        await rm(folder, { recursive: true });
      }
      // Kept, they are there after a reload.
      const kept = (): Promise<number> =>
        page.evaluate(
          "navigator.storage.getDirectory().then((folder) => folder.getFileHandle('studio-collection.zip')).then((file) => file.getFile()).then(({ size }) => size, () => 0)",
        );
      await expect.poll(kept, patience).toBe(zip.length);
      await page.reload();
      await expect.poll(() => page.locator('.thumbnails li').count(), patience).toBe(7);
      // Once more, they are added to the classes of the same names.
      const name = 'my-images.zip';
      await page.locator('#import-images').setInputFiles({ name, mimeType: 'application/zip', buffer: zip });
      await page.getByText('7 images imported.').waitFor();
      expect(await page.locator('.thumbnails li').count()).toBe(14);
      expect(await page.locator('.own-class').count()).toBe(2);
      await classAt(0).locator('.thumbnails button').first().click();
      expect(await page.locator('.thumbnails li').count()).toBe(13);
    });

    const bytes = (words: string): Uint8Array => new TextEncoder().encode(words);
    test.each<[string, Buffer<ArrayBuffer>, RegExp]>([
      ['no archive', Buffer.from('no zip at all'), /no zip archive/],
      ['a path that leads outside', zipOf({ '../../evil.png': bytes('x') }), /outside the archive's folder/],
      ['a file that is no image', zipOf({ 'cats/1.png': bytes('no image') }), /no image|PNG/],
      ['images without folders', zipOf({ '1.png': picture(red, 0) }), /folder of its own/],
      [
        'a truncated archive',
        zipOf({ 'cats/1.png': picture(red, 0) }).subarray(0, 200),
        /damaged or cut short/,
      ],
    ])('says what is wrong with a zip: %s', async (_, buffer, message) => {
      await goTo('try');
      await page.locator('.own-class').nth(1).waitFor();
      await page
        .locator('#import-images')
        .setInputFiles({ name: 'images.zip', mimeType: 'application/zip', buffer });
      expect(await text(page.locator('.collect .problem'))).toMatch(message);
      expect(await page.locator('.thumbnails li').count()).toBe(0);
    });
  });

  describe('The lecture', () => {
    test.each([
      ['en', 'light', 'Right.', 'Not quite.'],
      ['ko', 'dark', '맞습니다.', '아쉽습니다.'],
    ] as const)('walks through the tour: %s, %s', async (language, theme, right, wrong) => {
      await goTo('lecture');
      await page.locator('#language').selectOption(language);
      await page.locator('#theme').selectOption(theme);
      const verdicts = new Set<string>();
      for (let place = 0; place < 12; place++) {
        await page.locator('.contents a[aria-current="step"] .number', { hasText: `${place + 1}` }).waitFor();
        const choices = page.locator('.guesses button');
        expect(await choices.count()).toBe(3);
        await choices.nth(place % 3).click();
        const verdict = await text(page.locator('.question [role=status]'));
        verdicts.add(verdict.slice(2));
        const marked = await page.locator('.guesses .is-right').count();
        expect(marked).toBe(1);
        await page.locator('.question details[open] .prose').waitFor();
        expect(await accessibilityProblems(page), `step ${place + 1}`).toEqual([]);
        if (place < 11) await page.locator('#next-step').click();
      }
      expect([...verdicts].sort()).toEqual([right, wrong].sort());
      expect(await page.locator('.contents .done').count()).toBe(12);
      // Guesses are remembered.
      await page.reload();
      await page.locator('.contents .done').nth(11).waitFor();
      expect(await page.locator('.contents .done').count()).toBe(12);
    });

    test('each link opens a state of the page, with the question and the way back', async () => {
      await goTo('lecture');
      const steps = await page.evaluate<string[]>(
        "[...document.querySelectorAll('.contents a')].map((link) => link.getAttribute('href'))",
      );
      expect(steps).toHaveLength(12);
      for (const address of steps) {
        await page.locator(`.contents a[href="${address}"]`).click();
        await page.locator('#step-title').waitFor();
        const asked = await text(page.locator('.asked'));
        const count = await page.locator('.step-links a').count();
        expect(count).toBeGreaterThan(0);
        for (let i = 0; i < count; i++) {
          await page.locator('.step-links a').nth(i).click();
          expect(await text(page.locator('.tour-bar p'))).toBe(asked);
          await page.locator('main h1').waitFor();
          expect(await page.locator('.banner.warning').count()).toBe(0);
          await page.locator('.tour-bar a').click();
          await page.locator('.asked', { hasText: asked }).waitFor();
        }
      }
      // The last training of the tour can be trained.
      await page.goto(`${server.url}#/lecture/exercise2`);
      await page.locator('.step-links a').nth(1).click();
      await ready(page);
      await step(page, 1);
    });

    test('shows the transforms, the statistics and the receptive field of its steps', async () => {
      await goTo('lecture/filters');
      expect(await text(page.locator('#stack-weights'))).toBe('110,592');
      expect(await text(page.locator('#single-weights'))).toBe('200,704');
      await page.locator('.field-demo input').first().focus();
      await page.keyboard.press('ArrowLeft');
      expect(await text(page.locator('#stack-weights'))).toBe('73,728');
      await page.locator('.contents a', { hasText: 'Pad, flip, crop' }).click();
      await page.locator('.stages canvas').nth(3).waitFor();
      const sizes = await page.evaluate<number[]>(
        "[...document.querySelectorAll('.stages canvas')].map(({ width }) => width)",
      );
      expect(sizes).toEqual([32, 40, 40, 32]);
      expect(await page.locator('.epoch-images canvas').count()).toBe(12);
      await page.locator('.contents a', { hasText: 'divided by 3' }).click();
      await page.locator('.demo .plot').waitFor();
      expect(await page.locator('.rates b').allTextContents()).toEqual([
        '0.001',
        '0.000333',
        '0.000111',
        '3.7e-5',
      ]);
      await page.locator('.contents a', { hasText: 'normalization' }).click();
      await page.locator('.statistics td').nth(5).waitFor();
      const [mean, deviation] = (await page.locator('.statistics td').allTextContents()).map(Number);
      expect(mean).toBeGreaterThan(0.2);
      expect(deviation).toBeGreaterThan(0.1);
    });

    test('searches: the first of six networks gets its accuracy, then it stops', async () => {
      await goTo('lecture/exercise4');
      await page.locator('#search').click();
      await page.locator('.trials .done').first().waitFor();
      expect(await text(page.locator('.trials .done b'))).toMatch(/^\d+(\.\d)?\s%$/);
      await page.getByRole('button', { name: 'Stop' }).click();
      await page.locator('#search').waitFor();
    });
  });

  test.each([390, 1920])('is not wider than a screen of %i pixels', async (width) => {
    await page.setViewportSize({ width, height: 900 });
    for (const language of ['en', 'ko']) {
      for (const place of [
        'build/vgg16-c/imagenet',
        'try',
        'lecture/table',
        'lecture/filters',
        'lecture/exercise4',
      ]) {
        await goTo(place);
        await page.locator('#language').selectOption(language);
        expect(
          await page.evaluate<number>('document.documentElement.scrollWidth'),
          place,
        ).toBeLessThanOrEqual(width);
      }
    }
  });
});
