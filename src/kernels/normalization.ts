/**
 * Batch normalization (Ioffe & Szegedy, ICML 2015) over maps [rows][columns][channels], in the four passes of a training
 * step: moments, normalization, sums of the gradient, and the input's gradient. Sums go row by row, because a row fits
 * the first-level cache, and keep a vector of channels in registers; kernels that write a map go pixel by pixel, in the
 * order of memory.
 */
import { type KernelDefinition, kernel, type Recorder, range, type Value } from './language.ts';

/** Independent sums, so that an addition does not wait for the previous one. */
const sideBySide = 4;

/**
 * Sums over the pixels of a row: `terms` returns a pixel's terms, given its distance in floats from the row's start.
 */
function sumRow(
  k: Recorder,
  columns: Value,
  pixels: readonly (readonly [place: Value, step: Value])[],
  terms: (...places: Value[]) => readonly Value[],
  count: number,
): Value[] {
  const places = pixels.map(([place]) => k.variable(place));
  const sums = range(count).map(() => range(sideBySide).map(() => k.variable(k.vector(0))));
  const add = (lane: number): void => {
    terms(...places).forEach((term, i) => {
      const sum = sums[i]![lane]!;
      sum.set(sum.add(term));
    });
    places.forEach((place, i) => void place.advance(pixels[i]![1]));
  };
  const groups = columns.div(sideBySide);
  k.loop(groups, () => {
    for (const lane of range(sideBySide)) add(lane);
  });
  k.loop(columns.sub(groups.mul(sideBySide)), () => add(0));
  return sums.map(([a, b, c, d]) => a!.add(b!).add(c!.add(d!)));
}

/**
 * Walks pixel by pixel, in the order of memory: calls `body` for each vector of channels with its position in the
 * channels and in each of the maps.
 */
function forPixels(
  k: Recorder,
  { rows, columns, channels }: { readonly rows: Value; readonly columns: Value; readonly channels: Value },
  maps: readonly (readonly [map: Value, row: Value, pixel: Value])[],
  body: (at: Value, ...places: Value[]) => void,
): void {
  k.loop(rows, (y) => {
    const pixels = maps.map(([map, row]) => k.variable(map.plus(row.scale(y))));
    k.loop(columns, () => {
      k.vectors(channels, (first) => {
        const at = first.toOffset();
        body(at, ...pixels.map((pixel) => pixel.plus(at)));
      });
      pixels.forEach((pixel, i) => void pixel.advance(maps[i]![2]));
    });
  });
}

/**
 * Uses each row's own mean and joins rows by the formula of Chan, Golub & LeVeque (1979), so that large numbers never
 * cancel, whatever the mean.
 */
export const channelMoments: KernelDefinition = kernel(
  'channelMoments',
  'mean[channels] and squares[channels] (Σ (value − mean)²) of `before` values joined with those of a map',
  {
    mean: 'pointer',
    squares: 'pointer',
    /** Values per channel that the moments already include; with 0 their old content is ignored. */
    before: 'i32',
    map: 'pointer',
    mapRow: 'offset',
    mapPixel: 'offset',
    rows: 'i32',
    columns: 'i32',
    channels: 'i32',
  },
  (k, p) => {
    const columns = p.columns.toFloat();
    k.loop(p.rows, (row) => {
      const before = p.before.add(row.mul(p.columns));
      const share = columns.div(before.toFloat().add(columns));
      const weight = before.toFloat().mul(share);
      k.vectors(p.channels, (first) => {
        const at = first.toOffset();
        const start = [[p.map.plus(p.mapRow.scale(row)).plus(at), p.mapPixel]] as const;
        const [sum] = sumRow(k, p.columns, start, (place) => [k.load(place!)], 1);
        const rowMean = sum!.div(columns.splat());
        const deviation = (place: Value): Value => k.load(place).sub(rowMean);
        const [rowSquares] = sumRow(
          k,
          p.columns,
          start,
          (place) => {
            const apart = deviation(place!);
            return [apart.mul(apart)];
          },
          1,
        );
        const mean = k.variable(k.vector(0));
        const squares = k.variable(k.vector(0));
        k.if(before, () => {
          mean.set(k.load(p.mean.plus(at)));
          squares.set(k.load(p.squares.plus(at)));
        });
        const apart = rowMean.sub(mean);
        k.store(p.squares.plus(at), squares.add(rowSquares!).add(apart.mul(apart).mul(weight.splat())));
        k.store(p.mean.plus(at), mean.add(apart.mul(share.splat())));
      });
    });
  },
);

