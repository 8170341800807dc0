/** Builds the studio once, serves it like a static host, and opens it in Chromium. */
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { extname, join, resolve, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import type { Page } from 'playwright-core';
import { build } from 'vite';
import { isolating } from './browser.ts';

const types: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.svg': 'image/svg+xml',
};

/** The built files, in a folder that is removed at the end. */
export async function builtStudio(): Promise<{ readonly folder: string } & AsyncDisposable> {
  const folder = await mkdtemp(join(tmpdir(), 'vggnet-studio-'));
  // Vitest has set it to `test`, which Vite would take for a build to debug.
  const { NODE_ENV } = process.env;
  process.env.NODE_ENV = 'production';
  try {
    await build({
      configFile: fileURLToPath(new URL('../vite.config.ts', import.meta.url)),
      logLevel: 'error',
      build: { outDir: folder, emptyOutDir: true },
    });
  } finally {
    process.env.NODE_ENV = NODE_ENV;
  }
  return { folder, [Symbol.asyncDispose]: () => rm(folder, { recursive: true }) };
}

export interface ServedStudio extends Disposable {
  readonly url: string;
  /** Bytes after gzip of each file that was fetched, by name; in the order of fetching. */
  readonly fetched: ReadonlyMap<string, number>;
  /** The host goes offline. */
  readonly close: () => Promise<void>;
}

/** Serves a folder below a path, as a school's server would. `isolated`: with the headers that let threads share memory. */
export async function serveStudio(
  folder: string,
  { isolated = true }: { readonly isolated?: boolean } = {},
): Promise<ServedStudio> {
  const base = '/some/where/';
  const fetched = new Map<string, number>();
  const server = createServer(async (request, response) => {
    const { pathname } = new URL(request.url ?? '/', 'http://localhost');
    const name = pathname === base ? 'index.html' : pathname.slice(base.length);
    const path = resolve(folder, name);
    const type = types[extname(path)];
    if (!pathname.startsWith(base) || !path.startsWith(folder + sep) || type === undefined) {
      response.writeHead(404).end();
      return;
    }
    const bytes = await readFile(path).catch(() => undefined);
    if (!bytes) {
      response.writeHead(404).end();
      return;
    }
    fetched.set(name, gzipSync(bytes).length);
    response.writeHead(200, { 'Content-Type': type, ...(isolated && isolating) }).end(bytes);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const close = async (): Promise<void> => {
    server.closeAllConnections();
    if (server.listening) await new Promise((resolve) => server.close(resolve));
  };
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}${base}`,
    fetched,
    close,
    [Symbol.dispose]: () => void close(),
  };
}

/** What a page of the studio must not do: errors, warnings, and requests to anything but its own files. */
export function complaintsAbout(page: Page, url: string): string[] {
  const complaints: string[] = [];
  page.on('console', (message) => {
    if (message.type() !== 'error' && message.type() !== 'warning') return;
    // Playwright itself blocks service workers where a test does not want one.
    if (!message.text().includes('blocked by Playwright')) complaints.push(message.text());
  });
  page.on('pageerror', (error) => complaints.push(error.stack ?? error.message));
  page.on('request', (request) => {
    const own = request.url().startsWith(url) || /^(blob|data):/.test(request.url());
    if (!own) complaints.push(`request for ${request.url()}`);
  });
  return complaints;
}

/** Waits until the training is prepared. */
export async function ready(page: Page): Promise<void> {
  await page.locator('#run:not([disabled])').waitFor();
}

/** Opens a view through its link. */
export async function open(page: Page, view: string): Promise<void> {
  await page.locator(`nav a[href="#/${view}"]`).click();
  await page.locator(`nav a[href="#/${view}"][aria-current="page"]`).waitFor();
  await page.locator('main h1').waitFor();
}

/** The number of steps that the page shows. */
export const stepsOf = async (page: Page): Promise<number> =>
  Number((await page.locator('#step-count').textContent())?.replaceAll(/\D/g, ''));

/** Trains so many single steps. */
export async function step(page: Page, count: number): Promise<void> {
  const before = await stepsOf(page);
  for (let i = 1; i <= count; i++) {
    await page.locator('#step:not([disabled])').click();
    await page.locator('#step-count', { hasText: new RegExp(`^${before + i}$`) }).waitFor();
  }
}

/** The fingerprint of the weights, from the view Share. */
export async function fingerprint(page: Page): Promise<string> {
  await open(page, 'share');
  return (await page.locator('#fingerprint').textContent()) ?? '';
}
