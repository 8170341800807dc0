/**
 * Dropout: in training each worker draws the factors of its images, 1 / (1 − p) or 0, and multiplies values and
 * gradients by them. In evaluation there is nothing to do: the output is the input's map.
 */
import { drawKept } from '../../../model/layers/dropout.ts';
import type { Code } from '../plan/code.ts';
import { type Chunk, type MapBuffer, noHalo } from '../plan/maps.ts';
import type { Dropout } from '../plan/operations.ts';
import { imageTasks, type Lowered, type LoweringContext, maskGradient } from './lowering.ts';

/** Draws the factors of some images. Addresses count floats. */
export interface DropoutCall {
  readonly host: 'dropout';
  readonly first: number;
  readonly count: number;
  readonly layer: number;
  readonly probability: number;
  readonly height: number;
  readonly width: number;
  readonly channels: number;
  /** Channels in memory; the factors of the rest are 0. */
  readonly stored: number;
  readonly factors: number;
  readonly imageStride: number;
  readonly rowStride: number;
  readonly pixelStride: number;
}

let kept = new Uint8Array(0);

/** Draws the factors of a call's image `index`, whose position in the data set is `sample`. */
export function drawFactors(
  call: DropoutCall,
  floats: Float32Array,
  index: number,
  draws: { readonly seed: number; readonly epoch: number },
  sample: number,
): void {
  const { height, width, channels, stored, probability, layer, rowStride, pixelStride } = call;
  const size = channels * height * width;
  if (kept.length !== size) kept = new Uint8Array(size);
  drawKept(kept, probability, { seed: draws.seed, epoch: draws.epoch, layer }, sample);
  const scale = 1 / (1 - probability);
  const image = call.factors + index * call.imageStride;
  const mask = kept;
  const plane = height * width;
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const to = image + y * rowStride + x * pixelStride;
      const from = y * width + x;
      // Along the channels, which are contiguous; a vector is one run.
      for (let c = 0; c < channels; c++) floats[to + c] = mask[from + c * plane]! * scale;
      floats.fill(0, to + channels, to + stored);
    }
  }
}

export function lowerDropout({ input, spec, layer }: Dropout, context: LoweringContext): Lowered {
  const { x, y, dx, dy, inference, masksInput } = context;
  if (inference) {
    return {
      forward() {},
      forwardTasks: () => [],
      backward() {},
      backwardTasks: () => ({ tasks: [], slots: 0 }),
    };
  }
  const factors = context.keep(input, noHalo);
  const multiply = (code: Code, out: MapBuffer, map: MapBuffer, chunk: Chunk, image: number): void =>
    code.call('multiply', {
      out: out.at(chunk, image),
      outRow: out.rowStride,
      map: map.at(chunk, image),
      mapRow: map.rowStride,
      factors: factors.at(chunk, image),
      factorRow: factors.rowStride,
      rows: input.height,
      length: x.rowLength,
    });
  const lowered: Pick<Lowered, 'forward' | 'backward'> = {
    forward(code, chunk) {
      code.host({
        host: 'dropout',
        first: chunk.first,
        count: chunk.count,
        layer,
        probability: spec.probability,
        height: input.height,
        width: input.width,
        channels: input.channels,
        stored: input.stored,
        factors: factors.at(chunk, 0),
        imageStride: factors.imageStride,
        rowStride: factors.rowStride,
        pixelStride: factors.pixelStride,
      });
      for (let image = 0; image < chunk.count; image++) multiply(code, y, x, chunk, image);
    },
    backward(code, chunk) {
      if (!dx) return;
      for (let image = 0; image < chunk.count; image++) {
        multiply(code, dx, dy!, chunk, image);
        if (masksInput) maskGradient(code, dx, x, chunk, image);
      }
    },
  };
  return { ...lowered, ...imageTasks(lowered) };
}
