import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { random } from '../../data/random.ts';
import {
  categorical,
  type Distribution,
  float,
  int,
  type Params,
  type ParamValue,
} from '../distributions.ts';
import type { FrozenTrial } from '../replay.ts';
import { isActive, type SearchSpace, searchSpace } from '../search-space.ts';
import { gridSampler, gridSize } from './grid.ts';
import { cumulative, ParzenEstimator } from './parzen.ts';
import { drawValue, randomSampler } from './random.ts';
import type { Sampler } from './sampler.ts';
import { tpeSampler } from './tpe.ts';

/** What each point of a small space came to: `test/golden/make_vgg7_table.ts`. */
const vgg7Table: {
  readonly candidates: Readonly<Record<'lr' | 'channels' | 'stride' | 'hidden', readonly number[]>>;
  readonly results: readonly Readonly<Record<'lr' | 'channels' | 'stride' | 'hidden' | 'accuracy', number>>[];
} = JSON.parse(readFileSync(new URL('../../../test/golden/vgg7-table.json', import.meta.url), 'utf8'));

/** A history without a journal. */
function history(trials: readonly (Partial<FrozenTrial> & { readonly params: Params })[]): FrozenTrial[] {
  return trials.map((trial, number) => ({
    id: number,
    number,
    state: 'complete',
    distributions: {},
    intermediateValues: new Map(),
    userAttrs: {},
    systemAttrs: {},
    ...trial,
  }));
}

const ask = (
  sampler: Sampler,
  space: SearchSpace,
  trials: readonly FrozenTrial[],
  seed = 0,
  fixed: Params = {},
) =>
  sampler.sample({
    space,
    direction: 'minimize',
    trials,
    fixed,
    seed,
    random: random(seed, 16, trials.length),
  })!;

/** The best value of `count` trials, one after the other. */
function search(
  sampler: Sampler,
  space: SearchSpace,
  f: (params: Params) => number,
  count: number,
  seed: number,
) {
  const trials: FrozenTrial[] = [];
  let best = Number.POSITIVE_INFINITY;
  for (let number = 0; number < count; number++) {
    const params = ask(sampler, space, trials, seed);
    const value = f(params);
    best = Math.min(best, value);
    trials.push(...history([{ params, value }]).map((trial) => ({ ...trial, id: number, number })));
  }
  return best;
}

const numbers = (params: Params): number[] => Object.values(params) as number[];
const dimensions = (count: number, distribution: Distribution): SearchSpace =>
  searchSpace(Object.fromEntries(Array.from({ length: count }, (_, i) => [`x${i}`, distribution])));

const hartmannPeaks = [
  [1312, 1696, 5569, 124, 8283, 5886],
  [2329, 4135, 8307, 3736, 1004, 9991],
  [2348, 1451, 3522, 2883, 3047, 6650],
  [4047, 8828, 8732, 5743, 1091, 381],
];
const hartmannScales = [
  [10, 3, 17, 3.5, 1.7, 8],
  [0.05, 10, 17, 0.1, 8, 14],
  [3, 3.5, 1.7, 10, 17, 8],
  [17, 8, 0.05, 10, 0.1, 14],
];

/** Standard functions of the field, to be minimised. */
const functions: Readonly<Record<string, { space: SearchSpace; f: (params: Params) => number }>> = {
  sphere: {
    space: dimensions(4, float(-5, 5)),
    f: (params) => numbers(params).reduce((sum, x) => sum + x * x, 0),
  },
  branin: {
    space: searchSpace({ x: float(-5, 10), y: float(0, 15) }),
    f: (params) => {
      const [x, y] = numbers(params) as [number, number];
      const bend = y - (5.1 / (4 * Math.PI ** 2)) * x * x + (5 / Math.PI) * x - 6;
      return bend * bend + 10 * (1 - 1 / (8 * Math.PI)) * Math.cos(x) + 10;
    },
  },
  hartmann6: {
    space: dimensions(6, float(0, 1)),
    f: (params) => {
      const x = numbers(params);
      return -[1, 1.2, 3, 3.2].reduce((sum, height, i) => {
        const distance = x.reduce(
          (total, value, j) => total + hartmannScales[i]![j]! * (value - hartmannPeaks[i]![j]! / 10_000) ** 2,
          0,
        );
        return sum + height * Math.exp(-distance);
      }, 0);
    },
  },
  mixed: {
    space: searchSpace(
      {
        optimizer: categorical(['a', 'b', 'c', 'd']),
        lr: float(1e-5, 1, { log: true }),
        width: int(16, 256, { step: 16 }),
        depth: int(1, 64, { log: true }),
        decay: float(0, 0.5, { step: 0.05 }),
        extra: float(0, 1),
      },
      { when: { extra: { optimizer: ['b', 'c'] } } },
    ),
    f: ({ optimizer, lr, width, depth, decay, extra }) =>
      (optimizer === 'b' ? 0 : optimizer === 'c' ? 0.3 : 1) +
      (Math.log10(lr as number) + 2.5) ** 2 / 4 +
      (((width as number) - 160) / 128) ** 2 +
      (Math.log2(depth as number) - 3) ** 2 / 8 +
      ((decay as number) - 0.1) ** 2 * 4 +
      (extra === undefined ? 0.2 : ((extra as number) - 0.7) ** 2),
  },
};

