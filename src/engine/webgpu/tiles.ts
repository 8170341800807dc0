/**
 * Tiles of products, and how many slices their sums are cut into, by class of adapter. They decide in which order sums are
 * computed, so a run keeps the table that it started with.
 */
import type { Tile } from './product.ts';

export interface TileTable {
  readonly name: string;
  /** The adapter for which a run chose it; on another one the run takes that one's own table. */
  readonly adapter?: string | undefined;
  /** The largest first. */
  readonly tiles: readonly Tile[];
  /** Workgroups that keep the adapter busy: a product that has fewer takes smaller tiles, then slices. */
  readonly groups: number;
  /** The fewest values of a sum that are worth a slice. */
  readonly sliceLength: number;
}

const tile = (bm: number, bn: number, bk: number, tm: number, tn: number): Tile => ({ bm, bn, bk, tm, tn });

export const tileTables: Readonly<Record<'gpu' | 'software', TileTable>> = {
  /** Discrete and Apple's GPUs. */
  gpu: {
    name: 'gpu',
    tiles: [
      tile(128, 128, 16, 8, 8),
      tile(128, 64, 16, 8, 4),
      tile(64, 64, 16, 4, 4),
      tile(32, 32, 16, 4, 4),
    ],
    groups: 256,
    sliceLength: 256,
  },
  /** Software adapters, which take seconds to compile each kernel. */
  software: {
    name: 'software',
    tiles: [{ ...tile(64, 16, 16, 4, 4), isDirect: true }],
    groups: 4,
    sliceLength: 512,
  },
};

/** What is wrong with a table, in words: kernels need tiles of this form, and devices allow no more. */
export function tilesProblem({ tiles }: Pick<TileTable, 'tiles'>): string | undefined {
  const wrong = tiles.find(({ bm, bn, bk, tm, tn }) => {
    const threads = (bm / tm) * (bn / tn);
    const isWhole = [bm / tm, bn / tn, tm / 4, tn / 4, bk / 4].every(Number.isInteger);
    return !isWhole || threads > mostThreads || 4 * (bm + bn) * bk > mostStorage;
  });
  return (
    wrong &&
    `the tile ${wrong.bm}×${wrong.bn}×${wrong.bk} of ${wrong.tm}×${wrong.tn} is not one of multiples of 4 with at most ` +
      `${mostThreads} invocations and ${mostStorage} bytes`
  );
}

/** Invocations and bytes of a workgroup, WebGPU's default limits. */
const mostThreads = 256;
const mostStorage = 16_384;

export interface TileChoice {
  readonly tile: Tile;
  readonly slices: number;
}

/** The most slices of a sum. */
const mostSlices = 64;

/**
 * The time that a tile of each size takes for a value: large ones read less from memory. A guess that prefers 128×128 to
 * 32×32 by a factor of two.
 */
const timeOf = ({ bm, bn }: Tile): number => 1 + 32 * (1 / bm + 1 / bn);

/**
 * The tile and slices that are estimated to be fastest for a product of m rows, n columns and sums of k values, whose
 * slices take at most `mostFloats` floats: rows and columns beyond the product are computed in vain, and fewer workgroups
 * than `table.groups` leave a part of the adapter idle.
 */
export function chooseTile(
  table: TileTable,
  m: number,
  n: number,
  k: number,
  mostFloats: number,
): TileChoice {
  const fits = Math.min(Math.floor(k / table.sliceLength), Math.floor(mostFloats / (m * n)), mostSlices);
  const choices = table.tiles.map((own) => {
    const [down, across] = [Math.ceil(m / own.bm), Math.ceil(n / own.bn)];
    const slices = Math.max(1, Math.min(Math.floor(table.groups / (down * across)), fits));
    const idle = Math.max(1, table.groups / (down * across * slices));
    return { tile: own, slices, time: down * own.bm * across * own.bn * timeOf(own) * idle };
  });
  const { tile: own, slices } = choices.reduce((best, one) => (one.time < best.time ? one : best));
  return { tile: own, slices };
}
