/** Matrices that are derived from a convolution's weights after each change. */

import { roundUp } from '../../../map-shape.ts';
import type { Code } from '../../plan/code.ts';
import type { Matrix } from '../../plan/maps.ts';
import type { Region } from '../../plan/memory.ts';
import type { Convolution } from '../../plan/operations.ts';

/** The right matrix of products, in panels of columns (`kernels/gemm.ts`). */
export interface PanelMatrix extends Matrix {
  readonly panelStride: number;
  readonly panelColumns: number;
}

export interface ConvolutionWeights {
  /** Winograd's planes of the weights, or the transposed weights. */
  readonly forward: PanelMatrix;
  /** Winograd's planes for the gradient of the input; absent if another algorithm computes it or nothing needs it. */
  readonly backward: PanelMatrix | undefined;
}

/** Columns of a matrix in panels of any size: memory does not depend on the kernels. */
const paddedColumns = (columns: number): number => roundUp(columns, columns > 64 ? 64 : 16);

/** Rows and panels of a matrix in panels of `panelColumns`, which divides 64. */
function panels(rows: number, columns: number, panelColumns: number) {
  const rowStride = Math.min(paddedColumns(columns), panelColumns);
  return { rowStride, panelStride: rows * rowStride, panelColumns };
}

function planes(
  { scheme }: Convolution,
  rows: number,
  columns: number,
  panelColumns: number,
  region: Region,
): PanelMatrix {
  // Not a power of two, so that planes do not conflict in the cache.
  const planeStride = rows * paddedColumns(columns) + 16;
  const place = region.allocate(scheme!.planes * planeStride);
  return { place, ...panels(rows, columns, panelColumns), planeStride };
}

/** The transposed weights in panels, in the order in which a product reads them. */
function transposedPanels(rows: number, columns: number, panelColumns: number, region: Region): PanelMatrix {
  const place = region.allocate(rows * paddedColumns(columns));
  return { place, ...panels(rows, columns, panelColumns), planeStride: 0 };
}

export function forwardWeights(operation: Convolution, panelColumns: number, region: Region): PanelMatrix {
  const { matrix, input, full, forward } = operation;
  if (forward === 'winograd') return planes(operation, input.stored, full.stored, panelColumns, region);
  if (forward === 'pointwise') return transposedPanels(matrix.rowStride, full.stored, panelColumns, region);
  return {
    place: region.allocate(matrix.rowStride * full.stored),
    rowStride: full.stored,
    panelStride: 0,
    panelColumns: full.stored,
    planeStride: 0,
  };
}

export function backwardWeights(
  operation: Convolution,
  panelColumns: number,
  region: Region,
): PanelMatrix | undefined {
  const { input, full, backward } = operation;
  return backward === 'winograd'
    ? planes(operation, full.stored, input.stored, panelColumns, region)
    : undefined;
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
  const rowOf = (filter: number): number => parameters + matrix.offset + filter * matrix.rowStride;
  const weights = rowOf(from);
  const filters = {
    ...{ weights, filterStride: matrix.rowStride },
    ...{ first: from, filters: to - from, channels: input.stored },
  };
  const planesOf = ({ place, ...strides }: PanelMatrix) => {
    return { out: place.at, ...strides };
  };
  const transpose = (out: number, first: number, end: number): void =>
    code.call('transpose', {
      out,
      outRow: forward.rowStride,
      matrix: rowOf(first),
      matrixRow: matrix.rowStride,
      rows: end - first,
      columns: matrix.rowStride,
    });
  if (operation.forward === 'pointwise') {
    for (let first = from; first < to; ) {
      const { panelColumns, panelStride } = forward;
      const panel = Math.floor(first / panelColumns);
      const end = Math.min(to, (panel + 1) * panelColumns);
      transpose(forward.place.at + panel * panelStride + (first % panelColumns), first, end);
      first = end;
    }
  } else if (operation.forward !== 'winograd') {
    transpose(forward.place.at + from, from, to);
  } else {
    code.call(`winograd${scheme!.tile}Weights`, { ...filters, ...planesOf(forward) });
  }
  if (backward) {
    code.call(`winograd${scheme!.tile}WeightsBackward`, { ...filters, ...planesOf(backward) });
  }
}
