/**
 * WebGPU in Node: Dawn, from npm's package `webgpu`, an optional peer dependency because it has 130 MB. It needs Vulkan's
 * loader on Linux, which is looked for and loaded first.
 */
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { pathToFileURL } from 'node:url';
import { UsageError, VggError } from '../../errors.ts';
import { loadKoffi } from '../../koffi-node.ts';
import { parseWhole } from '../../numbers.ts';
import { codeUrl } from '../../package-files.ts';
import { counted } from '../../words.ts';

interface Dawn {
  create(flags: readonly string[]): GPU;
}

/** The entries to Dawn, by adapter. They are never collected: Dawn crashes once one is (dawn-gpu/node-webgpu#18). */
const kept = globalThis as { vggnetDawn?: Map<string, GPU> };

/** Places of Vulkan's loader beside the system's own. */
const loaders = ['/usr/lib/chromium/libvulkan.so.1', '/usr/lib64/libvulkan.so.1'];

/**
 * `flags` are Dawn's own, for measurements, as in `enable-dawn-features=disable_robustness`; for each adapter, those of
 * the first call count.
 * @throws VggError if the package or Vulkan's loader is missing, UsageError if there is no such adapter.
 */
export async function openEntry(
  adapter: string = process.env.VGGNET_ADAPTER ?? '',
  flags: readonly string[] = [],
): Promise<GPU> {
  return entryOf(adapter === '' ? '' : nameOf(adapter, await listAdapters()), flags);
}

/** Dawn chooses an adapter by a part of its name. */
async function entryOf(name: string, flags: readonly string[] = []): Promise<GPU> {
  kept.vggnetDawn ??= new Map();
  const known = kept.vggnetDawn.get(name);
  if (known) return known;
  // Drivers complain on the terminal where this is missing, although nothing here uses it.
  process.env.XDG_RUNTIME_DIR ??= tmpdir();
  loadVulkan();
  const { create } = await loadDawn();
  const made = create([...flags, ...(name === '' ? [] : [`adapter=${name}`])]);
  kept.vggnetDawn.set(name, made);
  return made;
}

/** No adapter has such a name, so Dawn lists those that it has. */
const nobody = 'no adapter has this name';

/** Names of the adapters, in Dawn's order. @throws VggError if the package or Vulkan's loader is missing. */
export async function listAdapters(): Promise<readonly string[]> {
  const gpu = await entryOf(nobody);
  try {
    await gpu.requestAdapter();
  } catch (error) {
    return [...String((error as Error).message).matchAll(/^ \* backend: '\w+', name: '(.*)'$/gm)].map(
      ([, name]) => name!,
    );
  }
  return [];
}

/** The name of an adapter that is given by its number or a part of its name. @throws UsageError if there is none. */
export function nameOf(given: string, names: readonly string[]): string {
  const list = names.map((name, i) => `${i}: ${name}`).join(', ') || 'none';
  const index = parseWhole(given);
  if (index === undefined) {
    const own = names.find((name) => name.includes(given));
    if (own !== undefined) return own;
    throw new UsageError(`--adapter ${given}: no adapter has a name with these letters; adapters: ${list}`);
  }
  const name = names[index];
  if (name === undefined)
    throw new UsageError(
      `--adapter ${given}: there ${names.length === 1 ? 'is' : 'are'} ${counted(names.length, 'adapter')}: ${list}`,
    );
  // The first one whose name holds it would be taken.
  const first = names.findIndex((own) => own.includes(name));
  if (first === index) return name;
  throw new UsageError(
    `--adapter ${given}: the npm package webgpu chooses by name and would take adapter ${first}, whose name holds "${name}", too; ` +
      'hide the other GPU from this process, for instance with the limits of a container or of Slurm',
  );
}

/** What `vgg doctor` says of the package. @throws VggError if it is missing. */
export function packageFacts(): { readonly version: string; readonly file: string } {
  const file = resolvePackage();
  const { version } = JSON.parse(readFileSync(new URL('package.json', pathToFileURL(file)), 'utf8')) as {
    version: string;
  };
  return { version, file };
}

function resolvePackage(): string {
  try {
    return createRequire(codeUrl()).resolve('webgpu');
  } catch {
    throw new VggError("device 'webgpu' needs the npm package webgpu: npm install webgpu@0.6.2");
  }
}

async function loadDawn(): Promise<Dawn> {
  const file = resolvePackage();
  try {
    return (await import(/* @vite-ignore */ pathToFileURL(file).href)) as Dawn;
  } catch (error) {
    throw new VggError(
      `the npm package webgpu does not run on this machine: ${String((error as Error).message).split('\n')[0]}`,
      { cause: error },
    );
  }
}

/**
 * Loads Vulkan's loader, which Dawn then finds by name; returns the file. Undefined where none is needed, or koffi is
 * missing and Dawn may find it by itself. @throws VggError if it is missing.
 */
export function loadVulkan(): string | undefined {
  if (process.platform !== 'linux') return undefined;
  const koffi = (() => {
    try {
      return loadKoffi();
    } catch {
      return undefined;
    }
  })();
  if (!koffi) return undefined;
  for (const file of ['libvulkan.so.1', ...loaders.filter((place) => existsSync(place))]) {
    try {
      koffi.load(file);
      return file;
    } catch {
      // The next place.
    }
  }
  throw new VggError(
    "device 'webgpu' needs Vulkan's loader, libvulkan.so.1: install it (Debian and Ubuntu: apt install libvulkan1; " +
      'Fedora: vulkan-loader) and the driver of the GPU',
  );
}
