/** The command line on a GPU: SwiftShader stands for one. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openGpu } from '../src/engine/webgpu/device.ts';
import { type Run, vgg } from './run-vgg.ts';
import { softwareEnvironment, softwareGpu } from './webgpu.ts';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'vggnet-gpu-'));
  const layers = [
    ...[
      { kind: 'conv2d', out: 4, kernel: 3, padding: 1 },
      { kind: 'relu' },
      { kind: 'maxPool2d', kernel: 8 },
    ],
    ...[{ kind: 'flatten' }, { kind: 'linear', out: 'classes' }],
  ];
  writeFileSync(join(folder, 'small.json'), JSON.stringify({ layers }));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const gpu = (args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<Run> =>
  vgg(args, { env: { ...softwareEnvironment, ...env } });

/** `vgg train` of two steps on the GPU. */
const training = (): string[] => [
  ...['train', '--model', join(folder, 'small.json'), '--dataset', 'shapes', '--batch-size', '50'],
  ...['--steps', '2', '--no-run', '--device', 'webgpu'],
];

/** A program's environment in which a module changes something before it starts. */
function patched(name: string, text: string): Readonly<Record<string, string>> {
  const file = join(folder, `${name}.cjs`);
  writeFileSync(file, text);
  return { NODE_OPTIONS: `--require=${file}` };
}

const withoutPackage = (): Readonly<Record<string, string>> =>
  patched(
    'no-package',
    `const Module = require('node:module');
     const resolve = Module._resolveFilename;
     Module._resolveFilename = (name, ...rest) => {
       if (name === 'webgpu') throw Object.assign(new Error('Cannot find webgpu'), { code: 'MODULE_NOT_FOUND' });
       return resolve(name, ...rest);
     };`,
  );

/** As where no file of Vulkan's loader is. */
const withoutLoader = (): Readonly<Record<string, string>> =>
  patched(
    'no-loader',
    `const Module = require('node:module');
     const load = Module._load;
     Module._load = (name, ...rest) => {
       if (name !== 'koffi') return load(name, ...rest);
       return new Proxy(load(name, ...rest), {
         get: (koffi, key) => key !== 'load' ? koffi[key] : (file) => {
           if (file.includes('vulkan')) throw new Error('cannot open shared object file');
           return koffi.load(file);
         },
       });
     };`,
  );

