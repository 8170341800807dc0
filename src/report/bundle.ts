/**
 * The page's script as one text (Node only). In the source tree it is bundled by Rolldown when it is first needed; a
 * build does so once (`node src/report/bundle.ts dist/report/page.txt`), and the published package reads the result.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';

let bundled: Promise<string> | undefined;

/** The script, ready to stand in a `script` element. */
export function pageScript(): Promise<string> {
  bundled ??= import.meta.url.endsWith('.ts')
    ? bundle()
    : readFile(new URL('./page-script.js', import.meta.url), 'utf8');
  return bundled;
}

/** What runs in Node alone: never reached in a page, and not to be bundled. */
const nodeOnly = /(^node:)|(-node\.ts$)|(\/weight-files\.ts$)/;
const emptyModule = '\0node-only';

async function bundle(): Promise<string> {
  const { build } = await import('rolldown');
  const { output } = await build({
    input: fileURLToPath(new URL('./page/main.ts', import.meta.url)),
    platform: 'browser',
    write: false,
    logLevel: 'warn',
    transform: { define: { 'import.meta.url': '""' } },
    plugins: [
      {
        name: 'without-node',
        resolveId: (source: string) => (nodeOnly.test(source) ? emptyModule : null),
        load: (id: string) => (id === emptyModule ? 'export {};' : null),
      },
    ],
    output: { format: 'iife', minify: true, codeSplitting: false },
  });
  // Nothing in the script may end its element.
  return output[0].code.trim().replaceAll('</script', '<\\/script');
}

const [, program, target] = process.argv;
if (target !== undefined && program === fileURLToPath(import.meta.url))
  await writeFile(target, await pageScript());
