/**
 * How much of each image there is in a mixed one (mixup, Zhang et al., ICLR 2018): λ of Beta(α, α), one for each
 * batch, a function of seed, epoch and step alone.
 */
import { type Random, random, streams } from './random.ts';

/** λ, 0–1, of a step (counted from 0) of an epoch. */
export function mixupShare(alpha: number, seed: number, epoch: number, step: number): number {
  const source = random(seed, streams.mixup, epoch, step);
  const a = gamma(alpha, source);
  const b = gamma(alpha, source);
  // Both are 0 only where α is so small that either image is taken whole.
  return a + b === 0 ? 1 : a / (a + b);
}

/** A draw of Gamma(shape, 1): Marsaglia & Tsang, "A simple method for generating gamma variables", 2000. */
function gamma(shape: number, source: Random): number {
  if (shape < 1) return gamma(shape + 1, source) * (1 - source.uniform()) ** (1 / shape);
  const d = shape - 1 / 3;
  for (;;) {
    const x = source.normal();
    const v = (1 + x / Math.sqrt(9 * d)) ** 3;
    if (v <= 0) continue;
    if (Math.log(1 - source.uniform()) < (x * x) / 2 + d - d * v + d * Math.log(v)) return d * v;
  }
}