/** One-sided Mann–Whitney test: how likely values of `lower` are so much below those of `upper` by chance. */
function mannWhitney(lower: readonly number[], upper: readonly number[]): number {
  let wins = 0;
  for (const a of lower) for (const b of upper) wins += a < b ? 1 : a === b ? 0.5 : 0;
  const [m, n] = [lower.length, upper.length];
  return 1 - cumulative((wins - (m * n) / 2 - 0.5) / Math.sqrt((m * n * (m + n + 1)) / 12));
}

describe('the tree-structured Parzen estimator', () => {
  test.each(Object.entries(functions))('beats random search: %s', (_, { space, f }) => {
    const seeds = Array.from({ length: 24 }, (_, seed) => seed);
    const tpe = seeds.map((seed) => search(tpeSampler(), space, f, 80, seed));
    const random = seeds.map((seed) => search(randomSampler(), space, f, 80, seed + 1000));
    expect(mannWhitney(tpe, random)).toBeLessThan(0.001);
  });

  test('beats random search: recorded results of vgg7', () => {
    const { candidates, results } = vgg7Table;
    const space = searchSpace({
      lr: float(0.0005, 0.0025, { step: 0.0005 }),
      channels: int(16, 48, { step: 16 }),
      stride: categorical(candidates.stride),
      hidden: categorical(candidates.hidden),
    });
    expect(gridSize(space)).toBe(results.length);
    const errorOf = (params: Params): number => {
      const names = Object.keys(candidates) as (keyof typeof candidates)[];
      const found = results.find((result) =>
        names.every((name) => Math.abs(result[name] - (params[name] as number)) < 1e-9),
      );
      return 1 - found!.accuracy;
    };
    const seeds = Array.from({ length: 100 }, (_, seed) => seed);
    const tpe = seeds.map((seed) => search(tpeSampler(), space, errorOf, 30, seed));
    const random = seeds.map((seed) => search(randomSampler(), space, errorOf, 30, seed + 1000));
    expect(mannWhitney(tpe, random)).toBeLessThan(0.001);
  });

  test('a point of a finite space is proposed once while there are others', () => {
    const space = searchSpace({ kind: categorical(['a', 'b', 'c']), width: int(1, 6) });
    const seen = new Set<string>();
    search(
      tpeSampler({ startupTrials: 1 }),
      space,
      (params) => {
        seen.add(JSON.stringify(params));
        return params.width as number;
      },
      16,
      0,
    );
    expect(seen.size).toBe(16);
  });

  test('running trials keep others away', () => {
    const space = searchSpace({ x: float(0, 1) });
    const ended = Array.from({ length: 40 }, (_, i) => ({
      params: { x: (i + 0.5) / 40 },
      value: Math.abs((i + 0.5) / 40 - 0.5),
    }));
    const near = (trials: readonly FrozenTrial[]): number =>
      Array.from({ length: 60 }, (_, seed) => ask(tpeSampler(), space, trials, seed).x as number).filter(
        (x) => Math.abs(x - 0.5) < 0.05,
      ).length;
    const running = Array.from({ length: 20 }, () => ({ params: { x: 0.5 }, state: 'running' as const }));
    expect(near(history([...ended, ...running]))).toBeLessThan(near(history(ended)) / 2);
  });

  test('pruned trials count by how far they came', () => {
    const space = searchSpace({ kind: categorical(['far', 'near']) });
    const trials = history(
      Array.from({ length: 60 }, (_, i) => {
        const isFar = i % 2 === 0;
        return {
          params: { kind: isFar ? 'far' : 'near' },
          state: 'pruned' as const,
          intermediateValues: new Map([[isFar ? 9 : 1, 1]]),
        };
      }),
    );
    const proposals = Array.from({ length: 50 }, (_, seed) => ask(tpeSampler(), space, trials, seed).kind);
    expect(proposals.filter((kind) => kind === 'far').length).toBeGreaterThan(45);
  });

  test('what cannot work, what is fixed and what does not exist is respected', () => {
    const { space, f } = functions.mixed!;
    const odd: SearchSpace = {
      ...space,
      impossibility: ({ width }) => (Number(width) > 64 ? 'wide' : undefined),
    };
    const drawn = Array.from({ length: 30 }, (_, i) => ask(randomSampler(), odd, [], i));
    const trials = history(drawn.map((params) => ({ params, value: f(params) })));
    for (let seed = 0; seed < 40; seed++) {
      const params = ask(tpeSampler(), odd, trials, seed, { depth: 5 });
      expect(params.depth).toBe(5);
      expect(params.width).toBeLessThanOrEqual(64);
      expect('extra' in params).toBe(params.optimizer === 'b' || params.optimizer === 'c');
    }
  });
});

