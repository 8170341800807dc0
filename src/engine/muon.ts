/**
 * What all devices share of Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/): which weights it
 * orthogonalizes, and the numbers of its Newton–Schulz iteration. The direction of a matrix of weights, G [out, in·k·k],
 * is replaced by the nearest matrix whose singular values are all about 1:
 *
 *     X₀ = G / (‖G‖ + ε),   Xₖ₊₁ = aXₖ + (bA + cA²)Xₖ with A = XₖXₖᵀ.
 *
 * It works on the shorter side of a matrix. A fixed order of rows and columns makes no difference, nor do zeros, so
 * devices may store matrices as they like.
 */
import { UsageError } from '../errors.ts';
import type { Network } from '../model/layer.ts';
import type { OptimizerOptions } from './backend.ts';

export const newtonSchulzSteps = 5;
/** a, b and c: they raise small singular values fastest, and take those from 0.003 on to between 0.7 and 1.2. */
export const newtonSchulzFactors = [3.4445, -4.775, 2.0315] as const;
export const newtonSchulzEpsilon = 1e-7;

/** The factor of an orthogonalized direction with so many rows and columns: tall matrices move as far per output. */
export const directionScale = (rows: number, columns: number): number =>
  Math.sqrt(Math.max(1, rows / columns));

/** The layers (indices) whose weights are orthogonalized: convolutions and linear layers, except the last of them. */
export function orthogonalizedLayers({ layers }: Network): ReadonlySet<number> {
  const matrices = layers.flatMap(({ spec }, i) =>
    spec.kind === 'conv2d' || spec.kind === 'linear' ? [i] : [],
  );
  return new Set(matrices.slice(0, -1));
}

/** @throws UsageError if the network has no weights for Muon. */
export function checkMuonNetwork(network: Network, { kind }: Pick<OptimizerOptions, 'kind'>): void {
  if (kind !== 'muon' || orthogonalizedLayers(network).size > 0) return;
  throw new UsageError(
    `${network.name}: muon orthogonalizes the weights of all convolutions and linear layers but the last, and there is ` +
      'no other; use sgd, or a deeper network',
  );
}

/** The orthogonalized direction, in float64. `direction` is [rows][columns]. */
export function orthogonalized(direction: Float64Array, rows: number, columns: number): Float64Array {
  const wide = rows <= columns;
  const side = Math.min(rows, columns);
  const [a, b, c] = newtonSchulzFactors;
  const norm = Math.sqrt(direction.reduce((sum, value) => sum + value * value, 0)) + newtonSchulzEpsilon;
  let x: Float64Array = direction.map((value) => value / norm);
  for (let step = 0; step < newtonSchulzSteps; step++) {
    // XXᵀ of a wide matrix, XᵀX of a tall one.
    const gram = product(side, side, Math.max(rows, columns), (i, j, k) =>
      wide ? x[i * columns + k]! * x[j * columns + k]! : x[k * columns + i]! * x[k * columns + j]!,
    );
    const square = product(side, side, side, (i, j, k) => gram[i * side + k]! * gram[k * side + j]!);
    const factor = gram.map((value, i) => b * value + c * square[i]! + (i % (side + 1) === 0 ? a : 0));
    const before = x;
    x = product(rows, columns, side, (i, j, k) =>
      wide
        ? factor[i * side + k]! * before[k * columns + j]!
        : before[i * columns + k]! * factor[k * side + j]!,
    );
  }
  return x;
}

function product(
  rows: number,
  columns: number,
  depth: number,
  term: (row: number, column: number, k: number) => number,
): Float64Array {
  return Float64Array.from({ length: rows * columns }, (_, at) => {
    const [row, column] = [Math.floor(at / columns), at % columns];
    let sum = 0;
    for (let k = 0; k < depth; k++) sum += term(row, column, k);
    return sum;
  });
}
