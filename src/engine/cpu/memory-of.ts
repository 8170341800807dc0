/** The memory that a network needs on the CPU, before anything is allocated. */
import type { Network } from '../../model/layer.ts';
import { limitOf } from './kernels/memory.ts';
import { largestBatchWithin, type MemoryUse, memoryUse, type Work } from './plan/memory-use.ts';
import { ParameterLayout } from './plan/parameters.ts';
import { plannedFor } from './plan/planned.ts';
import { cacheSize } from './run/threads.ts';

export type { MemoryUse, Work } from './plan/memory-use.ts';

/** What some work needs, and whether it fits. */
export interface NetworkMemory extends MemoryUse {
  readonly work: Work;
  readonly fits: boolean;
  /** The largest batch that fits; 0 if none does, null if a million images do. */
  readonly largestBatch: number | null;
}

/** The most images in a batch that are tried. */
const mostImages = 2 ** 20;

/** Bytes that kernels can address. */
export const addressable = (kind: 'wasm' | 'native'): number => limitOf(kind, true);

/** The memory that some work needs on a number of threads; it fits if it needs at most `limitBytes`. */
export async function memoryOf(
  network: Network,
  threads: number,
  works: readonly Work[],
  limitBytes: number,
): Promise<readonly NetworkMemory[]> {
  const cacheBytes = await cacheSize();
  const layoutFor = (batch: number): ParameterLayout =>
    new ParameterLayout(plannedFor(network, { batch, cacheBytes }), batch, threads);
  return works.map((work) => {
    const trains = work.kind === 'train';
    const use = memoryUse(layoutFor(trains ? work.batch : 1), work);
    const most = { ...work, batch: mostImages };
    const largest = largestBatchWithin(layoutFor(trains ? mostImages : 1), most, limitBytes);
    const fits = use.bytes <= limitBytes;
    return { ...use, work, fits, largestBatch: largest === mostImages ? null : largest };
  });
}
