/** Matrices that are derived from a convolution's weights after each change. */
import type { Code } from '../../plan/code.ts';
import { unevenStride } from '../../plan/map-shape.ts';
import type { Matrix } from '../../plan/maps.ts';
import type { Region } from '../../plan/memory.ts';
import type { Convolution } from '../../plan/operations.ts';

export interface ConvolutionWeights {
  /** Winograd's planes of the weights, or the transposed weights. */
  readonly forward: Matrix;
  /** Winograd's planes for the gradient of the input; absent if another algorithm computes it or nothing needs it. */
  readonly backward: Matrix | undefined;
}

function planes({ scheme }: Convolution, rows: number, columns: number, region: Region): Matrix {
  const rowStride = unevenStride(columns);
  const planeStride = rows * rowStride + 16;
  return { place: region.allocate(scheme!.planes * planeStride), rowStride, planeStride };
}

export function forwardWeights(operation: Convolution, region: Region): Matrix {
  const { matrix, input, full, forward } = operation;
  if (forward === 'winograd') return planes(operation, input.stored, full.stored, region);
  return { place: region.allocate(matrix.rowStride * full.stored), rowStride: full.stored, planeStride: 0 };
}

export function backwardWeights(operation: Convolution, region: Region): Matrix | undefined {
  const { input, full, backward } = operation;
  return backward === 'winograd' ? planes(operation, full.stored, input.stored, region) : undefined;
}

/** Computes the derived matrices of filters `from` … `to` from the parameters. */
export function deriveConvolution(
  code: Code,
  operation: Convolution,
  { forward, backward }: ConvolutionWeights,
  parameters: number,
  from: number,
  to: number,
): void {
  const { matrix, input, scheme } = operation;
  const weights = parameters + matrix.offset + from * matrix.rowStride;
  const common = { weights, filterStride: matrix.rowStride, filters: to - from, channels: input.stored };
  if (operation.forward !== 'winograd') {
    code.call('transpose', {
      out: forward.place.at + from,
      outRow: forward.rowStride,
      matrix: weights,
      matrixRow: matrix.rowStride,
      rows: to - from,
      columns: matrix.rowStride,
    });
  } else {
    const { place, planeStride, rowStride } = forward;
    code.call(`winograd${scheme!.tile}Weights`, { ...common, out: place.at + from, planeStride, rowStride });
  }
  if (!backward) return;
  const { place, planeStride, rowStride } = backward;
  code.call(`winograd${scheme!.tile}WeightsBackward`, {
    ...common,
    out: place.at + from * rowStride,
    planeStride,
    rowStride,
  });
}
