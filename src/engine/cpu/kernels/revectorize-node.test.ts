import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { recordKernel, wasmPairsTarget } from '../../../kernels/catalogue.ts';
import { assembleModule } from '../../../kernels/wasm.ts';
import { keptName } from './cache-node.ts';
import { revectorizedKernels } from './revectorize-node.ts';
import { webAssembly } from './webassembly.ts';

const possible = 'source' in (await revectorizedKernels(false));

describe.skipIf(!possible)('the cache of revectorized kernels', () => {
  let home: string;
  let folder: string;
  beforeEach(() => {
    home = mkdtempSync(join(tmpdir(), 'vggnet-wasm-'));
    folder = join(home, 'vggnet', 'kernels');
    vi.stubEnv('XDG_CACHE_HOME', home);
  });
  afterEach(() => {
    vi.unstubAllEnvs();
    rmSync(home, { recursive: true, force: true });
  });

  /** Names of the kernels that a new process gets. */
  async function start(shared = false): Promise<readonly string[]> {
    vi.resetModules();
    const fresh = await import('./revectorize-node.ts');
    const result = await fresh.revectorizedKernels(shared);
    if (!('source' in result) || result.source.kind !== 'wasm') throw new TypeError('not revectorized');
    const memory = new webAssembly.Memory({ initial: 1, maximum: 65_536, shared });
    return Object.keys(new webAssembly.Instance(result.source.module, { env: { memory } }).exports);
  }

  test('a module that passed its self-test is kept and used again', async () => {
    const kernels = await start();
    expect(kernels).toContain('gemmNN');
    const [name, ...others] = readdirSync(folder);
    expect(others).toEqual([]);
    expect(name).toMatch(/^[0-9a-f]{32}-[0-9a-f]{32}\.wasm$/);
    // Shows that the kept one is used, without a test: it has one kernel only.
    const [key] = name!.split('-');
    const small = assembleModule([recordKernel('fill', wasmPairsTarget)], { shared: false, fused: true });
    rmSync(join(folder, name!));
    writeFileSync(join(folder, keptName(key!, small, '.wasm')), small);
    expect(await start()).toEqual(['fill']);
    // Shared memory is another module.
    expect(await start(true)).toEqual(kernels);
    expect(readdirSync(folder)).toHaveLength(2);
  });

  test('a damaged module is replaced', async () => {
    const kernels = await start();
    const [name] = readdirSync(folder);
    const file = join(folder, name!);
    const whole = readFileSync(file);
    writeFileSync(file, whole.subarray(0, 1000));
    expect(await start()).toEqual(kernels);
    expect(readdirSync(folder)).toEqual([name]);
    expect(readFileSync(file).equals(whole)).toBe(true);
  });

  test.each([
    ['a folder that others can write to', (): void => chmodSync(folder, 0o777)],
    [
      'a file in place of the folder',
      (): void => {
        rmSync(folder, { recursive: true });
        writeFileSync(folder, '');
      },
    ],
  ])('%s is not used', async (_, change) => {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    change();
    expect(await start()).toContain('gemmNN');
    rmSync(folder, { recursive: true });
  });
});
