/** Random search (Bergstra and Bengio, "Random Search for Hyper-Parameter Optimization", JMLR 2012). */
import type { Random } from '../../data/random.ts';
import { UsageError } from '../../errors.ts';
import { type Distribution, type Params, type ParamValue, sizeOf, valueAt } from '../distributions.ts';
import { formatJson } from '../json.ts';
import { drawPossible } from '../search-space.ts';
import type { SampleRequest, Sampler } from './sampler.ts';

const attempts = 10_000;

/** Each parameter evenly over its range, or over the range's logarithm; impossible points are drawn anew. */
export function randomSampler(): Sampler {
  return { name: 'random', sample: drawRandom };
}

/** @throws UsageError where no possible point comes up. */
export function drawRandom({ space, fixed, random }: SampleRequest): Params {
  const params = drawPossible(space, fixed, ({ distribution }) => drawValue(distribution, random), attempts);
  if (params !== undefined) return params;
  const reason = drawPossible(
    { ...space, impossibility: () => undefined },
    fixed,
    ({ distribution }) => drawValue(distribution, random),
    1,
  )!;
  throw new UsageError(
    `none of ${attempts} points drawn from the space can work, for instance ${formatJson(reason)}: ` +
      `${space.impossibility(reason) ?? 'it can'}; leave out the candidates that do not fit together`,
  );
}

/** One value of a distribution, evenly. */
export function drawValue(distribution: Distribution, random: Random): ParamValue {
  const size = sizeOf(distribution);
  if (distribution.kind === 'categorical') return valueAt(distribution, random.integer(size));
  const { kind, low, high, log } = distribution;
  if (!log && size < Number.POSITIVE_INFINITY) return valueAt(distribution, random.integer(size));
  if (kind === 'int') {
    // Each whole number stands for the half on both sides.
    const value = Math.round(drawFloat(low - 0.5, high + 0.5, true, random));
    return Math.min(Math.max(value, low), high);
  }
  return drawFloat(low, high, log, random);
}

function drawFloat(low: number, high: number, log: boolean, random: Random): number {
  const share = random.uniform();
  const value = log
    ? Math.exp(Math.log(low) + share * (Math.log(high) - Math.log(low)))
    : low + share * (high - low);
  return Math.min(Math.max(value, low), high);
}
