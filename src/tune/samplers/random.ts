/** Random search (Bergstra and Bengio, "Random Search for Hyper-Parameter Optimization", JMLR 2012). */
import type { Random } from '../../data/random.ts';
import { UsageError } from '../../errors.ts';
import { type Distribution, type Params, type ParamValue, sizeOf, valueAt } from '../distributions.ts';
import { formatPythonJson } from '../json.ts';
import { drawPossible } from '../search-space.ts';
import type { SampleRequest, Sampler } from './sampler.ts';

const attempts = 10_000;

/** Draws each parameter uniformly over its range, or its range's logarithm. Impossible points are drawn again. */
export function randomSampler(): Sampler {
  return { name: 'random', sample: drawRandom };
}

/** @throws UsageError if no possible point was drawn. */
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
    `none of ${attempts} points drawn from the space is possible, for example ${formatPythonJson(reason)}: ` +
      `${space.impossibility(reason) ?? 'this one is'}; remove candidates that do not fit together`,
  );
}

/** Draws one value of a distribution, uniformly. */
export function drawValue(distribution: Distribution, random: Random): ParamValue {
  const size = sizeOf(distribution);
  if (distribution.kind === 'categorical') return valueAt(distribution, random.integer(size));
  const { kind, low, high, log } = distribution;
  if (!log && size < Number.POSITIVE_INFINITY) return valueAt(distribution, random.integer(size));
  if (kind === 'int') {
    // Each integer covers half a unit on both sides.
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
