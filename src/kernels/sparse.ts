/**
 * Gradients of a convolution followed by a max-pool. In each pooling window only the winner has a gradient, or none if a
 * ReLU is off; with few channels and a large window it is faster to visit only winners. `sparseCollect` lists them for
 * each filter; the other kernels walk the lists. A patch's row is `run` = kernel width · channels adjacent floats.
 */
import { type KernelDefinition, kernel, type Recorder, range, type Value } from './language.ts';

/** Words of a list entry: the patch's offset in the input (and in the input's gradient), and the gradient. */
export const entryWords = 2;

export const sparseCollect: KernelDefinition = kernel(
  'sparseCollect',
  'lists[filter] = the winners with a gradient; counts[filter] = how many; bias[filter] (+)= their sum',
  {
    lists: 'pointer',
    listStride: 'offset',
    counts: 'pointer',
    /** Working memory of pool² words. */
    table: 'pointer',
    /** Working memory of (windows + 1) · filters floats: the winners' gradients (0 where the ReLU is off) and their sums. */
    live: 'pointer',
    bias: 'pointer',
    biasStep: 'offset',
    accumulate: 'i32',
    pooled: 'pointer',
    pooledRow: 'offset',
    /** Bytes, with strides in floats; must be positions in their windows: they index the table. */
    winners: 'pointer',
    winnerRow: 'offset',
    winnerPixel: 'offset',
    gradient: 'pointer',
    gradientRow: 'offset',
    /** Of the pooled map and the gradient. */
    pixel: 'offset',
    pooledHeight: 'i32',
    pooledWidth: 'i32',
    filters: 'i32',
    /** The pool's size, which is its stride. */
    pool: 'i32',
    /** Distance between patches in the input. */
    stepRow: 'offset',
    stepPixel: 'offset',
    threshold: 'f32',
  },
  (k, p) => {
    // Offset of a winner's patch from its window's.
    k.loop(p.pool, (row) => {
      k.loop(p.pool, (column) => {
        const entry = p.table.plus(row.mul(p.pool).add(column).toOffset());
        k.store(entry, p.stepRow.scale(row).add(p.stepPixel.scale(column)));
      });
    });
    const windowRow = p.stepRow.scale(p.pool);
    const windowPixel = p.stepPixel.scale(p.pool);
    const liveStep = p.filters.toOffset();
    k.vectors(p.filters, (filter) => {
      const at = filter.toOffset();
      const livePlace = k.variable(p.live.plus(at));
      const sum = k.variable(k.vector(0));
      k.loop(p.pooledHeight, (y) => {
        const pooled = k.variable(p.pooled.plus(p.pooledRow.scale(y)).plus(at));
        const gradient = k.variable(p.gradient.plus(p.gradientRow.scale(y)).plus(at));
        k.loop(p.pooledWidth, () => {
          const open = k.load(pooled).greater(p.threshold.splat());
          // −0 + 0 is 0, whose word is 0.
          const value = open.select(k.load(gradient), k.vector(0)).add(k.vector(0));
          k.store(livePlace, value);
          sum.set(sum.add(value));
          livePlace.advance(liveStep);
          for (const place of [pooled, gradient]) place.advance(p.pixel);
        });
      });
      k.store(livePlace, sum);
    });
    k.loop(p.filters, (filter) => {
      const at = filter.toOffset();
      const bias = p.bias.plus(p.biasStep.scale(filter));
      const sum = k.variable(
        k.loadFloat(p.live.plus(liveStep.scale(p.pooledHeight.mul(p.pooledWidth))).plus(at)),
      );
      k.if(p.accumulate, () => sum.set(sum.add(k.loadFloat(bias))));
      k.store(bias, sum);
      // Every window writes an entry; the next one overwrites it if there was no gradient.
      const entry = k.variable(p.lists.plus(p.listStride.scale(filter)));
      const count = k.variable(k.integer(0));
      const livePlace = k.variable(p.live.plus(at));
      k.loop(p.pooledHeight, (y) => {
        const winner = k.variable(p.winners.plus(p.winnerRow.scale(y)).plusBytes(filter));
        const patch = k.variable(windowRow.scale(y));
        k.loop(p.pooledWidth, () => {
          const gradient = k.loadWord(livePlace);
          const inWindow = p.table.plus(k.loadByte(winner).toOffset());
          k.store(entry, patch.add(k.loadOffset(inWindow)), 0);
          k.store(entry, gradient, 1);
          const counts = gradient.unequal(0);
          count.set(count.add(counts));
          entry.advance(counts.mul(entryWords).toOffset());
          livePlace.advance(liveStep);
          winner.advance(p.winnerPixel);
          patch.set(patch.add(windowPixel));
        });
      });
      k.store(p.counts.plus(at), count);
    });
  },
);

