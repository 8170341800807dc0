/**
 * Direct convolution, without copying or transforming patches: for images, whose few channels leave other algorithms
 * little to save. A patch's row is `run` = kernel width · channels adjacent floats of the map.
 */
import { sumTile, transposedVectorTiles, vectorTiles } from './gemm.ts';
import { grid, type KernelDefinition, kernel, range } from './language.ts';

/** Floats of a run that are processed together; runs are a multiple of it. */
export const directUnroll = 3;

const maps = {
  /** Corner of the first patch: the map's corner minus the padding. */
  map: 'pointer',
  mapRow: 'offset',
  /** Distance between patches: the convolution's stride. */
  stepRow: 'offset',
  stepPixel: 'offset',
  rows: 'i32',
  columns: 'i32',
  kernelRows: 'i32',
  /** A multiple of `directUnroll`. */
  run: 'i32',
  filters: 'i32',
} as const;

export const directForward: KernelDefinition = kernel(
  'directForward',
  'out[rows][columns][filters] = max(threshold, bias + the patches of a map · weights[kernelRows · run][filters])',
  {
    out: 'pointer',
    outRow: 'offset',
    outPixel: 'offset',
    ...maps,
    weights: 'pointer',
    weightRow: 'offset',
    bias: 'pointer',
    threshold: 'f32',
  },
  (k, p) => {
    k.loop(p.rows, (y) => {
      const mapRow = p.map.plus(p.stepRow.scale(y));
      const outRow = p.out.plus(p.outRow.scale(y));
      vectorTiles(k, p.columns, p.filters, ([pixels, vectors], x, filter) => {
        const corner = mapRow.plus(p.stepPixel.scale(x));
        const corners = range(pixels).map((i) => corner.plus(p.stepPixel.scale(i)));
        const weights = k.variable(p.weights.plus(filter.toOffset()));
        const bias = p.bias.plus(filter.toOffset());
        const start = range(vectors).map((j) => k.load(bias, j * k.lanes));
        const sums = grid(pixels, vectors, (_, j) => k.variable(start[j]!));
        const row = k.variable(k.integer(0).toOffset());
        k.loop(p.kernelRows, () => {
          const patches = corners.map((place) => k.variable(place.plus(row)));
          k.loop(p.run.div(directUnroll), () => {
            for (const tap of range(directUnroll)) {
              const kept = range(vectors).map((j) => k.loadKept(weights, j * k.lanes));
              for (const i of range(pixels)) {
                const value = k.loadSplat(patches[i]!, tap);
                for (const j of range(vectors)) sums[i]![j]!.multiplyAdd(value, kept[j]!);
              }
              weights.advance(p.weightRow);
            }
            for (const patch of patches) patch.advance(directUnroll);
          });
          row.set(row.add(p.mapRow));
        });
        const out = outRow.plus(p.outPixel.scale(x)).plus(filter.toOffset());
        const threshold = p.threshold.splat();
        sums.forEach((line, i) => {
          const place = out.plus(p.outPixel.scale(i));
          line.forEach((sum, j) => void k.store(place, sum.max(threshold), j * k.lanes));
        });
      });
    });
  },
);

export const directWeightGradient: KernelDefinition = kernel(
  'directWeightGradient',
  'out[kernelRows · run][filters] (+)= the patches of a mapᵀ · gradient[rows · columns][filters]',
  {
    out: 'pointer',
    outRow: 'offset',
    ...maps,
    gradient: 'pointer',
    gradientRow: 'offset',
    gradientPixel: 'offset',
    accumulate: 'i32',
  },
  (k, p) => {
    transposedVectorTiles(k, p.kernelRows.mul(p.run), p.filters, (tile, firstTap, filter) => {
      const taps = range(tile[0]).map((i) => {
        const tap = firstTap.add(i);
        const kernelRow = tap.div(p.run);
        return p.mapRow.scale(kernelRow).add(tap.sub(kernelRow.mul(p.run)).toOffset());
      });
      const out = p.out.plus(p.outRow.scale(firstTap)).plus(filter.toOffset());
      const { sums, store } = sumTile(k, tile, out, p.outRow, p.accumulate);
      const places = taps.map((tap) => p.map.plus(tap));
      k.loop(p.rows, (y) => {
        const gradient = k.variable(p.gradient.plus(p.gradientRow.scale(y)).plus(filter.toOffset()));
        const patch = k.variable(p.stepRow.scale(y));
        k.loop(p.columns, () => {
          const row = range(tile[1]).map((j) => k.loadKept(gradient, j * k.lanes));
          places.forEach((place, i) => {
            const value = k.loadSplat(place.plus(patch));
            for (const j of range(tile[1])) sums[i]![j]!.multiplyAdd(value, row[j]!);
          });
          gradient.advance(p.gradientPixel);
          patch.set(patch.add(p.stepPixel));
        });
      });
      store();
    });
  },
);
