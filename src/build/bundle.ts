/**
 * The part of a build that bundles (`node src/build/bundle.ts dist`). Some modules read the source tree or need packages
 * that only development has; the build writes their results in their place. Not published.
 */
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type BuildOptions, build, type OutputOptions } from 'rolldown';
import { pageScript, scriptNames } from '../report/page-script.ts';
import { bundleForBrowsers } from './for-browsers.ts';

async function bundleInto(dist: string): Promise<void> {
  const scripts = await Promise.all(scriptNames.map(async (name) => [name, await pageScript(name)]));
  const texts = JSON.stringify(Object.fromEntries(scripts));
  await writeFile(
    join(dist, 'report/page-script.js'),
    `const scripts = ${texts};\nexport const pageScript = async (name) => scripts[name];\n`,
  );
  // A worker from text has no place that a URL could name; it is told all that it loads.
  const worker = await bundled('../engine/cpu/run/worker-entry.ts', {
    transform: { define: { 'import.meta.url': '""' } },
    output: { format: 'iife' },
  });
  const text = JSON.stringify(worker.code);
  await writeFile(
    join(dist, 'engine/cpu/run/worker-text.js'),
    `export const workerText = ${text};\nexport const workerFile = undefined;\n`,
  );
  // A worker starts in half the time from one file as from eighty.
  const { code: entry } = await bundled('../engine/cpu/run/worker-entry.ts', { output: { format: 'esm' } });
  await writeFile(join(dist, 'engine/cpu/run/worker-entry.js'), entry);
  const { code, moduleIds } = await bundled('../report/plot.ts', {
    // linkedom would use the package canvas where there is one; its own stand-in beside that import does.
    plugins: [
      {
        name: 'without-canvas',
        resolveId: (source, importer) =>
          source === 'canvas' && importer !== undefined ? join(dirname(importer), 'canvas-shim.cjs') : null,
      },
    ],
    output: { format: 'esm' },
  });
  await writeFile(join(dist, 'report/plot.js'), `/*!\n${await licensesOf(moduleIds)}\n*/\n${code}`);
}

/** A module with all that it imports, in one file. */
async function bundled(
  module: string,
  { output, ...options }: BuildOptions & { readonly output: OutputOptions },
): Promise<{ readonly code: string; readonly moduleIds: readonly string[] }> {
  const result = await build({
    ...options,
    input: fileURLToPath(new URL(module, import.meta.url)),
    platform: 'node',
    write: false,
    logLevel: 'warn',
    output: { ...output, minify: true, codeSplitting: false },
  });
  return result.output[0];
}

/** The licenses of the packages that these modules come from, each with its package's name. */
async function licensesOf(modules: readonly string[]): Promise<string> {
  const folders = new Set(modules.flatMap((id) => /^.*\/node_modules\/(?:@[^/]+\/)?[^/]+/.exec(id) ?? []));
  const texts = await Promise.all(
    [...folders].sort().map(async (folder) => {
      const { name, license } = JSON.parse(await readFile(join(folder, 'package.json'), 'utf8')) as {
        readonly name: string;
        readonly license?: string;
      };
      const file = (await readdir(folder)).find((entry) => /^licen[cs]e/i.test(entry));
      const text = file ? await readFile(join(folder, file), 'utf8') : (license ?? 'no license named');
      return `${name}\n\n${text.trim().replaceAll('*/', '* /')}`;
    }),
  );
  return texts.join('\n\n---\n\n');
}

/** The core for pages without a bundler: `vggnet.js`, and its chunks in `vggnet/`. */
async function scriptInto(dist: string): Promise<void> {
  const input = { vggnet: fileURLToPath(new URL('../script.ts', import.meta.url)) };
  await bundleForBrowsers({ input, chunks: 'vggnet/', dir: dist });
}

const [, , dist] = process.argv;
if (dist !== undefined) {
  await bundleInto(dist);
  await scriptInto(dist);
}
