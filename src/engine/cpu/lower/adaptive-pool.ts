/** Adaptive average pools whose windows differ in size or overlap; others are average pools (`graph.ts`). */
import type { Chunk, MapBuffer } from '../plan/maps.ts';
import type { AdaptivePool } from '../plan/operations.ts';
import { clearGradient, imageTasks, type Lowered, type LoweringContext, maskGradient } from './lowering.ts';

export function lowerAdaptivePool({ output }: AdaptivePool, context: LoweringContext): Lowered {
  const { x, y, dx, dy, masksInput } = context;
  /** The arguments for a map and its pooled map, or for their gradients. */
  const windows = (map: MapBuffer, pooled: MapBuffer, chunk: Chunk, image: number) => ({
    pooled: pooled.at(chunk, image),
    pooledRow: pooled.rowStride,
    pooledPixel: pooled.pixelStride,
    map: map.at(chunk, image),
    mapRow: map.rowStride,
    mapPixel: map.pixelStride,
    height: map.shape.height,
    width: map.shape.width,
    pooledHeight: output.height,
    pooledWidth: output.width,
    channels: output.stored,
  });
  const lowered: Pick<Lowered, 'forward' | 'backward'> = {
    forward(code, chunk) {
      for (let image = 0; image < chunk.count; image++) {
        code.call('adaptivePool', windows(x, y, chunk, image));
      }
    },
    backward(code, chunk) {
      if (!dx) return;
      for (let image = 0; image < chunk.count; image++) {
        clearGradient(code, dx, chunk, image);
        code.call('adaptivePoolBackward', windows(dx, dy!, chunk, image));
        if (masksInput) maskGradient(code, dx, x, chunk, image);
      }
    },
  };
  return { ...lowered, ...imageTasks(lowered) };
}
