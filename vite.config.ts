/**
 * Builds the studio (`src/studio`, docs/studio.md) into static files: `npx vite build`. All URLs are relative, so the
 * files work from any folder of any host.
 */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { defineConfig, type Plugin, type UserConfig } from 'vite';

const pathOf = (name: string): string => fileURLToPath(new URL(name, import.meta.url));

/** The sources of modules for Node, which `browser` in package.json leaves out of bundles. */
const { browser } = JSON.parse(readFileSync(pathOf('package.json'), 'utf8')) as { readonly browser: object };
const nodeOnly = Object.keys(browser).map((file) =>
  pathOf(file.replace('./dist', './src').replace(/js$/, 'ts')),
);

function withoutNode(): Plugin {
  const empty = '\0node-only';
  return {
    name: 'without-node',
    enforce: 'pre',
    resolveId: (source, importer) =>
      importer && nodeOnly.includes(resolve(dirname(importer), source)) ? empty : null,
    load: (id) => (id === empty ? 'export {};' : null),
  };
}

/** The file of the engine's threads, beside the worker's other chunks, with which it shares most modules. */
const threadFile = 'engine-thread.js';

/**
 * Names the program of the engine's threads. It is imported nowhere, but `import()` makes it a chunk, whose file is then
 * started as a worker. The condition never holds; a bundler does not know that.
 */
function threadProgram(): Plugin {
  const module = pathOf('src/engine/cpu/run/worker-text.ts');
  const entry = pathOf('src/engine/cpu/run/worker-entry.ts');
  return {
    name: 'thread-program',
    load: (id) =>
      id === module
        ? `export const workerText = undefined;
           export const workerFile = new URL(['.', ${JSON.stringify(threadFile)}].join('/'), import.meta.url);
           if (workerFile.protocol === 'never:') await import(${JSON.stringify(entry)});`
        : null,
    // package.json says that modules do nothing by themselves; this one starts to listen.
    transform: (code, id) => (id === entry ? { code, moduleSideEffects: true } : null),
  };
}

const chunkFileNames = ({ name }: { readonly name: string }): string =>
  name === 'worker-entry' ? `assets/${threadFile}` : 'assets/[name]-[hash].js';

/** Writes `sw.js` last: it names all other files, and its version is a hash of their contents. */
function serviceWorker(): Plugin {
  return {
    name: 'service-worker',
    apply: 'build',
    enforce: 'post',
    async generateBundle(_, bundle) {
      const files = Object.values(bundle)
        .filter(({ fileName }) => !fileName.endsWith('.map'))
        .sort((a, b) => (a.fileName < b.fileName ? -1 : 1));
      const hash = createHash('sha256');
      for (const file of files)
        hash.update(file.fileName).update(file.type === 'chunk' ? file.code : file.source);
      const source = await readFile(pathOf('src/studio/service-worker.js'), 'utf8');
      hash.update(source);
      const names = JSON.stringify(files.map(({ fileName }) => fileName));
      this.emitFile({
        type: 'asset',
        fileName: 'sw.js',
        source: `const version = '${hash.digest('hex').slice(0, 16)}';\nconst files = ${names};\n${source}`,
      });
    },
  };
}

const plugins = (): Plugin[] => [withoutNode(), threadProgram()];

/** With these, a page is isolated from other origins, and its threads share memory. */
const headers = {
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Cross-Origin-Embedder-Policy': 'require-corp',
};

const config: UserConfig = defineConfig({
  root: pathOf('src/studio'),
  base: './',
  publicDir: false,
  oxc: { jsx: { runtime: 'automatic', importSource: 'preact' } },
  plugins: [...plugins(), serviceWorker()],
  worker: { format: 'es', plugins, rolldownOptions: { output: { chunkFileNames } } },
  preview: { headers },
  build: {
    outDir: pathOf('dist/studio'),
    emptyOutDir: true,
    target: 'es2024',
    // The policy of the page forbids data URLs of scripts, and a file is cached better.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
});
export default config;
