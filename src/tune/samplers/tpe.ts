/**
 * The tree-structured Parzen estimator (Bergstra et al., "Algorithms for Hyper-Parameter Optimization", NeurIPS 2011),
 * multivariate as in BOHB (Falkner et al., ICML 2018), with the constants of Optuna's TPESampler.
 *
 * The n trials that ended, best first, are split: the best min(⌈0.1·n⌉, 25) make the density l, all others g. Of 24
 * points drawn from l the one with the largest l/g is proposed, where the expected improvement is largest. Complete
 * trials come before pruned ones, and those before running ones: these count as bad (a constant liar), so that parallel
 * workers keep apart. A family of trials (promotions, retries) counts once.
 *
 * Where all parameters have a finite number of values, what was tried is proposed again only if nothing else comes up: the
 * same training would give the same result. (Optuna repeats such points.)
 *
 * Conditions: parameters with the same condition are a group with densities of its own over the trials that have them.
 */
import { type Params, type ParamValue, sizeOf, toExternal, toInternal, valueAt } from '../distributions.ts';
import { formatJson } from '../json.ts';
import { lastStep, latestTrials } from '../lineage.ts';
import type { Direction } from '../records.ts';
import type { FrozenTrial } from '../replay.ts';
import { drawPossible, type Parameter, type SearchSpace } from '../search-space.ts';
import { ParzenEstimator, type Point } from './parzen.ts';
import { drawRandom } from './random.ts';
import type { SampleRequest, Sampler } from './sampler.ts';

export interface TpeOptions {
  /** So many trials end before the first one is chosen; random until then; 10 by default. */
  readonly startupTrials?: number;
  /** Points that are drawn for each one proposed; 24 by default. */
  readonly candidates?: number;
}

/** Proposed points that cannot work before random ones are tried. */
const attempts = 100;
/** Proposed points that were tried before one is taken again. */
const repeats = 20;

/** The tree-structured Parzen estimator. */
export function tpeSampler(options: TpeOptions = {}): Sampler {
  const { startupTrials = 10, candidates = 24 } = options;
  return {
    name: 'tpe',
    sample(request) {
      const { space, direction, trials, fixed } = request;
      const ranked = rank(latestTrials(trials), direction);
      const ended = ranked.filter(({ state }) => state !== 'running').length;
      if (ended < startupTrials) return drawRandom(request);
      const best = new Set(ranked.slice(0, Math.min(Math.ceil(0.1 * ended), 25)));
      const groups = groupsOf(space).map((parameters) => new Group(parameters, ranked, best));
      const finite = space.parameters.every(({ distribution }) => Number.isFinite(sizeOf(distribution)));
      const tried = new Set(finite ? ranked.map(({ params }) => keyOf(space, params)) : []);
      const groupOf = new Map(groups.flatMap((group) => group.parameters.map(({ name }) => [name, group])));
      // What each group proposed in one attempt; an attempt is the object of values that it fills.
      const proposals = new WeakMap<Params, Map<Group, Params>>();
      const draw = ({ name, distribution }: Parameter, soFar: Params): ParamValue => {
        const group = groupOf.get(name);
        if (group === undefined) return valueAt(distribution, 0);
        const proposed = proposals.get(soFar) ?? new Map<Group, Params>();
        proposals.set(soFar, proposed);
        const values = proposed.get(group) ?? group.propose(request, candidates, isTried);
        proposed.set(group, values);
        return values[name]!;
      };
      // A group by itself is not a point where there are others.
      const isTried = (values: Params): boolean => groups.length === 1 && tried.has(keyOf(space, values));
      let repeated: Params | undefined;
      for (let i = 0; i < repeats; i++) {
        const params = drawPossible(space, fixed, draw, attempts) ?? drawRandom(request);
        if (!params || !tried.has(keyOf(space, params))) return params;
        repeated ??= params;
      }
      return repeated;
    },
  };
}

/** What tells a point of a space from the others; parameters with a single value do not. */
const keyOf = ({ parameters }: SearchSpace, params: Params): string =>
  formatJson(
    parameters.map(({ name, distribution }) => (sizeOf(distribution) > 1 ? params[name] : undefined)),
  );

/** Parameters that exist under the same condition, with the densities of the good and of the other trials. */
class Group {
  readonly parameters: readonly Parameter[];
  readonly #good: ParzenEstimator;
  readonly #others: ParzenEstimator;

