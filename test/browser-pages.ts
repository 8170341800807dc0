/** Opens pages of `page/browser-page.ts` in Chromium, and calls its functions. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Browser, Page } from 'playwright-core';
import { bundleForBrowsers } from '../src/build/for-browsers.ts';
import { complaintsOf, isolating, openBrowser, servePage } from './browser.ts';

/** Where a function of the page runs. */
export type Side = 'inPage' | 'inWorker';

/** A page and what it complained about. */
export interface OpenPage {
  readonly page: Page;
  /** Errors and warnings of the console. */
  readonly complaints: readonly string[];
  readonly call: <T = unknown>(name: string, ...args: readonly unknown[]) => Promise<T>;
}

/** The bundle, a server with and one without isolation, and a browser. */
export interface Pages extends AsyncDisposable {
  readonly browser: Browser;
  readonly open: (isolated: boolean, side?: Side) => Promise<OpenPage>;
}

export async function openPages(flags: readonly string[] = []): Promise<Pages> {
  const folder = await mkdtemp(join(tmpdir(), 'vggnet-pages-'));
  const input = { page: fileURLToPath(new URL('./page/browser-page.ts', import.meta.url)) };
  await bundleForBrowsers({ input, chunks: '', dir: folder });
  const servers = { plain: await servePage(folder), isolated: await servePage(folder, isolating) };
  const browser = await openBrowser(flags);
  return {
    browser,
    open: async (isolated, side = 'inWorker') => {
      const context = await browser.newContext();
      const page = await context.newPage();
      const complaints = complaintsOf(page, /^(blob|http):/);
      await page.goto(servers[isolated ? 'isolated' : 'plain'].url);
      await page.waitForFunction(() => 'tests' in globalThis);
      return {
        page,
        complaints,
        call: async <T>(name: string, ...args: readonly unknown[]) =>
          (await page.evaluate(
            ([where, own, given]) =>
              (
                globalThis as unknown as { tests: Record<Side, (...call: unknown[]) => Promise<unknown>> }
              ).tests[where as Side](own, given),
            [side, name, args] as const,
          )) as T,
      };
    },
    [Symbol.asyncDispose]: async () => {
      await browser.close();
      for (const server of Object.values(servers)) server[Symbol.dispose]();
      await rm(folder, { recursive: true });
    },
  };
}
