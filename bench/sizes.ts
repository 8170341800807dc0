/**
 * The gzip sizes of what pages load, in bytes (1 KB = 1000): `node bench/sizes.ts`. `test/sizes.test.ts` checks the limits.
 *
 * An engine is a device with everything that it imports, as one file: session, plans, kernels, their assembler, and the
 * worker. What is loaded on demand, for photos and unusual transforms, does not count. A page has more: layers, data sets and
 * the training loop, in `vggnet.js`.
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { gzipSync } from 'node:zlib';
import type { OutputChunk, Plugin } from 'rolldown';
import { bundleForBrowsers } from '../src/build/for-browsers.ts';

const source = (path: string): string => fileURLToPath(new URL(`../src/${path}`, import.meta.url));
const gzipped = (code: string): number => gzipSync(code, { level: 9 }).length;

/** What is loaded with the chunk `name`: its code and that of what it imports. */
function loadedWith(chunks: readonly OutputChunk[], name: string): readonly OutputChunk[] {
  const seen = new Set<string>();
  const visit = (fileName: string): void => {
    if (seen.has(fileName)) return;
    seen.add(fileName);
    chunks.find((chunk) => chunk.fileName === fileName)?.imports.forEach(visit);
  };
  visit(name);
  return chunks.filter(({ fileName }) => seen.has(fileName));
}

const total = (chunks: readonly OutputChunk[]): number =>
  chunks.reduce((sum, { code }) => sum + gzipped(code), 0);

/** The size of a program that keeps these exports, by module. */
async function sizeOf(exports: Readonly<Record<string, string>>): Promise<number> {
  const folder = await mkdtemp(join(tmpdir(), 'vggnet-sizes-'));
  try {
    const entry = join(folder, 'entry.ts');
    const lines = Object.entries(exports).map(
      ([name, path]) => `export { ${name} } from ${JSON.stringify(source(path))};`,
    );
    await writeFile(entry, lines.join('\n'));
    const onDemand = { name: 'on-demand', resolveDynamicImport: (id: string) => ({ id, external: true }) };
    const chunks = await bundleForBrowsers({
      ...{ input: { entry }, chunks: '', worker: false },
      plugins: [onDemand as Plugin],
    });
    return total(chunks);
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** Sizes in bytes by what they are of. */
export interface Sizes {
  readonly wasm: number;
  readonly webgpu: number;
  /** `vggnet.js` with what it always imports, and with what a training on WebAssembly loads. */
  readonly script: number;
  readonly training: number;
}

export async function measureSizes(): Promise<Sizes> {
  const wasm = { openWasm: 'engine/cpu/driver.ts' };
  const script = await bundleForBrowsers({ input: { vggnet: source('script.ts') }, chunks: 'vggnet/' });
  const always = loadedWith(script, 'vggnet.js');
  const driver = script.find(({ moduleIds }) => moduleIds.includes(source('engine/cpu/driver.ts')))!;
  const training = new Set([...always, ...loadedWith(script, driver.fileName)]);
  return {
    wasm: await sizeOf(wasm),
    webgpu: await sizeOf({ ...wasm, openWebgpu: 'engine/webgpu/driver.ts' }),
    script: total(always),
    training: total([...training]),
  };
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const { wasm, webgpu, script, training } = await measureSizes();
  const row = (what: string, bytes: number, limit?: number): string =>
    `${what.padEnd(44)}${(bytes / 1000).toFixed(1).padStart(7)} KB${limit === undefined ? '' : `   at most ${limit} KB`}`;
  console.log(row('engine with WebAssembly', wasm, 60));
  console.log(row('engine with WebAssembly and WebGPU', webgpu, 100));
  console.log(row('vggnet.js, before a device is loaded', script));
  console.log(row('vggnet.js and a training on WebAssembly', training));
}
