/** Chromium for tests of pages: Debian's own, driven by playwright-core. Tests are skipped, visibly, where it is missing. */
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import type { Browser, Page } from 'playwright-core';

const chromium = process.env.VGGNET_TEST_CHROMIUM ?? '/usr/bin/chromium';
export const hasChromium: boolean = existsSync(chromium);
export const skipped = '(skipped without /usr/bin/chromium)';

export async function openBrowser(): Promise<Browser> {
  const playwright = await import('playwright-core');
  return playwright.chromium.launch({ executablePath: chromium, args: ['--no-sandbox'] });
}

/** What a page must not do: errors, and requests to anything but itself. */
export function complaintsOf(page: Page): string[] {
  const complaints: string[] = [];
  page.on('console', (message) => {
    if (message.type() === 'error' || message.type() === 'warning') complaints.push(message.text());
  });
  page.on('pageerror', (error) => complaints.push(error.stack ?? error.message));
  page.on('request', (request) => {
    if (!/^(file|data|blob):/.test(request.url())) complaints.push(`request for ${request.url()}`);
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
