/** What pages load must stay small. Prints the sizes, in bytes, gzipped. */
import { expect, test } from 'vitest';
import { measureSizes } from '../bench/sizes.ts';

test('the engine has at most 60 KB with WebAssembly, and 100 KB with WebGPU', async () => {
  const sizes = await measureSizes();
  console.log('gzip sizes in bytes:', sizes);
  expect(sizes.wasm).toBeLessThanOrEqual(60_000);
  expect(sizes.webgpu).toBeLessThanOrEqual(100_000);
});
