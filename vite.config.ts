/**
 * Builds the studio (`src/studio`, docs/studio.md) into static files: `npx vite build`. All URLs are relative, so the
 * files work from any folder of any host. The worker's own threads start from text, since a bundle has no file of theirs.
 */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'rolldown';
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

/** The program of the engine's workers, as text. */
function workerText(): Plugin {
  const module = pathOf('src/engine/cpu/run/worker-text.ts');
  return {
    name: 'worker-text',
    async load(id) {
      if (id !== module) return null;
      const { output } = await build({
        input: pathOf('src/engine/cpu/run/worker-entry.ts'),
        platform: 'browser',
        write: false,
        logLevel: 'warn',
        transform: { define: { 'import.meta.url': '""' } },
        plugins: [withoutNode()],
        output: { format: 'iife', minify: true, codeSplitting: false },
      });
      return `export const workerText = ${JSON.stringify(output[0].code)};`;
    },
  };
}

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

const plugins = (): Plugin[] => [withoutNode(), workerText()];

const config: UserConfig = defineConfig({
  root: pathOf('src/studio'),
  base: './',
  publicDir: false,
  oxc: { jsx: { runtime: 'automatic', importSource: 'preact' } },
  plugins: [...plugins(), serviceWorker()],
  worker: { format: 'es', plugins },
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
