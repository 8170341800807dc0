/**
 * What is bundled for reports (Node only): the scripts of their pages as one text each, and for the published package
 * the chart library as one file. In the source tree Rolldown bundles a script when it is first needed; a build does so
 * once (`node src/report/bundle.ts dist/report`), and the package reads the result.
 */
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** `main` runs the network in the page; `plain` has only what every page has: the theme button and sortable tables. */
const scriptNames = ['main', 'plain'] as const;
export type PageScript = (typeof scriptNames)[number];

const bundled = new Map<PageScript, Promise<string>>();

/** A script of `page/`, ready to stand in a `script` element. */
export function pageScript(name: PageScript): Promise<string> {
  const script =
    bundled.get(name) ??
    (import.meta.url.endsWith('.ts')
      ? bundle(name)
      : readFile(new URL(`./page-${name}.js`, import.meta.url), 'utf8'));
  bundled.set(name, script);
  return script;
}

/** What runs in Node alone: never reached in a page, and not to be bundled. */
const nodeOnly = /(^node:)|(-node\.ts$)|(\/weight-files\.ts$)/;
const emptyModule = '\0node-only';

async function bundle(name: PageScript): Promise<string> {
  const { build } = await import('rolldown');
  const { output } = await build({
    input: fileURLToPath(new URL(`./page/${name}.ts`, import.meta.url)),
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

/** Writes the scripts, and in place of `plot.js` that module with all that it imports and their licences. */
async function build(folder: string): Promise<void> {
  for (const name of scriptNames) await writeFile(join(folder, `page-${name}.js`), await pageScript(name));
  const { build } = await import('rolldown');
  const { output } = await build({
    input: fileURLToPath(new URL('./plot.ts', import.meta.url)),
    platform: 'node',
    write: false,
    logLevel: 'warn',
    output: { format: 'esm', minify: true, codeSplitting: false },
  });
  const licences = await licencesOf(output[0].moduleIds);
  await writeFile(join(folder, 'plot.js'), `/*!\n${licences}\n*/\n${output[0].code}`);
}

/** The licences of the packages that these modules come from, each with its package's name. */
async function licencesOf(modules: readonly string[]): Promise<string> {
  const folders = new Set(modules.flatMap((id) => /^.*\/node_modules\/(?:@[^/]+\/)?[^/]+/.exec(id) ?? []));
  const texts = await Promise.all(
    [...folders].sort().map(async (folder) => {
      const { name, license } = JSON.parse(await readFile(join(folder, 'package.json'), 'utf8')) as {
        readonly name: string;
        readonly license?: string;
      };
      const file = (await readdir(folder)).find((entry) => /^licen[cs]e/i.test(entry));
      const text = file ? await readFile(join(folder, file), 'utf8') : (license ?? 'no licence named');
      return `${name}\n\n${text.trim().replaceAll('*/', '* /')}`;
    }),
  );
  return texts.join('\n\n---\n\n');
}

const [, program, folder] = process.argv;
if (folder !== undefined && program === fileURLToPath(import.meta.url)) await build(folder);
