import { expect, test } from 'vitest';
import { random } from '../data/random.ts';
import { ashaPruner, medianPruner, type Pruner } from './pruners.ts';
import type { TrialState } from './records.ts';
import type { FrozenTrial } from './replay.ts';

const trialOf = (
  number: number,
  state: TrialState,
  values: Readonly<Record<number, number>>,
  parent?: number,
): FrozenTrial => ({
  id: number,
  number,
  state,
  params: {},
  distributions: {},
  intermediateValues: new Map(Object.entries(values).map(([step, value]) => [Number(step), value])),
  userAttrs: parent === undefined ? {} : { 'vgg:parent': parent },
  systemAttrs: {},
});

const shouldPrune = (
  pruner: Pruner,
  trials: readonly FrozenTrial[],
  values: Record<number, number>,
): boolean => {
  const trial = trialOf(trials.length, 'running', values);
  return pruner.shouldPrune({ direction: 'maximize', trials: [...trials, trial] }, trial);
};

const complete = [1, 2, 3, 4, 5].map((end, number) =>
  trialOf(number, 'complete', { 1: end / 10, 2: end, 3: end }),
);

test.each<[string, Pruner, Record<number, number>, boolean]>([
  ['below the median', medianPruner(), { 1: 0.2, 2: 2.9 }, true],
  ['at the median', medianPruner(), { 1: 0.2, 2: 3 }, false],
  ['its best value counts', medianPruner(), { 1: 3.5, 2: 1 }, false],
  ['NaN', medianPruner(), { 1: Number.NaN }, true],
  ['nothing reported', medianPruner(), {}, false],
  ['a step that no other has', medianPruner(), { 7: 0 }, false],
  ['too few complete trials', medianPruner({ startupTrials: 6 }), { 1: 0 }, false],
  ['within the warm-up', medianPruner({ warmupSteps: 1 }), { 1: 0 }, false],
  ['after the warm-up', medianPruner({ warmupSteps: 1 }), { 1: 0, 2: 0 }, true],
  ['inside of an interval', medianPruner({ interval: 2 }), { 1: 0, 2: 0 }, false],
  ['at the start of the next', medianPruner({ interval: 2 }), { 1: 0, 2: 0, 3: 0 }, true],
])('median: %s', (_, pruner, values, expected) => {
  expect(shouldPrune(pruner, complete, values)).toBe(expected);
});

const asha = ashaPruner({ minResource: 2, reductionFactor: 2 });
const rungs = [
  trialOf(0, 'pruned', { 1: 9, 2: 1 }),
  trialOf(1, 'pruned', { 2: 2 }),
  trialOf(2, 'pruned', { 2: 3 }),
  // Went on: rungs 0 and 1.
  trialOf(3, 'complete', { 2: 4, 4: 4 }),
];

test.each<[string, Record<number, number>, boolean]>([
  ['before the first rung ends', { 1: 0 }, false],
  ['not among the best half', { 2: 2.5 }, true],
  ['among the best half', { 2: 3.5 }, false],
  ['NaN', { 2: Number.NaN }, true],
  ['inside of the next rung', { 2: 0, 3: 0 }, false],
  ['worse at the end of the next', { 2: 4, 4: 3 }, true],
  ['better at the end of the next', { 2: 4, 4: 5 }, false],
  ['coarse steps', { 3: 0 }, true],
])('asha: %s', (_, values, expected) => {
  expect(shouldPrune(asha, rungs, values)).toBe(expected);
});

const promotion = (trials: readonly FrozenTrial[]): number | undefined =>
  asha.nextPromotion!({ direction: 'maximize', trials })?.number;