export const normalize: KernelDefinition = kernel(
  'normalize',
  'out = max(threshold, (map − mean[channels]) · scale[channels] + shift[channels])',
  {
    out: 'pointer',
    outRow: 'offset',
    outPixel: 'offset',
    map: 'pointer',
    mapRow: 'offset',
    mapPixel: 'offset',
    rows: 'i32',
    columns: 'i32',
    channels: 'i32',
    mean: 'pointer',
    scale: 'pointer',
    shift: 'pointer',
    threshold: 'f32',
  },
  (k, p) => {
    forPixels(
      k,
      p,
      [
        [p.map, p.mapRow, p.mapPixel],
        [p.out, p.outRow, p.outPixel],
      ],
      (at, from, to) => {
        const [mean, scale, shift] = [p.mean, p.scale, p.shift].map((place) => k.load(place.plus(at)));
        k.store(to!, k.load(from!).sub(mean!).mul(scale!).add(shift!).max(p.threshold.splat()));
      },
    );
  },
);

export const normalizeSums: KernelDefinition = kernel(
  'normalizeSums',
  'sums[channels] (+)= Σ gradient; products[channels] (+)= Σ gradient · (map − mean[channels])',
  {
    sums: 'pointer',
    products: 'pointer',
    gradient: 'pointer',
    gradientRow: 'offset',
    gradientPixel: 'offset',
    map: 'pointer',
    mapRow: 'offset',
    mapPixel: 'offset',
    rows: 'i32',
    columns: 'i32',
    channels: 'i32',
    mean: 'pointer',
    accumulate: 'i32',
  },
  (k, p) => {
    k.loop(p.rows, (row) => {
      k.vectors(p.channels, (first) => {
        const at = first.toOffset();
        const mean = k.load(p.mean.plus(at));
        const [sum, product] = sumRow(
          k,
          p.columns,
          [
            [p.gradient.plus(p.gradientRow.scale(row)).plus(at), p.gradientPixel],
            [p.map.plus(p.mapRow.scale(row)).plus(at), p.mapPixel],
          ],
          (gradientPlace, mapPlace) => {
            const gradient = k.load(gradientPlace!);
            return [gradient, gradient.mul(k.load(mapPlace!).sub(mean))];
          },
          2,
        );
        const [sums, products] = [k.variable(sum!), k.variable(product!)];
        k.if(p.accumulate.add(row), () => {
          sums.set(sums.add(k.load(p.sums.plus(at))));
          products.set(products.add(k.load(p.products.plus(at))));
        });
        k.store(p.sums.plus(at), sums);
        k.store(p.products.plus(at), products);
      });
    });
  },
);

export const normalizeBackward: KernelDefinition = kernel(
  'normalizeBackward',
  'out = (gradient − offset[channels] − (map − mean[channels]) · slope[channels]) · scale[channels], 0 where map ≤ threshold',
  {
    out: 'pointer',
    outRow: 'offset',
    outPixel: 'offset',
    gradient: 'pointer',
    gradientRow: 'offset',
    gradientPixel: 'offset',
    map: 'pointer',
    mapRow: 'offset',
    mapPixel: 'offset',
    rows: 'i32',
    columns: 'i32',
    channels: 'i32',
    mean: 'pointer',
    scale: 'pointer',
    offset: 'pointer',
    slope: 'pointer',
    /** 0 if the map is the output of a ReLU, −∞ otherwise. */
    threshold: 'f32',
  },
  (k, p) => {
    forPixels(
      k,
      p,
      [
        [p.gradient, p.gradientRow, p.gradientPixel],
        [p.map, p.mapRow, p.mapPixel],
        [p.out, p.outRow, p.outPixel],
      ],
      (at, gradient, from, to) => {
        const [mean, scale, offset, slope] = [p.mean, p.scale, p.offset, p.slope].map((place) =>
          k.load(place.plus(at)),
        );
        const value = k.load(from!);
        const free = k.load(gradient!).sub(offset!).sub(value.sub(mean!).mul(slope!));
        k.store(to!, value.greater(p.threshold.splat()).select(free.mul(scale!), k.vector(0)));
      },
    );
  },
);
