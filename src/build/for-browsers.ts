/** Bundles for browsers, with Rolldown: what Node alone needs is left out, as `browser` in package.json says. */
import { readFile } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build, type OutputChunk, type Plugin } from 'rolldown';

const root = fileURLToPath(new URL('../../', import.meta.url));
const nothing = '\0node-only';
const workerText = resolve(root, 'src/engine/cpu/run/worker-text.ts');
const workerEntry = resolve(root, 'src/engine/cpu/run/worker-entry.ts');

/** Where a bundle's worker is: `worker.js` beside its chunks. */
const besideChunks =
  "export const workerText = undefined;\nexport const workerFile = new URL('./worker.js', import.meta.url);\n";

/** Leaves out the modules for Node, and names the worker's file. */
export async function forBrowsers(): Promise<Plugin> {
  const { browser } = JSON.parse(await readFile(resolve(root, 'package.json'), 'utf8')) as {
    browser: object;
  };
  const omitted = new Set(
    Object.keys(browser).map((path) => resolve(root, path.replace('./dist', 'src').replace(/js$/, 'ts'))),
  );
  return {
    name: 'for-browsers',
    resolveId: (source, importer) =>
      importer && omitted.has(resolve(dirname(importer), source)) ? nothing : null,
    load: (id) => (id === nothing ? 'export {};' : id === workerText ? besideChunks : null),
  };
}

export interface BrowserBundle {
  /** Files by name: `page` of `page.js`. */
  readonly input: Readonly<Record<string, string>>;
  /** Folder of the chunks, among them the worker, relative to that of the entries. */
  readonly chunks: string;
  /** Writes here; otherwise only the result is returned. */
  readonly dir?: string;
  /** Whether to add the worker; true by default. */
  readonly worker?: boolean;
  readonly plugins?: readonly Plugin[];
}

/** Bundles modules with what they import; what is loaded on demand is in chunks. */
export async function bundleForBrowsers({
  input,
  chunks,
  dir,
  worker = true,
  plugins = [],
}: BrowserBundle): Promise<readonly OutputChunk[]> {
  const { output } = await build({
    input: { ...input, ...(worker && { [`${chunks}worker`]: workerEntry }) },
    platform: 'browser',
    write: dir !== undefined,
    logLevel: 'warn',
    plugins: [...plugins, await forBrowsers()],
    output: {
      ...(dir !== undefined && { dir }),
      format: 'esm',
      minify: true,
      entryFileNames: '[name].js',
      chunkFileNames: `${chunks}[name].js`,
    },
  });
  return output.filter((file): file is OutputChunk => file.type === 'chunk');
}
