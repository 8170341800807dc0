/**
 * Finds the table of tiles with which an adapter trains fastest: `vgg doctor --tune`. It starts at the table of the
 * adapter's class, changes one property at a time, and keeps what makes products faster over several networks.
 */
import type { Gpu } from './device.ts';
import type { Tile } from './product.ts';
import { type TileTable, tilesProblem, tileTables } from './tiles.ts';
import { type TimedNetwork, timeStep } from './timing.ts';

export interface Tuning {
  readonly table: TileTable;
  /** Milliseconds of the products of a step of each network, with the class's table and with this one. */
  readonly before: readonly number[];
  readonly after: readonly number[];
  readonly tried: number;
}

const tile = (bm: number, bn: number, bk: number, tm: number, tn: number): Tile => ({ bm, bn, bk, tm, tn });

/** Lists of tiles, the largest first. */
const lists: Readonly<Record<'gpu' | 'software', readonly (readonly Tile[])[]>> = {
  gpu: [
    tileTables.gpu.tiles,
    [tile(128, 64, 16, 8, 4), tile(64, 64, 16, 4, 4), tile(32, 32, 16, 4, 4)],
    [tile(64, 64, 16, 4, 4), tile(32, 32, 16, 4, 4)],
    [tile(128, 128, 8, 8, 8), tile(128, 64, 8, 8, 4), tile(64, 64, 16, 4, 4), tile(32, 32, 16, 4, 4)],
    [tile(64, 128, 16, 4, 8), tile(64, 64, 16, 4, 4), tile(32, 32, 16, 4, 4)],
    [tile(128, 64, 16, 8, 8), tile(64, 64, 16, 8, 4), tile(32, 32, 16, 4, 4)],
    [tile(64, 64, 8, 4, 4), tile(32, 32, 8, 4, 4)],
    [tile(128, 64, 16, 8, 4), tile(64, 32, 16, 4, 4), tile(32, 32, 32, 4, 4)],
  ],
  software: [
    tileTables.software.tiles,
    [tile(32, 16, 16, 4, 4)],
    [tile(64, 16, 8, 4, 4)],
    [tile(32, 32, 16, 8, 4)],
  ],
};
const groupCounts = { gpu: [128, 192, 256, 384, 512, 1024], software: [2, 4, 8] } as const;
const sliceLengths = { gpu: [128, 256, 512, 1024], software: [256, 512, 1024] } as const;

/** A change counts from so much on: below, timings are noise, and another table changes bits. */
const leastGain = 0.02;

/** Measures tables. `onTry` is told what is tried, in words. */
export async function tuneTiles(
  gpu: Gpu,
  networks: readonly TimedNetwork[],
  onTry: (words: string) => void = () => {},
): Promise<Tuning> {
  const kind = gpu.isSoftware ? 'software' : 'gpu';
  const { limits } = gpu.device;
  const fits = ({ bm, bn, bk, tm, tn }: Tile): boolean =>
    (bm / tm) * (bn / tn) <= limits.maxComputeInvocationsPerWorkgroup &&
    4 * (bm + bn) * bk <= limits.maxComputeWorkgroupStorageSize;
  const measure = async (table: TileTable): Promise<number[]> => {
    const times: number[] = [];
    for (const network of networks) {
      const products = await timeStep(gpu, table, network, isOfProducts);
      times.push(products.reduce((sum, { milliseconds }) => sum + milliseconds, 0));
    }
    return times;
  };
  const start = tileTables[kind];
  onTry(`the table '${start.name}'`);
  const before = await measure(start);
  let best = { table: start, times: before };
  let tried = 1;
  const changes: readonly (readonly [words: string, change: Partial<TileTable>])[] = [
    ...lists[kind]
      .slice(1)
      .filter((tiles) => tiles.every(fits) && tilesProblem({ tiles }) === undefined)
      .map(
        (tiles) => [`tiles of ${tiles.map(({ bm, bn }) => `${bm}×${bn}`).join(', ')}`, { tiles }] as const,
      ),
    ...groupCounts[kind].map((groups) => [`${groups} workgroups`, { groups }] as const),
    ...sliceLengths[kind].map((sliceLength) => [`slices of ${sliceLength} values`, { sliceLength }] as const),
  ];
  for (const [words, change] of changes) {
    const table: TileTable = { ...best.table, ...change, name: 'measured' };
    if (JSON.stringify({ ...table, name: '' }) === JSON.stringify({ ...best.table, name: '' })) continue;
    onTry(words);
    const times = await measure(table);
    tried++;
    if (ratio(times, best.times) < 1 - leastGain) best = { table, times };
  }
  return { table: best.table, before, after: best.times, tried };
}

/** Kernels whose time depends on the table: products, sums of their slices, and updates, which add slices. */
const isOfProducts = (name: string): boolean =>
  /^(forward|input gradient|weight gradient|join forward|join input gradient|adam|adamw|sgd)\b/.test(name);

/** The geometric mean of the networks' ratios. */
const ratio = (times: readonly number[], others: readonly number[]): number =>
  Math.exp(times.reduce((sum, time, i) => sum + Math.log(time / others[i]!), 0) / times.length);
