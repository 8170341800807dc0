/**
 * Mean and standard deviation of each channel over all pixels of a data set (the lecture's equation 5.9), for
 * `normalize`. Computed from histograms of byte values, so sums are exact and independent of the order.
 */
import { checkDataset, type Dataset } from './dataset.ts';

export interface ChannelStatistics {
  /** One value per channel, for pixels scaled to 0–1. */
  readonly mean: readonly number[];
  /** Population standard deviation (divided by N, not N − 1). */
  readonly std: readonly number[];
}

/** Counts how often each byte value occurs in each channel: 256 bins per channel. */
export function channelHistograms(dataset: Dataset): Uint32Array[] {
  checkDataset('channelHistograms', dataset);
  const [channels, height, width] = dataset.shape;
  const area = height * width;
  const histograms = Array.from({ length: channels }, () => new Uint32Array(256));
  const { pixels } = dataset;
  let position = 0;
  for (let image = 0; image < dataset.length; image++) {
    for (const histogram of histograms) {
      const end = position + area;
      for (; position < end; position++) histogram[pixels[position]!]!++;
    }
  }
  return histograms;
}

/** Call it with the training set: the test set is normalized with the training set's statistics. */
export function channelStatistics(dataset: Dataset): ChannelStatistics {
  const moments = channelHistograms(dataset).map((histogram) => {
    const count = histogram.reduce((sum, n) => sum + n, 0);
    const mean = histogram.reduce((sum, n, value) => sum + n * value, 0) / count;
    const variance = histogram.reduce((sum, n, value) => sum + n * (value - mean) ** 2, 0) / count;
    return { mean: mean / 255, std: Math.sqrt(variance) / 255 };
  });
  return { mean: moments.map(({ mean }) => mean), std: moments.map(({ std }) => std) };
}
