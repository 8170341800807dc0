/**
 * WebAssembly with 256-bit vectors. V8 has an experimental pass that pairs adjacent 128-bit operations
 * (`--experimental-wasm-revectorize`); kernels are printed in pairs for it. Since it is experimental, its code must give
 * the same bits as V8's plain code for the same module, kernel by kernel, before it is used. A module that passed is kept
 * in the user's cache, for this version of V8 and this processor.
 */
import { randomUUID } from 'node:crypto';
import { closeSync } from 'node:fs';
import { rename, rm, writeFile } from 'node:fs/promises';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { Script } from 'node:vm';
import { makePrivateFolder } from '../../../files/private-folder.ts';
import { wasmPairsTarget } from '../../../kernels/catalogue.ts';
import { processorFeatures } from '../run/processor-node.ts';
import { hash, keptName, kernelDirectory, kernelFiles, openKept, removeOld } from './cache-node.ts';
import { type KernelSource, vectorsOf } from './library.ts';
import { hasFusedMultiplyAdds, type WasmModule, webAssembly } from './webassembly.ts';

export type Revectorized =
  | { readonly source: KernelSource }
  /** Why plain WebAssembly is used instead; `failed` if that is unexpected. */
  | { readonly reason: string; readonly failed: boolean };

/** The environment variable that turns it off. */
export const revectorizeVariable = 'VGGNET_REVECTORIZE';

const made = new Map<boolean, Promise<Revectorized>>();

/** All kernels, for shared or unshared memory. Made once per process. */
export function revectorizedKernels(
  shared: boolean,
  onNotice?: (line: string) => void,
): Promise<Revectorized> {
  let result = made.get(shared);
  if (!result) {
    result = make(shared, onNotice);
    made.set(shared, result);
  }
  return result;
}

async function make(shared: boolean, onNotice?: (line: string) => void): Promise<Revectorized> {
  if (/^(0|off|false|no)$/i.test(process.env[revectorizeVariable] ?? '')) {
    return { reason: `turned off by ${revectorizeVariable}`, failed: false };
  }
  if (process.arch !== 'x64') {
    return { reason: `V8 revectorizes only on x64, not on ${process.arch}`, failed: false };
  }
  const features = processorFeatures();
  if (!features.has('avx2')) {
    return { reason: 'the system reports no AVX2 on this processor', failed: false };
  }
  const fused = hasFusedMultiplyAdds();
  const cache = openCache(
    [shared, fused, process.version, process.versions.v8, cpus()[0]?.model, ...features],
    onNotice,
  );
  const kept = cache && readKept(cache);
  const bytes = kept ?? (await assemble(shared, fused));
  let module: WasmModule;
  try {
    module = revectorized(bytes, shared);
  } catch (error) {
    return { reason: `V8 cannot optimize the kernels: ${(error as Error).message}`, failed: true };
  }
  if (!kept) {
    const complaint = await selfTest(bytes, module, shared);
    if (complaint !== undefined) return { reason: `its self-test failed: ${complaint}`, failed: true };
    if (cache) await keep(cache, bytes);
  }
  return { source: { kind: 'wasm', variant: 'revectorized', ...vectorsOf(wasmPairsTarget), module } };
}

async function assemble(shared: boolean, fused: boolean): Promise<Uint8Array<ArrayBuffer>> {
  const [{ recordKernels }, { assembleModule }] = await Promise.all([
    import('../../../kernels/catalogue.ts'),
    import('../../../kernels/wasm.ts'),
  ]);
  return assembleModule(recordKernels(wasmPairsTarget), { shared, fused });
}

/** Compiles a module with V8's pass. @throws if V8 lacks it. */
function revectorized(bytes: Uint8Array<ArrayBuffer>, shared: boolean): WasmModule {
  // V8 caches compiled code by a module's bytes; an extra custom section makes them different.
  const marked = new Uint8Array(bytes.length + 4);
  marked.set(bytes);
  marked.set([0, 2, 1, 'r'.charCodeAt(0)], bytes.length);
  const module = new webAssembly.Module(marked);
  const memory = new webAssembly.Memory({ initial: 1, maximum: 65_536, shared });
  const kernels = new webAssembly.Instance(module, { env: { memory } }).exports;
  setFlagsFromString('--experimental-wasm-revectorize');
  setFlagsFromString('--allow-natives-syntax');
  try {
    // Skip the baseline compiler, which does not pair operations.
    const optimize = new Script('(kernel) => %WasmTierUpFunction(kernel)').runInThisContext();
    for (const kernel of Object.values(kernels)) optimize(kernel);
  } finally {
    setFlagsFromString('--no-allow-natives-syntax');
    setFlagsFromString('--no-experimental-wasm-revectorize');
  }
  return module;
}

/** Compares it with the same module as V8 compiles it usually. Returns what is wrong, if anything. */
async function selfTest(
  bytes: Uint8Array<ArrayBuffer>,
  module: WasmModule,
  shared: boolean,
): Promise<string | undefined> {
  const [{ checkMemory, testAgainstEachOther }, { openModule }] = await Promise.all([
    import('./self-test.ts'),
    import('./library.ts'),
  ]);
  const memories = [checkMemory(shared), checkMemory(shared)] as const;
  return testAgainstEachOther(
    [openModule(new webAssembly.Module(bytes), memories[0]), memories[0]],
    [openModule(module, memories[1]), memories[1]],
    wasmPairsTarget.widths[0]!.lanes,
  );
}

/** Where tested modules are kept. */
interface Cache {
  readonly directory: string;
  readonly key: string;
}

/** The place for a module with these properties; undefined if nothing can be kept, which only costs time. */
function openCache(properties: readonly unknown[], onNotice?: (line: string) => void): Cache | undefined {
  const files = kernelFiles();
  if (!files) return undefined;
  const directory = kernelDirectory();
  try {
    makePrivateFolder(directory, onNotice);
    return { directory, key: hash(...files, JSON.stringify(properties)) };
  } catch {
    // Others can write to it, or this user cannot.
    return undefined;
  }
}

/** The bytes of the module that was kept, if any. */
function readKept({ directory, key }: Cache): Uint8Array<ArrayBuffer> | undefined {
  try {
    const kept = openKept(directory, key, suffix);
    if (kept) closeSync(kept.fd);
    return kept?.content;
  } catch {
    return undefined;
  }
}

async function keep({ directory, key }: Cache, bytes: Uint8Array): Promise<void> {
  const name = keptName(key, bytes, suffix);
  const temporary = join(directory, `.${randomUUID()}`);
  try {
    await removeOld(directory);
    await writeFile(temporary, bytes, { flag: 'wx', mode: 0o600 });
    await rename(temporary, join(directory, name));
  } catch {
    // For instance a full disk: the next process assembles it again.
    await rm(temporary, { force: true }).catch(() => undefined);
  }
}

const suffix = '.wasm';
