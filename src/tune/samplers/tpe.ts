/**
 * The tree-structured Parzen estimator (Bergstra et al., "Algorithms for Hyper-Parameter Optimization", NeurIPS 2011),
 * multivariate as in BOHB (Falkner et al., ICML 2018), with the constants of Optuna's TPESampler.
 *
 * The n finished trials are ranked and split: the best min(⌈0.1·n⌉, 25) form the density l, all others g. Of 24 points
 * drawn from l, the one with the largest l/g is proposed, because its expected improvement is largest. Complete trials rank
 * before pruned ones, and running ones come last: they count as bad (a constant liar), so that parallel workers try
 * different points. A family of trials (promotions, retries) counts once.
 *
 * If all parameters have a finite number of values, a point is proposed again only if no other one was drawn, because the
 * same training would give the same result. (Optuna repeats such points.)
 *
 * Conditions: parameters with the same condition form a group with its own densities over the trials that have them.
 */
import { checkOptions, checkWhole } from '../../options.ts';
import { type Params, type ParamValue, sizeOf, toExternal, toInternal, valueAt } from '../distributions.ts';
import { formatPythonJson } from '../json.ts';
import { lastStep, latestTrials } from '../lineage.ts';
import type { Direction } from '../records.ts';
import type { FrozenTrial } from '../replay.ts';
import { drawPossible, type Parameter, type SearchSpace } from '../search-space.ts';
import { ParzenEstimator, type Point } from './parzen.ts';
import { drawRandom } from './random.ts';
import type { SampleRequest, Sampler } from './sampler.ts';

export interface TpeOptions {
  /** Points are random until this many trials have ended; 10 by default. */
  readonly startupTrials?: number;
  /** Points drawn for each proposal; 24 by default. */
  readonly candidates?: number;
}

/** Impossible points drawn before falling back to random ones. */
const attempts = 100;
/** Already tried points drawn before one is repeated. */
const repeats = 20;

/** The tree-structured Parzen estimator. */
export function tpeSampler(options: TpeOptions = {}): Sampler {
  checkOptions<TpeOptions>('tpeSampler', options, { startupTrials: 'optional', candidates: 'optional' });
  const { startupTrials = 10, candidates = 24 } = options;
  checkWhole('tpeSampler', 'startupTrials', startupTrials, 0, Number.MAX_SAFE_INTEGER);
  checkWhole('tpeSampler', 'candidates', candidates, 1, 100_000);
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
      // What each group proposed in one attempt. The object of values that is being filled identifies the attempt.
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
      // With several groups, one group's values are not a point.
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

/** A key for a point of a space, without parameters that have a single value. */
const keyOf = ({ parameters }: SearchSpace, params: Params): string =>
  formatPythonJson(
    parameters.map(({ name, distribution }) => (sizeOf(distribution) > 1 ? params[name] : undefined)),
  );

/** Parameters with the same condition, and the densities of the good and of the other trials. */
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
    // In chronological order, because older observations have less weight.
    const inOrder = ranked.toSorted((a, b) => a.number - b.number);
    const observe = (trials: readonly FrozenTrial[]): readonly Point[] =>
      trials.map((trial) => observation(parameters, trial)).filter((point) => point !== undefined);
    this.#good = new ParzenEstimator(distributions, observe(inOrder.filter((trial) => best.has(trial))));
    this.#others = new ParzenEstimator(distributions, observe(inOrder.filter((trial) => !best.has(trial))));
  }

  /** The candidate with the largest ratio of densities, preferring untried ones. */
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

/** Groups in the order of the space. Parameters with a single value have none. */
function groupsOf({ parameters }: SearchSpace): readonly (readonly Parameter[])[] {
  const groups = Map.groupBy(
    parameters.filter(({ distribution }) => sizeOf(distribution) > 1),
    ({ when }) => JSON.stringify(Object.entries(when ?? {}).toSorted(([a], [b]) => (a < b ? -1 : 1))),
  );
  return [...groups.values()];
}

/** The trial's values for a group, or undefined if one is missing. */
function observation(parameters: readonly Parameter[], trial: FrozenTrial): Point | undefined {
  const point = parameters.map(({ name, distribution }) =>
    Object.hasOwn(trial.params, name) ? toInternal(distribution, trial.params[name]!) : undefined,
  );
  return point.every((value) => value !== undefined) ? point : undefined;
}

/**
 * Trials with information, best first: complete ones by value; pruned ones by their last step, then by value; pruned ones
 * without a report; running ones.
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
