/**
 * Gradients of a convolution behind a max-pool. Of each pooling window only the winner has a gradient, and none where
 * a ReLU is off; with few channels and a large window it is faster to visit just those. `sparseCollect` lists them for
 * each filter; the others walk the lists. A patch's row is `run` = kernel width · channels adjacent floats.
 */
import { type KernelRecipe, kernel, type Recorder, range, type Value } from './language.ts';

/** Words of a list's entry: the patch's offset in the input, in the input's gradient, and the gradient itself. */
export const entryWords = 3;

export const sparseCollect: KernelRecipe = kernel(
  'sparseCollect',
  'lists[filter] = the winners with a gradient; counts[filter] = how many; bias[filter] (+)= their sum',
  {
    lists: 'pointer',
    listStride: 'offset',
    counts: 'pointer',
    /** Working memory of 2 · pool² words. */
    table: 'pointer',
    bias: 'pointer',
    biasStep: 'offset',
    accumulate: 'i32',
    pooled: 'pointer',
    pooledRow: 'offset',
    winners: 'pointer',
    gradient: 'pointer',
    /** Of the winners and the gradient alike. */
    gradientRow: 'offset',
    pixel: 'offset',
    pooledHeight: 'i32',
    pooledWidth: 'i32',
    filters: 'i32',
    /** The pool's size, which is its stride. */
    pool: 'i32',
    /** Distance between patches in the input and in its gradient. */
    stepRow: 'offset',
    stepPixel: 'offset',
    gradientStepRow: 'offset',
    gradientStepPixel: 'offset',
    floor: 'f32',
  },
  (k, p) => {
    const zero = k.constant('f32', 0);
    // Where a winner's patch begins, from its window's, in the input and in the gradient.
    k.loop(p.pool, (row) => {
      k.loop(p.pool, (column) => {
        const entry = p.table.plus(row.mul(p.pool).add(column).mul(2).toOffset());
        k.store(entry, p.stepRow.scale(row).add(p.stepPixel.scale(column)), 0);
        k.store(entry, p.gradientStepRow.scale(row).add(p.gradientStepPixel.scale(column)), 1);
      });
    });
    const windowRow = p.stepRow.scale(p.pool);
    const windowPixel = p.stepPixel.scale(p.pool);
    const gradientWindowRow = p.gradientStepRow.scale(p.pool);
    const gradientWindowPixel = p.gradientStepPixel.scale(p.pool);
    k.loop(p.filters, (filter) => {
      const at = filter.toOffset();
      const entry = k.variable(p.lists.plus(p.listStride.scale(filter)));
      const count = k.variable(k.integer(0));
      const bias = p.bias.plus(p.biasStep.scale(filter));
      const sum = k.variable(zero);
      k.if(p.accumulate, () => sum.set(k.loadFloat(bias)));
      k.loop(p.pooledHeight, (y) => {
        const pooled = k.variable(p.pooled.plus(p.pooledRow.scale(y)).plus(at));
        const winner = k.variable(p.winners.plus(p.gradientRow.scale(y)).plus(at));
        const gradientPlace = k.variable(p.gradient.plus(p.gradientRow.scale(y)).plus(at));
        const patch = k.variable(windowRow.scale(y));
        const gradientPatch = k.variable(gradientWindowRow.scale(y));
        k.loop(p.pooledWidth, () => {
          const gradient = k.loadFloat(pooled).greater(p.floor).select(k.loadFloat(gradientPlace), zero);
          const inWindow = p.table.plus(k.loadFloat(winner).toInteger().mul(2).toOffset());
          k.store(entry, patch.add(k.loadOffset(inWindow, 0)), 0);
          k.store(entry, gradientPatch.add(k.loadOffset(inWindow, 1)), 1);
          k.store(entry, gradient, 2);
          const live = gradient.unequal(zero);
          count.set(count.add(live));
          entry.advance(live.mul(entryWords).toOffset());
          sum.set(sum.add(gradient));
          for (const place of [pooled, winner, gradientPlace]) place.advance(p.pixel);
          patch.set(patch.add(windowPixel));
          gradientPatch.set(gradientPatch.add(gradientWindowPixel));
        });
      });
      k.store(bias, sum);
      k.store(p.counts.plus(at), count.toFloat());
    });
  },
);

