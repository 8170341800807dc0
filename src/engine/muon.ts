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
  if (rows > columns) {
    return transposed(orthogonalized(transposed(direction, rows, columns), columns, rows), columns, rows);
  }
  const [a, b, c] = newtonSchulzFactors;
  const norm = Math.sqrt(direction.reduce((sum, value) => sum + value * value, 0)) + newtonSchulzEpsilon;
  let x: Float64Array = direction.map((value) => value / norm);
  for (let step = 0; step < newtonSchulzSteps; step++) {
    const gram = timesTransposed(x, x, columns);
    const square = timesTransposed(gram, gram, rows);
    const factor = gram.map((value, i) => b * value + c * square[i]! + (i % (rows + 1) === 0 ? a : 0));
    x = timesTransposed(factor, transposed(x, rows, columns), rows);
  }
  return x;
}

function transposed(matrix: Float64Array, rows: number, columns: number): Float64Array {
  return matrix.map((_, at) => matrix[(at % rows) * columns + Math.floor(at / rows)]!);
}

/** left[][depth] · right[][depth]ᵀ */
function timesTransposed(left: Float64Array, right: Float64Array, depth: number): Float64Array {
  const [rows, columns] = [left.length / depth, right.length / depth];
  const out = new Float64Array(rows * columns);
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < columns; j++) {
      let sum = 0;
      for (let k = 0; k < depth; k++) sum += left[i * depth + k]! * right[j * depth + k]!;
      out[i * columns + j] = sum;
    }
  }
  return out;
}
