/** The checks of `vgg doctor`: every kernel is right on SwiftShader, and a wrong one is found. */
import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { softwareGpu } from '../../../test/webgpu.ts';
import { formatGpu } from '../../cli/doctor-gpu.ts';
import { checkGpu } from './checks.ts';
import { openGpu } from './device.ts';
import { examineGpu } from './examine-node.ts';

/** The names of all kernels, as their sources say; a product's name ends with its tile. */
function kernelNames(): Set<string> {
  const names = new Set(['adam', 'adamw', 'sgd']);
  const nameless = ['tiles.ts', 'tune.ts', 'describe.ts', 'checks.ts'];
  for (const file of readdirSync(import.meta.dirname)) {
    if (!file.endsWith('.ts') || file.endsWith('.test.ts') || nameless.includes(file)) continue;
    const text = readFileSync(`${import.meta.dirname}/${file}`, 'utf8');
    for (const [, expression = ''] of text.matchAll(/^ *name: (.*'.*),$/gm))
      for (const [, name] of expression.replace(/^.*\?/, '').matchAll(/'([^']+)'/g)) names.add(name!);
  }
  return names;
}

describe.skipIf(!softwareGpu)('the checks of kernels', () => {
  test('all kernels are right, each is used, and those of training are timed', async () => {
    const report = await examineGpu(false, () => {});
    expect(report.wrong).toEqual([]);
    expect(report.adapter).toMatchObject({ software: true, tiles: 'software' });
    expect(report.adapters).toEqual([expect.stringContaining('SwiftShader')]);
    // Software adapters are never chosen, so there is nothing to compare.
    expect(report.speed).toBeUndefined();
    const kernels = report.kernels!;
    const names = new Set(Object.keys(kernels).map((name) => name.replace(/ \d+×\d+$/, '')));
    const known = kernelNames();
    expect(known.size).toBeGreaterThan(30);
    expect([...known].filter((name) => !names.has(name))).toEqual([]);
    for (const [name, { checks, error }] of Object.entries(kernels)) {
      expect(checks, name).toBeGreaterThan(0);
      expect(error, name).toBeLessThanOrEqual(1e-3);
    }
    const untimed = Object.keys(kernels).filter((name) => kernels[name]!.milliseconds === undefined);
    // The timed steps have Adam and SGD on bytes, one batch each, and maps that need no slices there.
    const unused = [
      'adamw',
      'add',
      'add gradient',

      'join input gradient',
      'load values',
      'running norm',
    ];
    expect(untimed).toEqual(expect.arrayContaining(unused));
    // A kernel may be shorter than a tick of the adapter's clock; these are not.
    const long = ['forward 4×4', 'input gradient 4×4', 'weight gradient 4×4', 'adam', 'sgd', 'normalize'];
    expect(untimed.filter((name) => long.includes(name))).toEqual([]);
    for (const { milliseconds, gflops, gigabytesPerSecond } of Object.values(kernels)) {
      if (milliseconds === undefined) continue;
      expect(gflops).toBeGreaterThan(0);
      expect(gigabytesPerSecond).toBeGreaterThan(0);
    }
    const text = formatGpu(report, 100);
    expect(text).toMatch(/^forward 4×4 +\d+ +\de-\d +[\d.]+ +[\d.]+ +[\d.]+$/m);
    expect(text).toMatch(/^webgpu \(.*SwiftShader.*\): all \d+ kernels right, \d+ pipelines compiled$/m);
  });

  test('a wrong kernel is found', async () => {
    const gpu = await openGpu();
    const bind = gpu.bind.bind(gpu);
    gpu.bind = (dispatch) => {
      const { kernel } = dispatch;
      const code = kernel.code.replace('sum[cell] += values[cell]', 'sum[cell] += 1.001 * values[cell]');
      return bind({ ...dispatch, kernel: { ...kernel, code } });
    };
    try {
      const results = await checkGpu(gpu, undefined, (title) => title.startsWith('frozen'));
      const wrong = results.filter(({ error, most }) => !(error <= most));
      expect(wrong.map(({ title }) => title)).toEqual(['frozen normalizations: input gradient']);
      expect(wrong[0]!.kernels).toContain('add');
    } finally {
      gpu.bind = bind;
    }
  });
});
