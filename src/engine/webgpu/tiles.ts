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
  software: { name: 'software', tiles: [tile(64, 16, 16, 4, 4)], groups: 4, sliceLength: 512 },
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

/** The tile of a product of m rows, n columns and sums of k values, whose slices take at most `mostFloats` floats. */
export function chooseTile(
  table: TileTable,
  m: number,
  n: number,
  k: number,
  mostFloats: number,
): TileChoice {
  const groupsOf = ({ bm, bn }: Tile): number => Math.ceil(m / bm) * Math.ceil(n / bn);
  const own = table.tiles.find((one) => groupsOf(one) >= table.groups) ?? table.tiles.at(-1)!;
  const wanted = Math.floor(table.groups / groupsOf(own));
  const fits = Math.floor(mostFloats / (m * n));
  const slices = Math.max(1, Math.min(wanted, Math.floor(k / table.sliceLength), fits, mostSlices));
  return { tile: own, slices };
}
