/** The memory that a network needs on the CPU, before anything is allocated. */
import type { Network } from '../../model/layer.ts';
import { limitOf } from './kernels/memory.ts';
import { largestBatchWithin, type MemoryUse, memoryUse, type Work } from './plan/memory-use.ts';
import { planOperations } from './plan/operations.ts';
import { ParameterLayout } from './plan/parameters.ts';
import { cacheSize } from './run/threads.ts';

export type { MemoryUse, Work } from './plan/memory-use.ts';

/** What some work needs, and whether it fits. */
export interface NetworkMemory extends MemoryUse {
  readonly work: Work;
  readonly fits: boolean;
  /** The largest batch that fits; 0 if none does, null if all do that anyone would use. */
  readonly largestBatch: number | null;
}

/** The most images in a batch that anyone would use. */
const mostImages = 4096;

/** Bytes that kernels can address. */
export const addressable = (kind: 'wasm' | 'native'): number => limitOf(kind, true);

/** The memory that some work needs on a number of threads; it fits if it needs at most `limitBytes`. */
export async function memoryOf(
  network: Network,
  threads: number,
  works: readonly Work[],
  limitBytes: number,
): Promise<readonly NetworkMemory[]> {
  const operations = planOperations(network, await cacheSize());
  return works.map((work) => {
    const layout = new ParameterLayout(operations, work.kind === 'train' ? work.batch : 1, threads);
    const use = memoryUse(layout, work);
    const most = { ...work, batch: Math.max(work.batch, mostImages) };
    // A network of astronomical size is not planned again and again.
    const largest = use.bytes > 2 ** 50 ? 0 : largestBatchWithin(layout, most, limitBytes);
    const largestBatch = largest === most.batch ? null : largest;
    return { ...use, work, fits: use.bytes <= limitBytes, largestBatch };
  });
}
