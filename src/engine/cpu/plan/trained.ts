/**
 * The parameters that learn, and their places in the arrays of training: gradients, moments, averages. Frozen layers have
 * none there, so these arrays are laid out like the parameters (`operations.ts`) with the frozen ones left out. Which
 * layers are frozen may change between two steps; the parameters themselves never move.
 */
import { roundUp } from '../../map-shape.ts';
import {
  firstLayerOf,
  isSplit,
  matrixOf,
  type Operation,
  type Operations,
  onWholeBatch,
} from './operations.ts';

export class TrainedParameters {
  /** Indices of the frozen layers, ascending. */
  readonly frozen: readonly number[];
  /** The first operation whose parameters learn: no gradient is needed before it. */
  readonly from: number;
  /** Floats of all parameters that learn, of those with slots, and of the normalizations'. */
  readonly length: number;
  readonly slotLength: number;
  readonly normalizationLength: number;
  readonly #frozen: ReadonlySet<number>;
  /** By an operation's first layer: floats of frozen parameters before its own. */
  readonly #shifts: ReadonlyMap<number, number>;

  constructor({ list }: Operations, frozen: readonly number[]) {
    this.frozen = frozen;
    this.#frozen = new Set(frozen);
    this.from = Math.max(
      0,
      list.findIndex((operation) => this.learns(operation)),
    );
    const shifts = new Map<number, number>();
    let length = 0;
    const place = (chosen: (operation: Operation) => boolean): number => {
      const before = length;
      for (const operation of list) {
        const matrix = matrixOf(operation);
        if (!matrix || !chosen(operation) || this.isFrozen(operation)) continue;
        shifts.set(firstLayerOf(operation), matrix.offset - length);
        length = roundUp(length + matrix.length, 16);
      }
      return length - before;
    };
    this.slotLength = place((operation) => !onWholeBatch(operation));
    this.normalizationLength = place(({ kind }) => kind === 'batchNorm');
    place(isSplit);
    this.length = length;
    this.#shifts = shifts;
  }

  /** Whether an operation is frozen; a batch normalization then uses its running moments. Dropout never is. */
  isFrozen(operation: Operation): boolean {
    if (!matrixOf(operation) && operation.kind !== 'batchNorm') return false;
    return this.#frozen.has(firstLayerOf(operation));
  }

  /** Whether an operation has parameters that learn. */
  learns(operation: Operation): boolean {
    return matrixOf(operation) !== undefined && !this.isFrozen(operation);
  }

  /** The distance from an operation's place among the parameters to its place among those that learn. */
  shiftOf(operation: Operation): number {
    return this.#shifts.get(firstLayerOf(operation)) ?? 0;
  }
}
