/** The machine's floating-point peak, as the kernels of each device can reach it on one core. */
import { nativeKernels, plainWasmKernels, wasmKernels } from '../src/engine/cpu/kernels.ts';
import { describeKernels } from '../src/engine/cpu/library.ts';
import { measurePeak } from '../src/engine/cpu/peak.ts';

export interface Peak {
  /** `native (AVX-512)`, for instance. */
  readonly kernels: string;
  readonly gflops: number;
}

/** Peaks of all kernels that run here. */
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
