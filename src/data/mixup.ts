/**
 * The share λ of each image in a mixed one (mixup, Zhang et al., ICLR 2018): drawn from Beta(α, α) once per batch. It
 * depends only on seed, epoch and step.
 */
import { type Random, random, streams } from './random.ts';

/** λ (0–1) for a step of an epoch; steps count from 0. */
export function mixupShare(alpha: number, seed: number, epoch: number, step: number): number {
  const source = random(seed, streams.mixup, epoch, step);
  const a = gamma(alpha, source);
  const b = gamma(alpha, source);
  // Both are 0 only if α is so small that one image is used whole.
  return a + b === 0 ? 1 : a / (a + b);
}

/** Draws from Gamma(shape, 1): Marsaglia & Tsang, "A simple method for generating gamma variables", 2000. */
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
