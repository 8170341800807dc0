/**
 * Images of a report for the documentation, by Debian's Chromium:
 *
 *     node docs/images/report.ts REPORT.html NAME [SECTION …]
 *
 * writes NAME.png, the head of the page; NAME-phone.png, the same on a phone; and NAME-SECTION.png for each section, by
 * its id in the page. `SECTION:dark` takes it in the dark theme.
 */
import { resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { openBrowser } from '../../test/browser.ts';

const [report, name, ...sections] = process.argv.slice(2);
if (report === undefined || name === undefined) {
  throw new Error('usage: node docs/images/report.ts REPORT.html NAME [SECTION[:dark] …]');
}
const place = (suffix: string): string => fileURLToPath(new URL(`${name}${suffix}.png`, import.meta.url));
const browser = await openBrowser();
try {
  const shots = [
    { id: undefined, theme: 'light', width: 1280, suffix: '' },
    { id: undefined, theme: 'light', width: 390, suffix: '-phone' },
    ...sections.map((section) => {
      const [id, theme = 'light'] = section.split(':');
      return { id, theme, width: 1280, suffix: `-${id}` };
    }),
  ];
  for (const { id, theme, width, suffix } of shots) {
    const page = await browser.newPage({
      viewport: { width, height: 1000 },
      colorScheme: theme === 'dark' ? 'dark' : 'light',
    });
    await page.goto(pathToFileURL(resolve(report)).href);
    if (id !== undefined)
      await page.locator(`#${id}`).evaluate((section) => section.scrollIntoView({ behavior: 'instant' }));
    await page.waitForTimeout(500);
    await page.screenshot({ path: place(suffix) });
    await page.close();
  }
} finally {
  await browser.close();
}
