/**
 * Mean and standard deviation of each channel over all pixels of a data set (the lecture's equation 5.9), for
 * `normalize`. Computed from histograms of byte values, so sums are exact and independent of the order.
 */
import { storedImages } from './folders/read-stored.ts';
import { type AnyDataset, checkAnyDataset, isStored } from './stored.ts';

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
    const all = Array.from({ length: dataset.length }, (_, i) => i);
    for (const { shape, values } of storedImages(dataset.images, all)) {
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
