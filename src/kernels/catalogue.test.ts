import { expect, test } from 'vitest';
import { mostArguments } from '../engine/cpu/kernels/library.ts';
import { kernelNames, kernelParameters, recordKernel, wasmTarget } from './catalogue.ts';

test.each(kernelNames)('%s has no more parameters than a call from JavaScript can give', (name) => {
  expect(Object.keys(kernelParameters[name]).length).toBeLessThanOrEqual(mostArguments);
});

test('each kernel is listed once, under its name', () => {
  expect(new Set(kernelNames).size).toBe(kernelNames.length);
  for (const name of kernelNames) {
    const kernel = recordKernel(name, wasmTarget);
    expect(kernel.name).toBe(name);
    expect(kernel.parameterNames).toEqual(Object.keys(kernelParameters[name]));
    expect(kernel.summary).not.toBe('');
  }
});