describe.skipIf(!softwareGpu)('vgg with --device webgpu', () => {
  test('a run continues on another device and back; its records and the report name the adapter', async () => {
    const run = join(folder, 'run');
    const common = ['--resume', run, '--no-report'];
    const start = [
      ...training().slice(0, 7),
      '--steps',
      '2',
      '--run',
      run,
      '--no-report',
      '--device',
      'wasm',
    ];
    expect((await gpu(start)).code).toBe(0);
    const onGpu = await gpu(['train', ...common, '--steps', '3', '--device', 'webgpu']);
    expect(onGpu.stderr).toContain('The run started with other kernels');
    expect(
      onGpu.stderr.match(/webgpu uses a software adapter \(.*SwiftShader.*\), which is far slower/g),
    ).toHaveLength(1);
    expect(onGpu.code).toBe(0);
    const environment = (): {
      kernels: { after: number; name: string }[];
      tiles: object;
      description: string;
    } => JSON.parse(readFileSync(join(run, 'env.json'), 'utf8'));
    const { tiles, description } = environment();
    expect(description).toMatch(/^webgpu \(.*SwiftShader/);
    expect(tiles).toMatchObject({ name: 'software', adapter: description.slice(8, -1) });
    // Another table, as `vgg doctor --tune` may store one, is kept on the same adapter.
    const changed = { ...environment(), tiles: { ...tiles, name: 'measured', groups: 3 } };
    writeFileSync(join(run, 'env.json'), JSON.stringify(changed));
    expect((await gpu(['train', ...common, '--steps', '4', '--device', 'webgpu'])).code).toBe(0);
    expect(environment().tiles).toEqual(changed.tiles);
    const back = await gpu(['train', '--resume', run, '--steps', '5', '--device', 'wasm']);
    expect(back.code).toBe(0);
    const { kernels } = environment();
    expect(kernels.map(({ after }) => after)).toEqual([0, 2, 4]);
    expect(kernels[1]!.name).toBe(description);
    expect(kernels[2]).toEqual({ ...kernels[0], after: 4 });
    const words = kernels.map(({ name }) => name).join(', then ');
    expect(readFileSync(join(run, 'report.html'), 'utf8')).toContain(words);
  });

  test('auto takes no software adapter, whatever was stored', async () => {
    const cache = join(folder, 'cache');
    const { adapter } = await openGpu();
    const program = `
      import { storeGpu } from '${new URL('../src/engine/webgpu/stored-node.ts', import.meta.url)}';
      await storeGpu(process.argv[1], { speed: { gpu: 9, native: 1, description: 'native', network: 'vgg7' } });`;
    const stored = spawnSync(process.execPath, ['--input-type=module', '--eval', program, adapter], {
      env: { ...process.env, XDG_CACHE_HOME: cache },
      encoding: 'utf8',
    });
    expect(stored.stderr).toBe('');
    const args = training();
    args.splice(-1, 1, 'auto');
    const run = await gpu([...args, '--json'], { XDG_CACHE_HOME: cache, VGGNET_CC: '' });
    expect(run.code).toBe(0);
    expect(run.stdout).toContain('"wasm');
    expect(run.stdout + run.stderr).not.toContain('auto uses');
  });

  test('without the package, a loader or an adapter, the message says what to install', async () => {
    const missing = await gpu(training(), withoutPackage());
    expect(missing.code).toBe(1);
    expect(missing.stderr).toContain("device 'webgpu' needs the npm package webgpu: npm install webgpu@");
    const loader = await gpu(training(), withoutLoader());
    expect(loader.code).toBe(1);
    expect(loader.stderr).toContain("device 'webgpu' needs Vulkan's loader, libvulkan.so.1: install it");
    const adapter = await gpu(training(), { VK_ICD_FILENAMES: '/nowhere.json' });
    expect(adapter.code).toBe(1);
    expect(adapter.stderr).toContain('WebGPU finds no GPU: install the driver of the GPU');
  });

  test('--adapter chooses by name or number', async () => {
    expect(await gpu(training(), { VGGNET_ADAPTER: '0' })).toMatchObject({ code: 0 });
    const none = await gpu([...training(), '--adapter', 'NVIDIA']);
    expect(none.code).toBe(2);
    expect(none.stderr).toMatch(
      /--adapter NVIDIA: no adapter has a name with these letters; adapters: 0: SwiftShader/,
    );
    const idle = await gpu([...training().slice(0, -1), 'wasm', '--adapter', '0']);
    expect(idle.code).toBe(2);
    expect(idle.stderr).toContain('--adapter chooses a GPU and has no effect with --device wasm');
  });
});

test('on Slurm, trials on a GPU do not leave it idle', async () => {
  const space = join(folder, 'space.json');
  writeFileSync(space, JSON.stringify({ dataset: 'shapes', lr: { choices: [0.1, 0.01] } }));
  const args = [
    'tune',
    '--config',
    space,
    '--study',
    join(folder, 'study'),
    '--launcher',
    'slurm',
    '--dry-run',
  ];
  const plain = await vgg([...args, '--slurm', '--gres=gpu:1']);
  expect(plain.stderr).toContain('leave it idle; --device webgpu uses it');
  const own = await vgg([
    ...args,
    '--slurm',
    '--gres=gpu:1',
    '--device',
    'webgpu',
    '--adapter',
    'NVIDIA H200',
  ]);
  expect(own.stderr).not.toContain('idle');
  expect(own.stdout).toContain("\nexport VGGNET_ADAPTER='NVIDIA H200'\n");
});
