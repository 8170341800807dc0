/** The GPU benchmark in its smallest size, on the software adapter: every part runs, and nothing else is claimed. */
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { PartResult } from '../bench/gpu/results.ts';
import { softwareEnvironment, softwareGpu } from './webgpu.ts';

const script = fileURLToPath(new URL('../bench/gpu/bench.ts', import.meta.url));

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'vggnet-bench-gpu-'));
});
afterAll(() => rm(folder, { recursive: true }));

/** Runs it; PyTorch is not there. */
async function bench(options: readonly string[], environment: Readonly<Record<string, string>> = {}) {
  const json = join(folder, 'results.json');
  const env = { ...process.env, ...softwareEnvironment, PYTHON: join(folder, 'no-python'), ...environment };
  const { stdout, code } = await promisify(execFile)(process.execPath, [script, '--json', json, ...options], {
    env,
  }).then(
    (result) => ({ ...result, code: 0 }),
    (error: { stdout: string; code: number }) => error,
  );
  const text = await readFile(json, 'utf8').catch(() => '{}');
  const { parts = {} } = JSON.parse(text) as { readonly parts?: Readonly<Record<string, PartResult>> };
  return { code, stdout, parts };
}

describe.skipIf(!softwareGpu)('bench:gpu', () => {
  test('every part runs', async () => {
    const { code, stdout, parts } = await bench(['--quick']);
    expect(
      Object.entries(parts).flatMap(([name, { failure }]) => (failure ? [`${name}: ${failure}`] : [])),
    ).toEqual([]);
    expect(code).toBe(0);
    const { adapter, dispatch, check, steps, epoch, products, 'products-unchecked': unchecked } = parts;
    expect(adapter!.cells.adapter!.value).toMatch(/SwiftShader.* \(computed by the processor\)/);
    expect(dispatch!.cells['100 a pass']!.wall).toBeGreaterThan(0);
    expect(dispatch!.notes).toEqual([]);
    for (const [row, { wrong, difference, allowed }] of Object.entries(check!.cells)) {
      if (wrong !== undefined) expect(wrong, row).toBe(0);
      if (difference !== undefined) expect(difference, row).toBeLessThanOrEqual(allowed as number);
    }
    expect(Object.keys(check!.cells)).toHaveLength(5);
    for (const [row, own] of Object.entries(steps!.cells)) {
      expect(own.ours, row).toBeGreaterThan(0);
      expect(own['ours, unchecked'], row).toBeGreaterThan(0);
      expect(Object.keys(own).filter((column) => column.includes('PyTorch'))).toEqual([]);
    }
    expect(steps!.notes[0]).toMatch(/has no PyTorch$/);
    expect(epoch!.cells['test accuracy (%)']!.ours).toBeGreaterThan(0);
    for (const { cells } of [products!, unchecked!]) {
      expect(Object.keys(cells)).toHaveLength(3);
      for (const own of Object.values(cells)) expect(own["table's choice"]).toBeGreaterThan(0);
    }
    expect(stdout).toMatch(/PyTorch TF32.*\n.*\nsmall .* not measured/);
  });

  test('a part that cannot run loses no other', async () => {
    const options = ['--quick', '--parts', 'dispatch,steps,adapter'];
    const { code, stdout, parts } = await bench(options, { VK_ICD_FILENAMES: '/nowhere.json' });
    expect(code).toBe(1);
    expect(parts.dispatch!.failure).toBe('WebGPU finds no GPU');
    expect(parts.steps!.failure).toBe('no network was measured');
    expect(parts.adapter!.cells.versions!.value).toMatch(/^Node \d/);
    expect(stdout).toMatch(/100 a pass +not measured/);
  });

  test('a part ends at its limit', async () => {
    const { code, parts } = await bench(['--quick', '--parts', 'epoch,adapter', '--seconds', '1']);
    expect(code).toBe(1);
    expect(parts.epoch!.failure).toMatch(/^ended after 1 s/);
    expect(parts.adapter!.failure).toBe('no time was left');
  });
});

test.skipIf(!softwareGpu || process.arch !== 'x64')('an archive has all that it needs', async () => {
  const run = promisify(execFile);
  const archive = join(folder, 'bench.tar');
  await run(process.execPath, [script, '--pack', archive]);
  await run('tar', ['-C', folder, '-xf', archive]);
  const program = join(folder, 'vggnet-bench/run');
  const env = { ...process.env, ...softwareEnvironment };
  const { stdout } = await run(program, ['--quick', '--parts', 'adapter,dispatch'], { env });
  expect(stdout).toMatch(/^adapter .*SwiftShader/m);
  expect(stdout).toMatch(/^100 a pass +\d/m);
});

test('wrong options say so', async () => {
  const wrong = [
    ['--parts', 'speed'],
    ['--torch', 'tpu'],
    ['--seconds', '0'],
    ['--pack', 'a.zip'],
  ];
  for (const options of wrong) expect((await bench(options)).code, options.join(' ')).toBe(2);
});
