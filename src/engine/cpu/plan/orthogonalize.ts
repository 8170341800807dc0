/**
 * Muon's phases between the directions and the derived matrices: Newton–Schulz on the matrices of all orthogonalized
 * layers at once (`kernels/muon.ts` has the formulas), cut into blocks of rows whatever the number of threads. Each
 * symmetric product but P is computed up to its diagonal and mirrored.
 */
import { wholeRows } from '../../../kernels/gemm.ts';
import { granule } from '../../../kernels/language.ts';
import { matrixLrSetting } from '../../../kernels/muon.ts';
import { roundUp, unevenStride } from '../../map-shape.ts';
import type { MatrixLayout } from '../../matrix.ts';
import {
  directionScale,
  newtonSchulzEpsilon,
  newtonSchulzFactors,
  newtonSchulzSteps,
  orthogonalizedLayers,
} from '../../muon.ts';
import { type Code, emit } from './code.ts';
import { firstLayerOf, matrixOf, type Operation, type Operations } from './operations.ts';
import type { ParameterLayout } from './parameters.ts';
import { cut } from './timeline.ts';
import type { TrainedParameters } from './trained.ts';
import type { Phase } from './update.ts';

/** Rows of a product that one item computes: whole register tiles of 6, 8 and 12 rows. */
const blockRows = 48;
/** Columns of the weights that one item changes, and depth of a product at a time, so that operands stay in cache. */
const blockColumns = 256;
const depthBlock = 1024;

type Range = ReturnType<typeof cut>[number];

/** The operations whose weights are orthogonalized, with their places in the list. */
export function orthogonalizedOperations(
  { list, network }: Operations,
  trained: TrainedParameters,
): readonly { readonly operation: Operation; readonly index: number }[] {
  const layers = orthogonalizedLayers(network);
  return list.flatMap((operation, index) =>
    layers.has(firstLayerOf(operation)) && trained.learns(operation) ? [{ operation, index }] : [],
  );
}

/** The shorter side of a matrix and the layout of products on it. */
interface Side {
  /** Columns of the weights, which padding and biases between rows may follow: with a direction of 0. */
  readonly columns: number;
  readonly isWide: boolean;
  readonly side: number;
  readonly stride: number;
}

function sideOf({ storedOut, taps, stored }: MatrixLayout): Side {
  const columns = roundUp(taps * stored, granule);
  const side = Math.min(storedOut, columns);
  return { columns, isWide: storedOut <= columns, side, stride: unevenStride(side) };
}

/** Matrices on the shorter side: A, Q, QA, and two for P in turns. */
const sideMatrices = 5;
const inverseFloats = 16;

/** Floats that an operation needs. */
export function orthogonalizationFloats(operation: Operation): number {
  const { side, stride } = sideOf(matrixOf(operation)!);
  return inverseFloats + sideMatrices * side * stride;
}

/** One matrix of weights and the memory that orthogonalizes its direction. */
class Orthogonalization {
  readonly index: number;
  readonly #matrix: MatrixLayout;
  readonly #side: Side;
  readonly #inverse: number;
  readonly #gram: number;
  readonly #factor: number;
  readonly #between: number;
  readonly #products: readonly [number, number];
  readonly #weights: number;
  readonly #direction: number;
  /** Address of the learning rate. */
  readonly #rate: number;

  constructor(layout: ParameterLayout, { index, gradient, settings }: Direction) {
    const operation = layout.operations.list[index]!;
    const matrix = matrixOf(operation)!;
    const side = sideOf(matrix);
    const floats = side.side * side.stride;
    this.index = index;
    this.#matrix = matrix;
    this.#side = side;
    this.#inverse = layout.orthogonalizationOf(operation);
    this.#gram = this.#inverse + inverseFloats;
    this.#factor = this.#gram + floats;
    this.#between = this.#gram + 2 * floats;
    this.#products = [this.#gram + 3 * floats, this.#gram + 4 * floats];
    this.#weights = layout.parameters.at + matrix.offset;
    this.#direction = gradient + matrix.offset;
    this.#rate = settings + matrixLrSetting;
  }