describe('a Parzen estimator', () => {
  test.each([
    ['floats', float(-2, 3), [-1, 0.5, 2]],
    ['whole numbers', int(0, 10, { step: 2 }), [0, 4, 10]],
    ['categories', categorical(['a', 'b', 'c']), [0, 0, 2]],
  ])('draws %s as dense as it says', (_, distribution, observed) => {
    const estimator = new ParzenEstimator(
      [distribution],
      observed.map((value) => [value]),
    );
    const bins = distribution.kind === 'float' ? 10 : distribution.kind === 'int' ? 6 : 3;
    const values = (bin: number): number[] => {
      if (distribution.kind === 'int') return [bin * 2];
      if (distribution.kind === 'categorical') return [bin];
      return Array.from({ length: 50 }, (_, i) => -2 + (bin + (i + 0.5) / 50) / 2);
    };
    const binOf = (value: number): number =>
      distribution.kind === 'float'
        ? Math.floor((value + 2) * 2)
        : distribution.kind === 'int'
          ? value / 2
          : value;
    const expected = Array.from({ length: bins }, (_, bin) => {
      const densities = values(bin).map((value) => estimator.density([value]));
      const mean = densities.reduce((sum, density) => sum + density, 0) / densities.length;
      return distribution.kind === 'float' ? mean / bins : mean;
    });
    expect(expected.reduce((sum, share) => sum + share, 0)).toBeCloseTo(1, 3);
    const counts = new Array<number>(bins).fill(0);
    const source = random(1, 16);
    const draws = 40_000;
    for (let i = 0; i < draws; i++) counts[binOf(estimator.sample(source)[0]!)]!++;
    for (const [bin, share] of expected.entries())
      expect(Math.abs(counts[bin]! / draws - share)).toBeLessThan(0.01);
  });

  test.each([
    [0, 0.5],
    [1, 0.8413447460685429],
    [-2, 0.022750131948179195],
    [4, 0.9999683287581669],
    [-7, 1.279812543885835e-12],
  ])('Φ(%d)', (x, expected) => {
    expect(cumulative(x)).toBeCloseTo(expected, 14);
  });
});

test.each<[string, Distribution]>([
  ['floats', float(-1, 2)],
  ['logarithmic floats', float(1e-4, 1, { log: true })],
  ['floats with a step', float(0, 0.5, { step: 0.1 })],
  ['whole numbers', int(3, 12, { step: 3 })],
  ['logarithmic whole numbers', int(1, 9, { log: true })],
])('random %s come from the whole range', (_, distribution) => {
  if (distribution.kind === 'categorical') throw new Error('no range');
  const { low, high, log } = distribution;
  const source = random(0, 16);
  const drawn = Array.from({ length: 5000 }, () => drawValue(distribution, source) as number);
  expect(Math.min(...drawn)).toBeLessThan(low + (high - low) * 0.01 + 1e-9);
  expect(Math.max(...drawn)).toBeGreaterThan(high - (high - low) * 0.01 - 1e-9);
  const middle = log ? Math.sqrt(low * high) : (low + high) / 2;
  const share = drawn.filter((value) => value < middle).length / drawn.length;
  expect(Math.abs(share - 0.5)).toBeLessThan(0.11);
});

test('a space in which nothing can work is refused, with a reason', () => {
  const space = searchSpace({ x: int(1, 3) }, { impossibility: () => 'too small' });
  expect(() => ask(randomSampler(), space, [])).toThrow(/none of 10000 points .*too small/);
  expect(() => ask(gridSampler(), space, [])).toThrow('no point of the space is possible');
});

test('a grid is finite, and no larger than can be listed', () => {
  expect(gridSize(searchSpace({ x: float(0, 0.3, { step: 0.1 }), y: categorical(['a', 'b']) }))).toBe(8);
  const endless = searchSpace({ lr: float(0, 1) });
  expect(() => ask(gridSampler(), endless, [])).toThrow('lr is continuous (float 0 to 1)');
  const large = searchSpace({ x: int(1, 1000), y: int(1, 1000) });
  expect(() => ask(gridSampler(), large, [])).toThrow('more than 100000 points');
});

test('a grid leaves out what was tried, in an order that the seed decides', () => {
  const space = searchSpace({ x: int(1, 5) });
  const rest = (seed: number): ParamValue[] => {
    const tried = history([{ params: { x: 2 }, state: 'fail' }]);
    const sampler = gridSampler();
    for (let i = 0; i < 4; i++) tried.push(...history([{ params: ask(sampler, space, tried, seed) }]));
    expect(
      sampler.sample({ space, direction: 'minimize', trials: tried, fixed: {}, seed, random: random(0, 16) }),
    ).toBe(undefined);
    return tried.map(({ params }) => params.x!);
  };
  expect(rest(0).toSorted()).toEqual([1, 2, 3, 4, 5]);
  expect(rest(0)).not.toEqual(rest(3));
  expect(isActive(space.parameters[0]!, {})).toBe(true);
});
