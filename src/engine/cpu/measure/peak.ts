/** Peak multiply-add rate of one core with a set of kernels: the kernel `peak`, on registers only. */
import { viewsOf } from '../../../kernels/checks/check.ts';
import { type KernelSource, openLibrary } from '../kernels/library.ts';
import { checkMemory } from '../kernels/self-test.ts';

const rounds = 20_000;
const runs = 60;

/** GFLOP/s of one core, counting a multiply-add as two: the fastest of many runs. */
export async function measurePeak(source: KernelSource): Promise<number> {
  const memory = checkMemory(false);
  const library = await openLibrary(source, memory);
  let fastest = Number.POSITIVE_INFINITY;
  for (let run = 0; run < runs; run++) {
    viewsOf(memory.buffer).floats.fill(0.5, 1000, 2000);
    const start = performance.now();
    library.call('peak', [1000, rounds]);
    fastest = Math.min(fastest, performance.now() - start);
  }
  return (rounds * 16 * source.lanes * 2) / fastest / 1e6;
}
