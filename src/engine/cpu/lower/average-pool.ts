/** Average pools. */
import type { Chunk, MapBuffer } from '../plan/maps.ts';
import type { AveragePool } from '../plan/operations.ts';
import { clearGradient, imageTasks, type Lowered, type LoweringContext, maskGradient } from './lowering.ts';
import { windowArguments } from './pool.ts';

export function lowerAveragePool({ spec, output }: AveragePool, context: LoweringContext): Lowered {
  const { x, y, dx, dy, masksInput } = context;
  /** The arguments for a map and its pooled map, or for their gradients. */
  const averages = (map: MapBuffer, pooled: MapBuffer, chunk: Chunk, image: number) => ({
    ...windowArguments(spec, map, output, chunk, image),
    pooled: pooled.at(chunk, image),
    pooledRow: pooled.rowStride,
    pooledPixel: pooled.pixelStride,
    factor: 1 / (spec.kernel[0] * spec.kernel[1]),
  });
  const lowered: Pick<Lowered, 'forward' | 'backward'> = {
    forward(code, chunk) {
      for (let image = 0; image < chunk.count; image++) {
        code.call('averagePool', averages(x, y, chunk, image));
      }
    },
    backward(code, chunk) {
      if (!dx) return;
      for (let image = 0; image < chunk.count; image++) {
        clearGradient(code, dx, chunk, image);
        code.call('averagePoolBackward', averages(dx, dy!, chunk, image));
        if (masksInput) maskGradient(code, dx, x, chunk, image);
      }
    },
  };
  return { ...lowered, ...imageTasks(lowered) };
}
