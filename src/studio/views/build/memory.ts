/** The memory that training a network takes on the CPU, from the engine's own plan; nothing is allocated. */
import { wasmBytes } from '../../../engine/cpu/kernels/memory.ts';
import { type MemoryUse, memoryUse, tooLarge, type Work } from '../../../engine/cpu/plan/memory-use.ts';
import { planOperations } from '../../../engine/cpu/plan/operations.ts';
import { ParameterLayout } from '../../../engine/cpu/plan/parameters.ts';
import { cacheSize } from '../../../engine/cpu/run/threads.ts';
import type { Network } from '../../../model/layer.ts';
import type { TrainConfig } from '../../../train/config-table.ts';

export interface Needed extends MemoryUse {
  /** Why it does not fit, in the library's words; empty if it does. */
  readonly problem: string;
}

export async function trainingMemory(
  network: Network,
  batch: number,
  threads: number,
  optimizer: TrainConfig['optimizer'],
): Promise<Needed> {
  const layout = new ParameterLayout(planOperations(network, await cacheSize()), batch, threads);
  const work: Work = { kind: 'train', batch, optimizer: { kind: optimizer } };
  const use = memoryUse(layout, work);
  const fits = use.bytes <= wasmBytes;
  return { ...use, problem: fits ? '' : tooLarge(network.name, layout, work, use.bytes, wasmBytes) };
}