  constructor(
    parameters: readonly Parameter[],
    ranked: readonly FrozenTrial[],
    best: ReadonlySet<FrozenTrial>,
  ) {
    this.parameters = parameters;
    const distributions = parameters.map(({ distribution }) => distribution);
    // In the order of time, by which old observations weigh less.
    const inOrder = ranked.toSorted((a, b) => a.number - b.number);
    const observe = (trials: readonly FrozenTrial[]): readonly Point[] =>
      trials.map((trial) => observation(parameters, trial)).filter((point) => point !== undefined);
    this.#good = new ParzenEstimator(distributions, observe(inOrder.filter((trial) => best.has(trial))));
    this.#others = new ParzenEstimator(distributions, observe(inOrder.filter((trial) => !best.has(trial))));
  }

  /** The candidate with the largest ratio of the densities, of those that were not tried if there are any. */
  propose(
    { random, fixed }: SampleRequest,
    candidates: number,
    isTried: (values: Params) => boolean,
  ): Params {
    let best: { readonly values: Params; readonly score: number; readonly isNew: boolean } | undefined;
    for (let i = 0; i < candidates; i++) {
      const point = this.#good.sample(random);
      for (const [index, { name, distribution }] of this.parameters.entries()) {
        const value = Object.hasOwn(fixed, name) ? toInternal(distribution, fixed[name]!) : undefined;
        if (value !== undefined) point[index] = value;
      }
      const values = Object.fromEntries(
        this.parameters.map(({ name, distribution }, index) => [
          name,
          toExternal(distribution, point[index]!)!,
        ]),
      );
      const score = Math.log(this.#good.density(point)) - Math.log(this.#others.density(point));
      const isNew = !isTried(values);
      if (!best || (isNew === best.isNew ? score > best.score : isNew)) best = { values, score, isNew };
    }
    return best!.values;
  }
}

/** Groups in the order of the space; parameters with a single value need none. */
function groupsOf({ parameters }: SearchSpace): readonly (readonly Parameter[])[] {
  const groups = Map.groupBy(
    parameters.filter(({ distribution }) => sizeOf(distribution) > 1),
    ({ when }) => JSON.stringify(Object.entries(when ?? {}).toSorted(([a], [b]) => (a < b ? -1 : 1))),
  );
  return [...groups.values()];
}

/** The trial's values of a group; undefined where it lacks one. */
function observation(parameters: readonly Parameter[], trial: FrozenTrial): Point | undefined {
  const point = parameters.map(({ name, distribution }) =>
    Object.hasOwn(trial.params, name) ? toInternal(distribution, trial.params[name]!) : undefined,
  );
  return point.every((value) => value !== undefined) ? point : undefined;
}

/**
 * Trials that tell something, best first: complete ones by value; pruned ones by how far they came, then by value;
 * pruned ones without a report; running ones.
 */
function rank(trials: readonly FrozenTrial[], direction: Direction): readonly FrozenTrial[] {
  const ranks = new Map<FrozenTrial, readonly [stage: number, loss: number]>();
  for (const trial of trials) {
    const key = rankOf(trial, direction);
    if (key !== undefined) ranks.set(trial, key);
  }
  return [...ranks]
    .sort(([, [stage, loss]], [, [otherStage, otherLoss]]) =>
      stage === otherStage ? (loss === otherLoss ? 0 : loss - otherLoss) : stage < otherStage ? -1 : 1,
    )
    .map(([trial]) => trial);
}

function rankOf(trial: FrozenTrial, direction: Direction): readonly [number, number] | undefined {
  const lossOf = (value: number): number => {
    if (Number.isNaN(value)) return Number.POSITIVE_INFINITY;
    return direction === 'minimize' ? value : -value;
  };
  switch (trial.state) {
    case 'complete':
      return trial.value === undefined ? undefined : [Number.NEGATIVE_INFINITY, lossOf(trial.value)];
    case 'pruned': {
      const step = lastStep(trial);
      return step === undefined ? [1, 0] : [-step, lossOf(trial.intermediateValues.get(step)!)];
    }
    case 'running':
      return [Number.POSITIVE_INFINITY, 0];
    case 'fail':
    case 'waiting':
      return undefined;
  }
}
