import { expect, test } from 'vitest';
import { kernelNames, kernelParameters, recordKernel, wasmTarget } from './catalogue.ts';

test('a kernel is listed under the name that it has, once', () => {
  expect(new Set(kernelNames).size).toBe(kernelNames.length);
  for (const name of kernelNames) {
    const kernel = recordKernel(name, wasmTarget);
    expect(kernel.name).toBe(name);
    expect(kernel.parameterNames).toEqual(Object.keys(kernelParameters[name]));
    expect(kernel.summary).not.toBe('');
  }
});