/** Cuts a run (a multiple of the granule) into blocks of 48 floats, of 4 vectors and of 1. */
function forBlocks(k: Recorder, run: Value, body: (at: Value, vectors: number) => void): void {
  k.forWidths(run, (vectors, from, { lanes }) => {
    const done = k.variable(k.integer(0));
    for (const size of new Set([48 / lanes, Math.min(4, 48 / lanes), 1])) {
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
  /** [filters][kernelRows][run], `filterStride` apart. */
  weights: 'pointer',
  filterStride: 'offset',
  filters: 'i32',
  /** The input, or its gradient, less the padding. */
  map: 'pointer',
  mapRow: 'offset',
  kernelRows: 'i32',
  run: 'i32',
} as const;

/** For each filter, kernel row and block of its run: the weights' place, and a loop over the filter's list. */
function forWalk(
  k: Recorder,
  p: { readonly [K in keyof typeof walk]: Value },
  body: (
    weights: Value,
    vectors: number,
    forEntries: (each: (entry: Value, base: Value) => void) => void,
  ) => void,
): void {
  k.loop(p.filters, (filter) => {
    const list = p.lists.plus(p.listStride.scale(filter));
    const count = k.loadFloat(p.counts.plus(filter.toOffset())).toInteger();
    const filterWeights = p.weights.plus(p.filterStride.scale(filter));
    k.loop(p.kernelRows, (row) => {
      const rowWeights = filterWeights.plus(p.run.mul(row).toOffset());
      const mapRow = p.map.plus(p.mapRow.scale(row));
      forBlocks(k, p.run, (at, vectors) => {
        const base = mapRow.plus(at);
        body(rowWeights.plus(at), vectors, (each) => {
          const entry = k.variable(list);
          k.loop(count, () => {
            each(entry, base);
            entry.advance(entryWords);
          });
        });
      });
    });
  });
}

export const sparseWeightGradient: KernelRecipe = kernel(
  'sparseWeightGradient',
  'weights (+)= Σ over the list: gradient · patch of the input',
  { ...walk, accumulate: 'i32' },
  (k, p) => {
    forWalk(k, p, (weights, vectors, forEntries) => {
      const zero = k.vector(0);
      const sums = range(vectors).map(() => k.variable(zero));
      k.if(p.accumulate, () => sums.forEach((sum, i) => void sum.set(k.load(weights, i * k.lanes))));
      forEntries((entry, base) => {
        const gradient = k.loadSplat(entry, 2);
        const patch = base.plus(k.loadOffset(entry, 0));
        sums.forEach((sum, i) => void sum.multiplyAdd(gradient, k.load(patch, i * k.lanes)));
      });
      sums.forEach((sum, i) => void k.store(weights, sum, i * k.lanes));
    });
  },
);

export const sparseInputGradient: KernelRecipe = kernel(
  'sparseInputGradient',
  'map (the gradient, zero at first) += Σ over the list: gradient · weights, at the patch',
  walk,
  (k, p) => {
    forWalk(k, p, (weights, vectors, forEntries) => {
      const filter = range(vectors).map((i) => k.load(weights, i * k.lanes));
      forEntries((entry, base) => {
        const gradient = k.loadSplat(entry, 2);
        const patch = base.plus(k.loadOffset(entry, 1));
        filter.forEach((vector, i) => {
          const sum = k.variable(k.load(patch, i * k.lanes));
          sum.multiplyAdd(gradient, vector);
          k.store(patch, sum, i * k.lanes);
        });
      });
    });
  },
);
