/**
 * A Parzen estimator over several parameters at once (Falkner et al., "BOHB", ICML 2018; the constants are Optuna's):
 * a mixture with one component for each observation and one for the prior. A component is a product over the
 * parameters: for numbers a Gaussian truncated to the range, for categories a smoothed indicator.
 *
 * Numbers are scaled to [0, 1] over their range (its logarithm where it is logarithmic). With n observations in d
 * parameters the Gaussians' deviation is 0.2·n^(−1/(d+4)), at least 1/min(100, n+2) and at most 1; the prior's is 1
 * around the middle. A category's component is (𝟙 + 1/(n+1)) / (1 + K/(n+1)) over K choices. Parameters with a step get
 * the mass of their step instead of a density.
 */
import type { Random } from '../../data/random.ts';
import type { Distribution } from '../distributions.ts';

/** Values in the journal's form: a category's index, otherwise the value. */
export type Point = readonly number[];

const magnitude = 0.2;
const priorWeight = 1;
/** This many of the latest observations have full weight; older ones have less, down to 1/n. */
const recent = 25;

/** What a dimension is, scaled to [0, 1]. */
type Axis =
  | { readonly kind: 'categorical'; readonly size: number }
  | {
      readonly kind: 'number';
      readonly scale: (value: number) => number;
      readonly unscale: (share: number) => number;
      /** Half a step; undefined for a density. */
      readonly half?: number;
    };

function axisOf(distribution: Distribution): Axis {
  if (distribution.kind === 'categorical') return { kind: 'categorical', size: distribution.choices.length };
  const { kind, low, high, log, step } = distribution;
  const clamp = (value: number): number => Math.min(Math.max(value, low), high);
  if (log) {
    // Each integer covers half a unit on both sides.
    const margin = kind === 'int' ? 0.5 : 0;
    const start = Math.log(low - margin);
    const width = Math.log(high + margin) - start;
    const round = kind === 'int' ? Math.round : (value: number) => value;
    return {
      kind: 'number',
      scale: (value) => (Math.log(clamp(value)) - start) / width,
      unscale: (share) => clamp(round(Math.exp(start + share * width))),
    };
  }
  const start = low - (step ?? 0) / 2;
  const width = high - low + (step ?? 0);
  const snap = (value: number): number =>
    step === undefined ? value : Number((low + Math.round((value - low) / step) * step).toPrecision(14));
  return {
    kind: 'number',
    scale: (value) => (clamp(value) - start) / width,
    unscale: (share) => clamp(snap(start + share * width)),
    ...(step !== undefined && { half: step / width / 2 }),
  };
}

/** A mixture over the given distributions; none of them has a single value only. */
export class ParzenEstimator {
  readonly #axes: readonly Axis[];
  /** Of each component; they sum to 1. */
  readonly #weights: Float64Array;
  /** Scaled means, or category indices, [component][axis]; the prior comes last and has the index −1. */
  readonly #means: readonly Float64Array[];
  readonly #deviation: number;
  /** Mass of each component's Gaussian within the range, [component][axis]. */
  readonly #masses: readonly Float64Array[];
  readonly #smoothing: number;

