/**
 * Learning rates of layers: factors of a step's rate. Layers with the same factor share the optimizer's settings, which
 * are written for each factor before a step, so that code is the same for all rates.
 */

/** The different factors, and the index among them for each layer; no indices if there is only one factor. */
export interface RateGroups {
  readonly factors: readonly number[];
  readonly ofLayers: readonly number[];
}

/** `factors` are those of the layers; empty if all are 1. */
export function rateGroups(factors: readonly number[]): RateGroups {
  const different = [...new Set(factors)];
  if (different.length < 2) return { factors: [different[0] ?? 1], ofLayers: [] };
  return { factors: different, ofLayers: factors.map((factor) => different.indexOf(factor)) };
}