/** Cuts a run (a multiple of the granule) into blocks of 48 floats' vectors (at most `most`), then of 4, then of 1. */
function forBlocks(
  k: Recorder,
  run: Value,
  most: number | undefined,
  body: (at: Value, vectors: number) => void,
): void {
  k.forWidths(run, (vectors, from, { lanes }) => {
    const largest = Math.min(48 / lanes, most ?? 48);
    const done = k.variable(k.integer(0));
    for (const size of new Set([largest, Math.min(4, largest), 1])) {
      k.loop(vectors.sub(done).div(size), () => {
        body(from.add(done.mul(lanes)).toOffset(), size);
        done.set(done.add(size));
      });
    }
  });
}

const walk = {
  lists: 'pointer',
  listStride: 'offset',
  counts: 'pointer',
  /** The weights' gradient, [filters][kernelRows][run], `filterStride` apart. */
  out: 'pointer',
  filterStride: 'offset',
  filters: 'i32',
  accumulate: 'i32',
  /** The input's corner minus the padding. */
  map: 'pointer',
  mapRow: 'offset',
  kernelRows: 'i32',
  run: 'i32',
} as const;

/** A block of a filter's kernel row: its distance from the first filter's row and, in a map, from the patch. */
interface WalkBlock {
  readonly inFilters: Value;
  readonly inPatch: Value;
  readonly vectors: number;
}

/**
 * Sums the weights' gradient, block by block of each filter's kernel rows. The function that `begin` returns for a block
 * is also called for each entry of the filter's list.
 */
function walkLists(
  k: Recorder,
  p: { readonly [K in keyof typeof walk]: Value },
  begin: (block: WalkBlock) => (gradient: Value, patch: Value) => void,
  most?: number,
): void {
  k.loop(p.filters, (filter) => {
    const list = p.lists.plus(p.listStride.scale(filter));
    const count = k.loadWord(p.counts.plus(filter.toOffset()));
    const ofFilter = p.filterStride.scale(filter);
    k.loop(p.kernelRows, (row) => {
      const ofRow = ofFilter.add(p.run.mul(row).toOffset());
      const mapRow = p.mapRow.scale(row);
      forBlocks(k, p.run, most, (at, vectors) => {
        const block = { inFilters: ofRow.add(at), inPatch: mapRow.add(at), vectors };
        const out = p.out.plus(block.inFilters);
        const base = p.map.plus(block.inPatch);
        const each = begin(block);
        const zero = k.vector(0);
        const sums = range(vectors).map(() => k.variable(zero));
        k.if(p.accumulate, () => sums.forEach((sum, i) => void sum.set(k.load(out, i * k.lanes))));
        const entry = k.variable(list);
        k.loop(count, () => {
          const patch = k.loadOffset(entry, 0);
          const gradient = k.loadSplat(entry, 1);
          const values = base.plus(patch);
          sums.forEach((sum, i) => void sum.multiplyAdd(gradient, k.load(values, i * k.lanes)));
          each(gradient, patch);
          entry.advance(entryWords);
        });
        sums.forEach((sum, i) => void k.store(out, sum, i * k.lanes));
      });
    });
  });
}

export const sparseWeightGradient: KernelDefinition = kernel(
  'sparseWeightGradient',
  'out (+)= Σ over the list: gradient · patch of the input',
  walk,
  (k, p) => walkLists(k, p, () => () => {}),
);

export const sparseGradients: KernelDefinition = kernel(
  'sparseGradients',
  'out (+)= Σ over the list: gradient · patch of the input; mapGradient (zero at first) += gradient · weights, at the patch',
  {
    ...walk,
    /** Laid out as `out`. */
    weights: 'pointer',
    /** Laid out as `map`. */
    mapGradient: 'pointer',
  },
  (k, p) => {
    // Six sums and six weights fit sixteen registers.
    walkLists(
      k,
      p,
      ({ inFilters, inPatch, vectors }) => {
        const weights = p.weights.plus(inFilters);
        const base = p.mapGradient.plus(inPatch);
        const filter = range(vectors).map((i) => k.load(weights, i * k.lanes));
        return (gradient, patch) => {
          const place = base.plus(patch);
          filter.forEach((vector, i) => {
            const sum = k.variable(k.load(place, i * k.lanes));
            sum.multiplyAdd(gradient, vector);
            k.store(place, sum, i * k.lanes);
          });
        };
      },
      6,
    );
  },
);
