/**
 * WebGPU in headless Chromium: the bits of trainings are those of Node on the same software adapter, in a page and in a
 * worker, and networks agree with the reference.
 */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Browser, Page } from 'playwright-core';
import { build } from 'rolldown';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { hasChromium, openBrowser, servePage, skipped, webgpuFlags } from './browser.ts';
import { conformanceCases } from './cases.ts';
import { softwareGpu } from './webgpu.ts';
import { type TrainingResult, trainings } from './webgpu-trainings.ts';

type Results = Readonly<Record<string, TrainingResult>>;
type Tests = { readonly tests: { trainings(): Promise<Results>; compare(index: number): Promise<string> } };

const fileOf = (name: string): string => fileURLToPath(new URL(name, import.meta.url));

/** Sources of the modules that bundles for browsers leave out. */
async function nodeOnly(): Promise<readonly string[]> {
  const { browser } = JSON.parse(await readFile(fileOf('../package.json'), 'utf8')) as { browser: object };
  return Object.keys(browser).map((path) => fileOf(path.replace('./dist', '../src').replace(/js$/, 'ts')));
}

/** `page.js`: what the tests run, as a bundle for browsers. */
async function bundleInto(folder: string): Promise<void> {
  const nothing = '\0node-only';
  const omitted = await nodeOnly();
  await build({
    input: { page: fileOf('webgpu-page.ts') },
    platform: 'browser',
    logLevel: 'silent',
    transform: { define: { 'import.meta.url': '""' } },
    plugins: [
      {
        name: 'for-browsers',
        resolveId(source, importer) {
          if (source === 'vitest') return fileOf('plain-expect.ts');
          return importer && omitted.includes(resolve(dirname(importer), source)) ? nothing : null;
        },
        load: (id) => (id === nothing ? 'export {};' : null),
      },
    ],
    output: { dir: folder, format: 'esm', entryFileNames: '[name].js', codeSplitting: false },
  });
}

// A part of them, and others than Node's suite takes, since each takes seconds there.
const cases = conformanceCases.flatMap(({ model }, i) => (i % 13 === 5 ? [[model.name, i] as const] : []));

describe.skipIf(!hasChromium)(`webgpu in Chromium${hasChromium ? '' : ` ${skipped}`}`, () => {
  let folder: string;
  let browser: Browser;
  let server: Awaited<ReturnType<typeof servePage>>;
  let page: Page;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'vggnet-webgpu-'));
    await bundleInto(folder);
    server = await servePage(folder);
    browser = await openBrowser(webgpuFlags);
    page = await browser.newPage();
    await page.goto(server.url);
    await page.waitForFunction(() => 'tests' in globalThis);
  });
  afterAll(async () => {
    await browser?.close();
    server?.[Symbol.dispose]();
    await rm(folder, { recursive: true });
  });

  const inPage = (): Promise<Results> =>
    page.evaluate(() => (globalThis as unknown as Tests).tests.trainings());

  /** In a module worker, the same script. */
  const inWorker = (): Promise<unknown> =>
    page.evaluate(
      () =>
        new Promise((resolve, reject) => {
          const { Worker } = globalThis as unknown as {
            Worker: new (file: string, options: object) => EventTarget;
          };
          const worker = new Worker('page.js', { type: 'module' });
          worker.addEventListener('message', (event) =>
            resolve((event as unknown as { data: unknown }).data),
          );
          worker.addEventListener('error', (event) =>
            reject(new Error((event as unknown as { message: string }).message)),
          );
        }),
    );

  test('trains in a page and in a worker, with the same bits', async () => {
    const results = await inPage();
    for (const [name, { device, losses }] of Object.entries(results)) {
      expect(device, name).toMatch(/^webgpu \(.*swiftshader/i);
      expect(losses.every(Number.isFinite), name).toBe(true);
      expect(losses.at(-1), name).toBeLessThan(losses[0]!);
    }
    expect(await inWorker()).toEqual(results);
  });

  test.skipIf(!softwareGpu)('trains with the bits of Node on the same adapter', async () => {
    const withoutDevice = (results: Results): object =>
      Object.fromEntries(Object.entries(results).map(([name, { device: _, ...rest }]) => [name, rest]));
    expect(withoutDevice(await inPage())).toEqual(withoutDevice(await trainings()));
  });

  test.each(cases)('%s', async (name, index) => {
    const compare = (at: number): Promise<string> => (globalThis as unknown as Tests).tests.compare(at);
    expect(await page.evaluate(compare, index)).toBe(name);
  });
});
