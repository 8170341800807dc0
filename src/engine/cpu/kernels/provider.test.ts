import { afterEach, expect, test, vi } from 'vitest';
import { kernelNames, recordKernel, wasmTarget } from '../../../kernels/catalogue.ts';
import { formatWat } from '../../../kernels/wasm.ts';
import { describeKernels } from './library.ts';

afterEach(() => {
  vi.restoreAllMocks();
  vi.resetModules();
});

const validator = (globalThis as unknown as { WebAssembly: { validate(bytes: Uint8Array): boolean } })
  .WebAssembly;

test('an engine without relaxed SIMD', async () => {
  const validate = vi.spyOn(validator, 'validate').mockReturnValue(false);
  const { plainWasmKernels } = await import('./provider.ts');
  expect(describeKernels(await plainWasmKernels(false, () => {}))).toBe('wasm (unfused)');
  expect(validate).toHaveBeenCalledOnce();
});

test('this engine has relaxed SIMD, and the kernels use it', async () => {
  const { hasFusedMultiplyAdds } = await import('./webassembly.ts');
  const { plainWasmKernels } = await import('./provider.ts');
  expect(hasFusedMultiplyAdds()).toBe(true);
  expect(describeKernels(await plainWasmKernels(false, () => {}))).toBe('wasm');
  expect(formatWat(recordKernel('gemmNN', wasmTarget), true)).toContain('f32x4.relaxed_madd');
});

test.each(kernelNames)('%s works without relaxed SIMD', (name) => {
  expect(formatWat(recordKernel(name, wasmTarget), false)).not.toContain('relaxed');
});
