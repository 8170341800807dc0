import { readdirSync, readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { kernelNames, kernelParameters, recordKernel, wasmTarget } from './catalogue.ts';

test('every kernel is compared with plain loops', () => {
  const tests = readdirSync(import.meta.dirname).filter((file) => file.endsWith('.test.ts'));
  const text = tests.map((file) => readFileSync(`${import.meta.dirname}/${file}`, 'utf8')).join('\n');
  const checked = new Set([...text.matchAll(/\bcheckKernel\(\s*'(\w+)'/g)].map(([, name]) => name));
  expect(kernelNames.filter((name) => !checked.has(name))).toEqual([]);
});

test('a kernel is listed under the name that it has, once', () => {
  expect(new Set(kernelNames).size).toBe(kernelNames.length);
  for (const name of kernelNames) {
    const kernel = recordKernel(name, wasmTarget);
    expect(kernel.name).toBe(name);
    expect(kernel.parameterNames).toEqual(Object.keys(kernelParameters[name]));
    expect(kernel.summary).not.toBe('');
  }
});

test('kernels are recorded for other machines, too', () => {
  for (const lanes of [4, 8, 16]) {
    for (const name of kernelNames) {
      expect(recordKernel(name, { lanes, tile: [4, 2] }).lanes, name).toBe(lanes);
    }
  }
});
