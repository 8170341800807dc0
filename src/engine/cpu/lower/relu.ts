/** A ReLU that no other operation absorbs. */
import { reluThreshold } from '../plan/code.ts';
import type { Relu } from '../plan/operations.ts';
import { imageTasks, type Lowered, type LoweringContext, maskGradient } from './lowering.ts';

export function lowerRelu(_: Relu, { x, y, dx, dy, masksInput }: LoweringContext): Lowered {
  const lowered: Pick<Lowered, 'forward' | 'backward'> = {
    forward(code, chunk) {
      for (let image = 0; image < chunk.count; image++) {
        code.call('relu', {
          out: y.at(chunk, image),
          outRow: y.rowStride,
          map: x.at(chunk, image),
          mapRow: x.rowStride,
          rows: x.shape.height,
          length: x.rowLength,
          threshold: reluThreshold(true),
        });
      }
    },
    backward(code, chunk) {
      if (!dx) return;
      for (let image = 0; image < chunk.count; image++) {
        maskGradient(code, dx, y, chunk, image, dy!);
        if (masksInput) maskGradient(code, dx, x, chunk, image);
      }
    },
  };
  return { ...lowered, ...imageTasks(lowered) };
}