  constructor(distributions: readonly Distribution[], observations: readonly Point[]) {
    const count = observations.length;
    const axes = distributions.map(axisOf);
    this.#axes = axes;
    this.#smoothing = priorWeight / (count + 1);
    this.#deviation = Math.min(
      Math.max(magnitude * Math.max(count, 1) ** (-1 / (axes.length + 4)), 1 / Math.min(100, count + 2)),
      1,
    );
    this.#weights = Float64Array.of(...weightsOf(count), priorWeight);
    const total = this.#weights.reduce((sum, weight) => sum + weight, 0);
    this.#weights = this.#weights.map((weight) => weight / total);
    this.#means = [
      ...observations.map((point) =>
        Float64Array.from(axes, (axis, i) => (axis.kind === 'number' ? axis.scale(point[i]!) : point[i]!)),
      ),
      Float64Array.from(axes, ({ kind }) => (kind === 'number' ? 0.5 : -1)),
    ];
    this.#masses = this.#means.map((means, component) =>
      Float64Array.from(axes, ({ kind }, i) =>
        kind === 'number' ? massBetween(0, 1, means[i]!, this.#deviationOf(component)) : 1,
      ),
    );
  }

  /** A point from the mixture. */
  sample(random: Random): number[] {
    const component = pick(this.#weights, random);
    const means = this.#means[component]!;
    return this.#axes.map((axis, i) => {
      const mean = means[i]!;
      if (axis.kind === 'categorical') {
        const isPlain = mean < 0 || random.uniform() * (1 + axis.size * this.#smoothing) >= 1;
        return isPlain ? random.integer(axis.size) : mean;
      }
      // The mean lies in the range, so at least a third of the draws do.
      for (;;) {
        const share = mean + this.#deviationOf(component) * random.normal();
        if (share >= 0 && share <= 1) return axis.unscale(share);
      }
    });
  }

  /** The mixture's density at a point, up to a factor that depends on the distributions alone. */
  density(point: Point): number {
    const axes = this.#axes;
    const scaled = axes.map((axis, i) => (axis.kind === 'number' ? axis.scale(point[i]!) : point[i]!));
    let sum = 0;
    for (const [component, means] of this.#means.entries()) {
      const deviation = this.#deviationOf(component);
      const masses = this.#masses[component]!;
      let product = this.#weights[component]!;
      for (let i = 0; i < means.length && product > 0; i++) {
        const axis = axes[i]!;
        const mean = means[i]!;
        const value = scaled[i]!;
        if (axis.kind === 'categorical') {
          product *=
            mean < 0
              ? 1 / axis.size
              : ((mean === value ? 1 : 0) + this.#smoothing) / (1 + axis.size * this.#smoothing);
        } else if (axis.half === undefined) {
          const distance = (value - mean) / deviation;
          product *= Math.exp(-0.5 * distance * distance) / (deviation * Math.sqrt(2 * Math.PI)) / masses[i]!;
        } else {
          const low = Math.max(value - axis.half, 0);
          const high = Math.min(value + axis.half, 1);
          product *= massBetween(low, high, mean, deviation) / masses[i]!;
        }
      }
      sum += product;
    }
    return sum;
  }

  #deviationOf(component: number): number {
    return component === this.#means.length - 1 ? 1 : this.#deviation;
  }
}

/** Oldest first: a ramp from 1/n to 1, then 1 for the 25 latest. */
function weightsOf(count: number): number[] {
  const ramp = Math.max(count - recent, 0);
  return Array.from({ length: count }, (_, i) => {
    if (i >= ramp) return 1;
    return ramp === 1 ? 1 / count : 1 / count + (1 - 1 / count) * (i / (ramp - 1));
  });
}

function pick(weights: Float64Array, random: Random): number {
  let rest = random.uniform();
  for (const [index, weight] of weights.entries()) {
    rest -= weight;
    if (rest < 0) return index;
  }
  return weights.length - 1;
}

/** The share of a Gaussian between two values. */
function massBetween(low: number, high: number, mean: number, deviation: number): number {
  const from = (low - mean) / deviation;
  const to = (high - mean) / deviation;
  // Differences are taken where the numbers are small.
  return from > 0 ? cumulative(-from) - cumulative(-to) : cumulative(to) - cumulative(from);
}

/** The normal distribution function (Marsaglia, "Evaluating the Normal Distribution", J. Stat. Software 2004). */
export function cumulative(x: number): number {
  if (x < -8) return 0;
  if (x > 8) return 1;
  let sum = x;
  let previous = 0;
  let term = x;
  for (let i = 3; sum !== previous; i += 2) {
    previous = sum;
    term *= (x * x) / i;
    sum += term;
  }
  return 0.5 + sum * Math.exp(-0.5 * x * x - 0.5 * Math.log(2 * Math.PI));
}
