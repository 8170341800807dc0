/** The definitions that the transforms are checked against (`checks/winograd-matrices.ts`) are convolutions. */
import { expect, test } from 'vitest';
import { both, type Matrix, matrices, transposed } from './checks/winograd-matrices.ts';

const table = (rows: number, columns: number, cell: (row: number, column: number) => number): Matrix =>
  Array.from({ length: rows }, (_, y) => Array.from({ length: columns }, (__, x) => cell(y, x)));

test.each([2, 4] as const)(
  'Aᵀ (G g Gᵀ ⊙ Bᵀ d B) A is a convolution with a 3×3 filter, tiles of %i',
  (tile) => {
    const { A, G, Bt } = matrices[tile];
    const patch = table(tile + 2, tile + 2, (y, x) => Math.sin(5 * y + 3 * x * x));
    const filter = table(3, 3, (y, x) => Math.cos(4 * y + x));
    const transformedFilter = both(G, filter);
    const elementwise = both(Bt, patch).map((row, y) =>
      row.map((value, x) => value * transformedFilter[y]![x]!),
    );
    const direct = table(tile, tile, (y, x) =>
      filter.flat().reduce((sum, tap, i) => sum + tap * patch[y + Math.floor(i / 3)]![x + (i % 3)]!, 0),
    );
    both(transposed(A), elementwise).forEach((row, y) => {
      row.forEach((value, x) => void expect(value).toBeCloseTo(direct[y]![x]!, 12));
    });
  },
);
