/**
 * WebGPU in Node: Dawn, from npm's package `webgpu`, an optional peer dependency because it has 130 MB. It needs Vulkan's
 * loader on Linux, which is looked for and loaded first.
 */
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { pathToFileURL } from 'node:url';
import { VggError } from '../../errors.ts';
import { loadKoffi } from '../../koffi-node.ts';
import { codeUrl } from '../../package-files.ts';

interface Dawn {
  create(flags: readonly string[]): GPU;
}

/**
 * The entry to Dawn, one for the process. It is never collected: Dawn crashes once it is (dawn-gpu/node-webgpu#18).
 */
const kept = globalThis as { vggnetDawn?: GPU };

/** Places of Vulkan's loader beside the system's own. */
const loaders = ['/usr/lib/chromium/libvulkan.so.1', '/usr/lib64/libvulkan.so.1'];

/**
 * `flags` are Dawn's own, for measurements, as in `enable-dawn-features=disable_robustness`; those of the first call
 * count. @throws VggError if the package or Vulkan's loader is missing.
 */
export async function openEntry(adapter: number | undefined, flags: readonly string[] = []): Promise<GPU> {
  if (kept.vggnetDawn) return kept.vggnetDawn;
  // Drivers complain on the terminal where this is missing, although nothing here uses it.
  process.env.XDG_RUNTIME_DIR ??= tmpdir();
  loadVulkan();
  const { create } = await loadDawn();
  kept.vggnetDawn = create([...flags, ...(adapter === undefined ? [] : [`adapter=${adapter}`])]);
  return kept.vggnetDawn;
}

async function loadDawn(): Promise<Dawn> {
  let file: string;
  try {
    file = createRequire(codeUrl()).resolve('webgpu');
  } catch {
    throw new VggError("device 'webgpu' needs the npm package webgpu: npm install webgpu@0.6.2");
  }
  try {
    return (await import(/* @vite-ignore */ pathToFileURL(file).href)) as Dawn;
  } catch (error) {
    throw new VggError(
      `the npm package webgpu does not run on this machine: ${String((error as Error).message).split('\n')[0]}`,
      { cause: error },
    );
  }
}

/** Loads Vulkan's loader, which Dawn then finds by name. */
function loadVulkan(): void {
  if (process.platform !== 'linux') return;
  const koffi = (() => {
    try {
      return loadKoffi();
    } catch {
      // Dawn may find the loader by itself.
      return undefined;
    }
  })();
  if (!koffi) return;
  for (const file of ['libvulkan.so.1', ...loaders.filter((place) => existsSync(place))]) {
    try {
      koffi.load(file);
      return;
    } catch {
      // The next place.
    }
  }
  throw new VggError(
    "device 'webgpu' needs Vulkan's loader, libvulkan.so.1: install it (Debian and Ubuntu: apt install libvulkan1; " +
      'Fedora: vulkan-loader) and the driver of the GPU',
  );
}
