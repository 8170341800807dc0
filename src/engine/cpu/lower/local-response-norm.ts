/** Local response normalization. The backward pass computes the sums of squares again from the input. */
import { exponentArguments } from '../../../kernels/local-response.ts';
import { windowSides } from '../../../model/layers/local-response-norm.ts';
import { roundUp } from '../../map-shape.ts';
import type { Code } from '../plan/code.ts';
import type { Chunk } from '../plan/maps.ts';
import type { Place } from '../plan/memory.ts';
import type { LocalResponseNorm } from '../plan/operations.ts';
import { imageTasks, type Lowered, type LoweringContext, maskGradient } from './lowering.ts';

export function lowerLocalResponseNorm(
  { spec, input }: LocalResponseNorm,
  context: LoweringContext,
): Lowered {
  const { x, y, dx, dy, masksInput, training } = context;
  // Channels outside the map are zeros.
  const sides = windowSides(spec);
  const before = Math.min(sides.before, input.channels - 1);
  const behind = Math.min(sides.behind, input.channels - 1);
  /** Zeros between the channels of neighboring pixels, which the windows of both reach into. */
  const gap = roundUp(Math.max(before, behind), 4);
  const workingPixel = input.stored + gap;
  const rowFloats = gap + input.width * workingPixel;
  const squares = context.working(rowFloats, 'forward', 'backward');
  const terms = training && dx ? context.working(rowFloats, 'backward') : undefined;
  const factor = spec.alpha / spec.size;

  const clear = (code: Code, working: Place): void =>
    code.call('fill', { out: working.at, outRow: 0, rows: 1, length: rowFloats, value: 0 });
  const windows = (chunk: Chunk, image: number) => ({
    map: x.at(chunk, image),
    mapRow: x.rowStride,
    squares: squares.at + gap,
    workingPixel,
    before,
    size: before + behind + 1,
    rows: input.height,
    columns: input.width,
    channels: input.stored,
    factor,
    constant: spec.k,
    ...exponentArguments(spec.beta),
  });
  const lowered: Pick<Lowered, 'forward' | 'backward'> = {
    forward(code, chunk) {
      clear(code, squares);
      for (let image = 0; image < chunk.count; image++) {
        code.call('localResponse', {
          out: y.at(chunk, image),
          outRow: y.rowStride,
          ...windows(chunk, image),
        });
      }
    },
    backward(code, chunk) {
      if (!dx) return;
      clear(code, squares);
      clear(code, terms!);
      for (let image = 0; image < chunk.count; image++) {
        code.call('localResponseBackward', {
          out: dx.at(chunk, image),
          outRow: dx.rowStride,
          gradient: dy!.at(chunk, image),
          gradientRow: dy!.rowStride,
          ...windows(chunk, image),
          terms: terms!.at + gap,
          behind,
          scale: 2 * factor * spec.beta,
        });
        if (masksInput) maskGradient(code, dx, x, chunk, image);
      }
    },
  };
  return { ...lowered, ...imageTasks(lowered) };
}
