/** Gradients of an input that are scattered patch by patch, for `im2col` and `sparse`. */
import { granule } from '../../../../kernels/language.ts';
import { roundUp } from '../../../map-shape.ts';
import { type Code, reluThreshold } from '../../plan/code.ts';
import { type Chunk, type MapBuffer, noHalo } from '../../plan/maps.ts';
import type { Convolution } from '../../plan/operations.ts';
import type { LoweringContext } from '../lowering.ts';
import { convolutionInputHalo } from './geometry.ts';

export interface InputScatter {
  /**
   * Clears a map, lets `scatter` add to it, and passes the result through the ReLU to the input's gradient. The map is
   * the input's gradient itself, or one with room for padding or with other strides.
   */
  run(code: Code, chunk: Chunk, image: number, scatter: (map: MapBuffer) => void): void;
}

/** With `likeInput` the map has the input's strides, so that both use the same offsets. */
export function inputScatter(
  operation: Convolution,
  context: LoweringContext,
  likeInput = false,
): InputScatter {
  const { input, spec } = operation;
  const { x, masksInput, toImages } = context;
  const dx = context.dx!;
  if (toImages) return imageScatter(dx);
  const padded = spec.padding.some((padding) => padding > 0);
  const own = padded || (likeInput && dx.rowStride !== x.rowStride);
  const halo = own ? convolutionInputHalo(operation) : noHalo;
  const map = own ? context.scratchMap(input, halo) : dx;
  return {
    run(code, chunk, image, scatter) {
      code.call('fill', {
        out: map.at(chunk, image, -halo.top, -halo.left),
        outRow: map.rowStride,
        rows: halo.top + input.height + halo.bottom,
        length: (halo.left + input.width + halo.right) * input.stored,
        value: 0,
      });
      scatter(map);
      if (!own && !masksInput) return;
      code.call('reluBackward', {
        out: dx.at(chunk, image),
        outRow: dx.rowStride,
        gradient: map.at(chunk, image),
        gradientRow: map.rowStride,
        activation: x.at(chunk, image),
        activationRow: x.rowStride,
        rows: input.height,
        length: input.width * input.stored,
        threshold: reluThreshold(masksInput),
      });
    },
  };
}

/** The gradient of images has room for padding, but their channels may be no multiple of the granule. */
const imageScatter = (dx: MapBuffer): InputScatter => ({
  run(code, chunk, image, scatter) {
    const { halo, shape, rowStride } = dx;
    const floats = (halo.top + shape.height + halo.bottom) * rowStride;
    code.call('fill', {
      out: dx.at(chunk, image, -halo.top, -halo.left),
      outRow: rowStride,
      rows: 1,
      length: roundUp(floats, granule),
      value: 0,
    });
    scatter(dx);
  },
});
