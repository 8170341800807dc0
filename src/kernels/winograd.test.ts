/** The definition that the transforms are checked against (`checks/winograd-matrices.ts`) is a convolution. */
import { expect, test } from 'vitest';
import { A, Bt, both, G, type Matrix, transposed } from './checks/winograd-matrices.ts';

const table = (rows: number, columns: number, cell: (row: number, column: number) => number): Matrix =>
  Array.from({ length: rows }, (_, y) => Array.from({ length: columns }, (__, x) => cell(y, x)));

test('Aᵀ (G g Gᵀ ⊙ Bᵀ d B) A is the convolution of a 6×6 patch with a 3×3 filter', () => {
  const patch = table(6, 6, (y, x) => Math.sin(5 * y + 3 * x * x));
  const filter = table(3, 3, (y, x) => Math.cos(4 * y + x));
  const transformedFilter = both(G, filter);
  const elementwise = both(Bt, patch).map((row, y) =>
    row.map((value, x) => value * transformedFilter[y]![x]!),
  );
  const direct = table(4, 4, (y, x) =>
    filter.flat().reduce((sum, tap, i) => sum + tap * patch[y + Math.floor(i / 3)]![x + (i % 3)]!, 0),
  );
  both(transposed(A), elementwise).forEach((row, y) => {
    row.forEach((value, x) => void expect(value).toBeCloseTo(direct[y]![x]!, 12));
  });
});
