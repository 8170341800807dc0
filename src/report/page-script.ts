/**
 * The scripts of reports' pages, each as one text. In the source tree Rolldown bundles a script when it is first needed. A
 * build writes the texts in place of this module (`bundle.ts`): the package needs no bundler and can be bundled itself.
 */
import { fileURLToPath } from 'node:url';

/** `main` runs the network in the page; `plain` has only what every page has: the theme button and sortable tables. */
export const scriptNames = ['main', 'plain'] as const;
export type PageScript = (typeof scriptNames)[number];

const bundled = new Map<PageScript, Promise<string>>();

/** A script of `page/`, ready to stand in a `script` element. */
export function pageScript(name: PageScript): Promise<string> {
  const script = bundled.get(name) ?? bundle(name);
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
