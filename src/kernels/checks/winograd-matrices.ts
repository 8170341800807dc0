/**
 * The matrices of F(m×m, 3×3) by definition: they follow from its points, ∞ being one of them, by Lagrange's
 * interpolation (Lavin & Gray 2015; Barabasz et al. 2020).
 */
import type { Tile } from '../winograd-schemes.ts';

export type Matrix = readonly (readonly number[])[];

export interface Matrices {
  /** Patch × tile. */
  readonly A: Matrix;
  /** Patch × 3. */
  readonly G: Matrix;
  /** Patch × patch. */
  readonly Bt: Matrix;
}

const powers = (point: number, count: number): number[] =>
  Array.from({ length: count }, (_, i) => point ** i);
/** A row of 1 for the point ∞. */
const last = (count: number): number[] => Array.from({ length: count }, (_, i) => (i === count - 1 ? 1 : 0));
/** Coefficients of Π (x − root), from the constant on. */
function polynomial(roots: readonly number[]): number[] {
  let coefficients = [1];
  for (const root of roots) {
    coefficients = [0, ...coefficients].map((shifted, i) => shifted - root * (coefficients[i] ?? 0));
  }
  return coefficients;
}

function matricesOf(tile: number, points: readonly number[]): Matrices {
  const others = (point: number): number[] => points.filter((p) => p !== point);
  return {
    A: [...points.map((point) => powers(point, tile)), last(tile)],
    G: [
      ...points.map((point) => {
        const normalizer = others(point).reduce((product, other) => product * (point - other), 1);
        return powers(point, 3).map((power) => power / normalizer);
      }),
      last(3),
    ],
    Bt: [...points.map((point) => [...polynomial(others(point)), 0]), polynomial(points)],
  };
}

export const matrices: Readonly<Record<Tile, Matrices>> = {
  2: matricesOf(2, [0, 1, -1]),
  4: matricesOf(4, [0, Math.SQRT1_2, -Math.SQRT1_2, Math.SQRT2, -Math.SQRT2]),
};

export const transposed: (matrix: Matrix) => Matrix = (matrix) =>
  matrix[0]!.map((_, j) => matrix.map((row) => row[j]!));
/** A factor of 0 removes a term, even NaN, because transforms leave it out. */
const product = (left: Matrix, right: Matrix): Matrix =>
  left.map((row) =>
    right[0]!.map((_, j) =>
      row.reduce((sum, x, k) => (x === 0 || right[k]![j] === 0 ? sum : sum + x * right[k]![j]!), 0),
    ),
  );
export const both: (left: Matrix, middle: Matrix) => Matrix = (left, middle) =>
  product(product(left, middle), transposed(left));
