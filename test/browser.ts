/** Chromium for tests of pages: Debian's own, driven by playwright-core. Tests are skipped, visibly, where it is missing. */
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Browser, Page } from 'playwright-core';

const chromium = process.env.VGGNET_TEST_CHROMIUM ?? '/usr/bin/chromium';
export const hasChromium: boolean = existsSync(chromium);
export const skipped = '(skipped without /usr/bin/chromium)';

/** With these, headless Chromium has WebGPU on its own software adapter. */
export const webgpuFlags: readonly string[] = ['--enable-unsafe-webgpu', '--use-webgpu-adapter=swiftshader'];

export async function openBrowser(flags: readonly string[] = []): Promise<Browser> {
  const playwright = await import('playwright-core');
  return playwright.chromium.launch({ executablePath: chromium, args: ['--no-sandbox', ...flags] });
}

/** With these, a page is cross-origin isolated: its workers share memory. */
export const isolating: Readonly<Record<string, string>> = {
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Cross-Origin-Embedder-Policy': 'require-corp',
};

/** Serves a folder on a free port: at `/` its `index.html`, or without one a page that runs `page.js`. */
export async function servePage(
  folder: string,
  headers: Readonly<Record<string, string>> = {},
): Promise<{ readonly url: string } & Disposable> {
  const server = createServer(async (request, response) => {
    const { pathname } = new URL(request.url ?? '/', 'http://localhost');
    const isPage = pathname === '/';
    response.setHeader('Content-Type', isPage ? 'text/html' : 'text/javascript');
    for (const [name, value] of Object.entries(headers)) response.setHeader(name, value);
    const page =
      '<!doctype html><link rel="icon" href="data:,"><script type="module" src="page.js"></script>';
    // A URL's path cannot lead outside.
    const file = join(folder, isPage ? 'index.html' : pathname);
    response.end(isPage && !existsSync(file) ? page : await readFile(file));
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
    [Symbol.dispose]: () => void server.close(),
  };
}

/** What a page must not do: errors, and requests to anything but what `allowed` names; by default only itself. */
export function complaintsOf(page: Page, allowed: RegExp = /^(file|data|blob):/): string[] {
  const complaints: string[] = [];
  page.on('console', (message) => {
    if (message.type() === 'error' || message.type() === 'warning') complaints.push(message.text());
  });
  page.on('pageerror', (error) => complaints.push(error.stack ?? error.message));
  page.on('request', (request) => {
    if (!allowed.test(request.url())) complaints.push(`request for ${request.url()}`);
  });
  return complaints;
}

/** What axe finds wrong with a page, in words. */
export async function accessibilityProblems(page: Page): Promise<readonly string[]> {
  const axe = await readFile(fileURLToPath(import.meta.resolve('axe-core/axe.min.js')), 'utf8');
  await page.evaluate(axe);
  return page.evaluate(async () => {
    const { axe } = globalThis as unknown as {
      axe: {
        run(): Promise<{
          violations: { id: string; help: string; nodes: { html: string; failureSummary: string }[] }[];
        }>;
      };
    };
    const { violations } = await axe.run();
    return violations.flatMap(({ id, help, nodes }) =>
      nodes.map(({ html, failureSummary }) => `${id}: ${help}: ${html.slice(0, 160)} ${failureSummary}`),
    );
  });
}