test('asha: who is among the best of its rung is promoted, the highest rung first, and once', () => {
  expect(promotion(rungs)).toBe(2);
  const promoted = [...rungs, trialOf(4, 'running', { 2: 3 }, 2)];
  expect(promotion(promoted)).toBeUndefined();
  // Its own rungs count once for the family.
  const paused = [...rungs, trialOf(4, 'pruned', { 2: 3, 4: 5 }, 2)];
  expect(promotion(paused)).toBe(4);
  expect(promotion([...rungs, trialOf(4, 'fail', { 2: 3 }, 2)])).toBeUndefined();
});

test.each([
  [() => ashaPruner({ reductionFactor: 1 }), 'reductionFactor 1 is not a whole number ≥ 2'],
  [() => ashaPruner({ minResource: 0.5 }), 'minResource 0.5'],
  [() => medianPruner({ interval: 0 }), 'interval 0'],
])('options out of range are refused', (make, message) => {
  expect(make).toThrow(message);
});

/** Accuracies of `count` configurations after each of 27 epochs: they cross early and settle late. */
function learningCurves(count: number, seed: number): number[][] {
  const source = random(seed, 17);
  return Array.from({ length: count }, () => {
    const final = 0.3 + 0.4 * source.uniform() + 0.02 * source.normal();
    const speed = 0.3 + 0.3 * source.uniform();
    return Array.from(
      { length: 27 },
      (_, epoch) => final * (1 - 0.9 * Math.exp(-speed * (epoch + 1))) + 0.004 * source.normal(),
    );
  });
}

/** Runs all configurations under ASHA by a number of workers that take turns, epoch by epoch. */
function runAsha(curves: readonly (readonly number[])[], workers: number): { best: number; epochs: number } {
  const pruner = ashaPruner({ minResource: 2, reductionFactor: 4 });
  const trials: FrozenTrial[] = [];
  const rowOf = new Map<number, number>();
  const running: (FrozenTrial | undefined)[] = new Array<undefined>(workers).fill(undefined);
  let started = 0;
  let epochs = 0;
  let best = Number.NEGATIVE_INFINITY;
  const standings = { direction: 'maximize', trials } as const;
  const next = (): FrozenTrial | undefined => {
    const parent = pruner.nextPromotion!(standings);
    if (parent === undefined && started === curves.length) return undefined;
    const values = Object.fromEntries(parent?.intermediateValues ?? []);
    const trial = trialOf(trials.length, 'running', values, parent?.number);
    rowOf.set(trial.number, parent === undefined ? started++ : rowOf.get(parent.number)!);
    trials.push(trial);
    return trial;
  };
  const end = (trial: FrozenTrial, state: TrialState): void => {
    trials[trial.number] = { ...trial, state };
  };
  for (;;) {
    for (let worker = 0; worker < workers; worker++) running[worker] ??= next();
    if (running.every((trial) => trial === undefined)) return { best, epochs };
    for (const [worker, trial] of running.entries()) {
      if (trial === undefined) continue;
      const epoch = trial.intermediateValues.size + 1;
      const value = curves[rowOf.get(trial.number)!]![epoch - 1]!;
      epochs++;
      (trial.intermediateValues as Map<number, number>).set(epoch, value);
      if (epoch === 27) {
        best = Math.max(best, value);
        end(trial, 'complete');
      } else if (pruner.shouldPrune(standings, trial)) end(trial, 'pruned');
      else continue;
      running[worker] = undefined;
    }
  }
}

test.each([1, 4])(
  'asha finds the best of full training at a third of the epochs or less, %d workers',
  (workers) => {
    const tables = Array.from({ length: 20 }, (_, seed) => learningCurves(81, seed));
    const runs = tables.map((curves) => runAsha(curves, workers));
    const bests = tables.map((curves) => Math.max(...curves.map((curve) => curve.at(-1)!)));
    // Curves that cross after the first rung can hide the best from any early stopping.
    expect(runs.filter(({ best }, seed) => best === bests[seed]).length).toBeGreaterThanOrEqual(19);
    expect(Math.max(...runs.map(({ epochs }) => epochs))).toBeLessThanOrEqual((81 * 27) / 3);
  },
);
