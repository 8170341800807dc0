/**
 * Mean and standard deviation of each channel over all pixels of a data set (the lecture's equation 5.9), for
 * `normalize`. Computed from histograms of byte values, so sums are exact and independent of the order.
 */
import { type AnyDataset, checkAnyDataset, isStored } from './stored.ts';
import { allStored } from './stored-node.ts';
import type { ColorComponents } from './transforms/color-shift.ts';
import { checkChannels } from './transforms/pixels.ts';

export interface ChannelStatistics {
  /** One value per channel, for pixels scaled to 0–1. */
  readonly mean: readonly number[];
  /** Population standard deviation (divided by N, not N − 1). */
  readonly std: readonly number[];
}

/** Counts how often each byte value occurs in each channel: 256 bins per channel. */
export function channelHistograms(dataset: AnyDataset): Uint32Array[] {
  checkAnyDataset('channelHistograms', dataset);
  const channels = isStored(dataset) ? 3 : dataset.shape[0];
  const histograms = Array.from({ length: channels }, () => new Uint32Array(256));
  if (isStored(dataset)) {
    for (const { shape, values } of allStored(dataset.images)) {
      count(values, shape[1] * shape[2], histograms);
    }
    return histograms;
  }
  count(dataset.pixels, dataset.shape[1] * dataset.shape[2], histograms);
  return histograms;
}

/** Adds the bytes of images, whose planes have `area` pixels. */
function count(pixels: Uint8Array, area: number, histograms: readonly Uint32Array[]): void {
  for (let position = 0; position < pixels.length; ) {
    for (const histogram of histograms) {
      const end = position + area;
      for (; position < end; position++) histogram[pixels[position]!]!++;
    }
  }
}

/** Call it with the training set: the test set is normalized with the training set's statistics. */
export function channelStatistics(dataset: AnyDataset): ChannelStatistics {
  checkAnyDataset('channelStatistics', dataset);
  if (isStored(dataset) && dataset.images.sums)
    return statisticsOfSums(dataset.images.sums, dataset.images.sizes);
  const moments = channelHistograms(dataset).map((histogram) => {
    const count = histogram.reduce((sum, n) => sum + n, 0);
    const mean = histogram.reduce((sum, n, value) => sum + n * value, 0) / count;
    const variance = histogram.reduce((sum, n, value) => sum + n * (value - mean) ** 2, 0) / count;
    return { mean: mean / 255, std: Math.sqrt(variance) / 255 };
  });
  return { mean: moments.map(({ mean }) => mean), std: moments.map(({ std }) => std) };
}

/** The same from each image's sums of bytes and of their squares, which are whole numbers. */
function statisticsOfSums(sums: Float64Array, sizes: Uint16Array): ChannelStatistics {
  const totals = new Float64Array(6);
  for (let i = 0; i < sums.length; i++) totals[i % 6]! += sums[i]!;
  let pixels = 0;
  for (let i = 0; i < sizes.length; i += 2) pixels += sizes[i]! * sizes[i + 1]!;
  const mean = [0, 1, 2].map((c) => totals[c]! / pixels);
  return {
    mean: mean.map((value) => value / 255),
    std: mean.map((value, c) => Math.sqrt(Math.max(0, totals[3 + c]! / pixels - value ** 2)) / 255),
  };
}

/**
 * Principal components of the RGB values of all pixels, for `colorShift`: of their covariance, the largest first.
 * @throws UsageError unless the images have three channels.
 */
export function colorComponents(dataset: AnyDataset): ColorComponents {
  checkAnyDataset('colorComponents', dataset);
  const channels = isStored(dataset) ? 3 : dataset.shape[0];
  checkChannels('colorComponents', channels, [3]);
  const sums = new Float64Array(3);
  // Products of two bytes add up exactly for up to 10¹¹ pixels.
  const products = new Float64Array(9);
  let pixels = 0;
  const add = (values: Uint8Array, from: number, area: number): void => {
    pixels += area;
    for (let i = from; i < from + area; i++) {
      const r = values[i]!;
      const g = values[i + area]!;
      const b = values[i + 2 * area]!;
      sums[0]! += r;
      sums[1]! += g;
      sums[2]! += b;
      products[0]! += r * r;
      products[1]! += r * g;
      products[2]! += r * b;
      products[4]! += g * g;
      products[5]! += g * b;
      products[8]! += b * b;
    }
  };
  if (isStored(dataset)) {
    for (const { shape, values } of allStored(dataset.images)) add(values, 0, shape[1] * shape[2]);
  } else {
    const area = dataset.shape[1] * dataset.shape[2];
    for (let image = 0; image < dataset.length; image++) add(dataset.pixels, 3 * image * area, area);
  }
  const covariance = (a: number, b: number): number =>
    (products[3 * Math.min(a, b) + Math.max(a, b)]! / pixels - (sums[a]! / pixels) * (sums[b]! / pixels)) /
    255 ** 2;
  return symmetricComponents([0, 1, 2].map((a) => [0, 1, 2].map((b) => covariance(a, b))));
}

/** Sweeps of Jacobi's method; a 3×3 matrix needs about six. */
const sweeps = 30;

/** Eigenvalues and eigenvectors of a symmetric matrix: Jacobi's rotations. */
function symmetricComponents(matrix: readonly number[][]): ColorComponents {
  const a = matrix.map((row) => [...row]);
  const size = a.length;
  const vectors = a.map((_, i) => a.map((_, j): number => (i === j ? 1 : 0)));
  for (let sweep = 0; sweep < sweeps; sweep++) {
    for (let p = 0; p < size; p++) {
      for (let q = p + 1; q < size; q++) {
        if (a[p]![q] === 0) continue;
        const angle = Math.atan2(2 * a[p]![q]!, a[q]![q]! - a[p]![p]!) / 2;
        const [c, s] = [Math.cos(angle), Math.sin(angle)];
        const turn = (row: number[]): void => {
          [row[p], row[q]] = [c * row[p]! - s * row[q]!, s * row[p]! + c * row[q]!];
        };
        for (const row of a) turn(row);
        for (let k = 0; k < size; k++) {
          [a[p]![k], a[q]![k]] = [c * a[p]![k]! - s * a[q]![k]!, s * a[p]![k]! + c * a[q]![k]!];
        }
        for (const row of vectors) turn(row);
      }
    }
  }
  const order = a.map((_, i) => i).sort((i, j) => a[j]![j]! - a[i]![i]!);
  return {
    values: order.map((i) => Math.max(0, a[i]![i]!)),
    vectors: order.map((i) => {
      // The sign is free; a positive sum makes it unique.
      const vector = vectors.map((row) => row[i]!);
      const sign = vector.reduce((sum, value) => sum + value, 0) < 0 ? -1 : 1;
      return vector.map((value) => sign * value);
    }),
  };
}
