/** The checks of `vgg doctor`: every kernel is right on SwiftShader, and a wrong one is found. */
import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { softwareGpu } from '../../../test/webgpu.ts';
import { checkGpu } from './checks.ts';
import { openGpu } from './device.ts';

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
  test('all kernels are right, and each is used', async () => {
    const gpu = await openGpu();
    const results = await checkGpu(gpu);
    for (const { title, error, most } of results) expect(error, title).toBeLessThanOrEqual(most);
    const used = new Set(
      results.flatMap(({ kernels }) => kernels.map((name) => name.replace(/ \d+×\d+$/, ''))),
    );
    const known = kernelNames();
    expect(known.size).toBeGreaterThan(30);
    expect([...known].filter((name) => !used.has(name))).toEqual([]);
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
