/** Measures the floating-point peak of one core with the kernels of each device. */

import { describeKernels } from '../src/engine/cpu/kernels/library.ts';
import { nativeKernels, plainWasmKernels, wasmKernels } from '../src/engine/cpu/kernels/provider.ts';
import { measurePeak } from '../src/engine/cpu/measure/peak.ts';

export interface Peak {
  /** For example `native (AVX-512)`. */
  readonly kernels: string;
  readonly gflops: number;
}

/** Returns the peaks of all kernels that run on this machine. */
export async function measurePeaks(): Promise<Peak[]> {
  const peaks = new Map<string, Peak>();
  for (const provider of [nativeKernels, wasmKernels, plainWasmKernels]) {
    try {
      const source = await provider(false, console.warn);
      const kernels = describeKernels(source);
      if (!peaks.has(kernels)) peaks.set(kernels, { kernels, gflops: await measurePeak(source) });
    } catch (error) {
      console.warn((error as Error).message);
    }
  }
  return [...peaks.values()];
}