  get rows(): Range[] {
    return cut(0, this.#side.side, blockRows);
  }

  /** Blocks of the weights: columns of a wide matrix, rows of a tall one. */
  get blocks(): Range[] {
    const { isWide, columns } = this.#side;
    return isWide ? cut(0, columns, blockColumns) : cut(0, this.#matrix.storedOut, blockRows);
  }

  /** A = XXᵀ, or XᵀX of a tall matrix. */
  gram(code: Code, rows: Range): void {
    const { isWide, columns, stride } = this.#side;
    const { rowStride, storedOut } = this.#matrix;
    const common = {
      out: this.#gram + rows.first * stride,
      outStride: stride,
      leftStride: rowStride,
      right: this.#direction,
      rightStride: rowStride,
      ...{ outPlane: 0, leftPlane: 0, rightPlane: 0, planes: 1 },
      rows: rows.count,
      columns: rows.first + rows.count,
    };
    if (isWide) {
      const left = this.#direction + rows.first * rowStride;
      for (const { first, count: depth } of cut(0, columns, depthBlock)) {
        const at = { left: left + first, right: this.#direction + first };
        code.call('gemmNT', { ...common, ...at, depth, accumulate: Number(first > 0) });
      }
    } else {
      code.call('gemmTN', { ...common, left: this.#direction + rows.first, depth: storedOut, accumulate: 0 });
    }
    this.#mirror(code, this.#gram, rows);
  }

  /** A / ‖X‖². */
  normalize(code: Code): void {
    code.call('normalizeGram', {
      inverse: this.#inverse,
      matrix: this.#gram,
      matrixRow: this.#side.stride,
      side: this.#side.side,
      epsilon: newtonSchulzEpsilon,
    });
  }

  /** P after a step. The first is Q itself. */
  #productAt(step: number): number {
    return this.#products[step % 2]!;
  }

  #factorAt(step: number): number {
    return step === 0 ? this.#productAt(0) : this.#factor;
  }

  /** Q = aI + bA + cA². */
  factor(code: Code, step: number, rows: Range): void {
    const { stride } = this.#side;
    const factor = this.#factorAt(step);
    const [a, b, c] = newtonSchulzFactors;
    this.#multiply(code, factor, this.#gram, this.#gram, rows);
    code.call('newtonSchulz', {
      square: factor + rows.first * stride,
      squareRow: stride,
      matrix: this.#gram + rows.first * stride,
      matrixRow: stride,
      rows: rows.count,
      columns: rows.first + rows.count,
      diagonal: rows.first,
      ...{ a, b, c },
    });
    this.#mirror(code, factor, rows);
  }

  /**
   * P = QP, after the last step with the scale of the change of weights; and QA, which the next A needs. P is whole and has
   * its latest factor on the side that is far from X: where X is small P is large, and its rounding would reach all of X.
   */
  products(code: Code, step: number, rows: Range): void {
    const { isWide, side, stride } = this.#side;
    const factor = this.#factorAt(step);
    if (step > 0) {
      const product = this.#productAt(step);
      const before = this.#productAt(step - 1);
      const [left, right] = isWide ? [factor, before] : [before, factor];
      this.#multiply(code, product, left, right, rows, side);
      if (step === newtonSchulzSteps - 1) {
        const { out, channels, taps } = this.#matrix;
        code.call('scaleRows', {
          out: product + rows.first * stride,
          outRow: stride,
          rows: rows.count,
          columns: side,
          factor: -directionScale(out, channels * taps),
          first: this.#rate,
          second: this.#inverse,
        });
      }
    }
    if (step === newtonSchulzSteps - 1) return;
    this.#multiply(code, this.#between, factor, this.#gram, rows);
    this.#mirror(code, this.#between, rows);
  }

  /** A = (QA)Q. */
  next(code: Code, step: number, rows: Range): void {
    this.#multiply(code, this.#gram, this.#between, this.#factorAt(step), rows);
    this.#mirror(code, this.#gram, rows);
  }

  /** The weights += PX. */
  apply(code: Code, { first, count }: Range): void {
    const { isWide, side, stride } = this.#side;
    const { rowStride, storedOut } = this.#matrix;
    const direction = { at: this.#direction + (isWide ? first : first * rowStride), stride: rowStride };
    const factor = { at: this.#productAt(newtonSchulzSteps - 1), stride };
    const [left, right] = isWide ? [factor, direction] : [direction, factor];
    code.call('gemmNN', {
      out: this.#weights + (isWide ? first : first * rowStride),
      outStride: rowStride,
      left: left.at,
      leftStride: left.stride,
      right: right.at,
      rightStride: right.stride,
      ...{ outPlane: 0, leftPlane: 0, rightPlane: 0, planes: 1 },
      ...wholeRows(isWide ? count : side),
      rows: isWide ? storedOut : count,
      columns: isWide ? count : side,
      depth: side,
      accumulate: 1,
    });
  }

  /** Rows of a product of two symmetric matrices; by default up to the diagonal. */
  #multiply(
    code: Code,
    out: number,
    left: number,
    right: number,
    { first, count }: Range,
    columns = first + count,
  ): void {
    const { side, stride } = this.#side;
    code.call('gemmNN', {
      out: out + first * stride,
      outStride: stride,
      left: left + first * stride,
      leftStride: stride,
      right,
      rightStride: stride,
      ...{ outPlane: 0, leftPlane: 0, rightPlane: 0, planes: 1 },
      ...wholeRows(columns),
      rows: count,
      columns,
      depth: side,
      accumulate: 0,
    });
  }

  /** Copies rows left of their diagonal block to the columns above it. */
  #mirror(code: Code, matrix: number, { first, count }: Range): void {
    const { stride } = this.#side;
    if (first === 0) return;
    code.call('transpose', {
      out: matrix + first,
      outRow: stride,
      matrix: matrix + first * stride,
      matrixRow: stride,
      rows: count,
      columns: first,
    });
  }
}

/** A matrix of weights to change, by its operation; its direction is where its gradient was. */
export interface Direction {
  readonly index: number;
  /** Address of the direction, as if there were one of all parameters. */
  readonly gradient: number;
  /** Address of the settings of its learning rate. */
  readonly settings: number;
}

/** The phases that change weights by their orthogonalized directions. */
export function orthogonalizePhases(layout: ParameterLayout, directions: readonly Direction[]): Phase[] {
  const matrices = directions.map((direction) => new Orthogonalization(layout, direction));
  const phase = (
    parts: (own: Orthogonalization) => readonly Range[],
    body: (own: Orthogonalization, code: Code, part: Range) => void,
  ): Phase => ({
    items: matrices.flatMap((own) =>
      parts(own).map((part) => emit((code) => code.within(own.index, () => body(own, code, part)))),
    ),
  });
  const byRows = (body: Parameters<typeof phase>[1]): Phase => phase(({ rows }) => rows, body);
  const steps = Array.from({ length: newtonSchulzSteps }, (_, step) => [
    byRows((own, code, rows) => own.factor(code, step, rows)),
    byRows((own, code, rows) => own.products(code, step, rows)),
    ...(step < newtonSchulzSteps - 1 ? [byRows((own, code, rows) => own.next(code, step, rows))] : []),
  ]);
  return [
    byRows((own, code, rows) => own.gram(code, rows)),
    phase(
      ({ rows }) => rows.slice(0, 1),
      (own, code) => own.normalize(code),
    ),
    ...steps.flat(),
    phase(
      ({ blocks }) => blocks,
      (own, code, block) => own.apply(code, block),
    ),
  ];
}
