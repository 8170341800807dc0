/**
 * Grid search: every possible point once, in an order shuffled by the seed, so that an unfinished search covers the grid
 * evenly. The journal says what was tried, so a grid continues where it stopped and processes share it.
 */
import { permutation, random, streams } from '../../data/random.ts';
import { UsageError } from '../../errors.ts';
import { describe, type Params, type ParamValue, sizeOf, valueAt } from '../distributions.ts';
import { isActive, isPossible, pointKey, type SearchSpace } from '../search-space.ts';
import type { Sampler } from './sampler.ts';

const mostPoints = 100_000;

/** Proposes every possible point once. The space must be finite. */
export function gridSampler(): Sampler {
  const grids = new WeakMap<SearchSpace, ReadonlyMap<string, Params>>();
  return {
    name: 'grid',
    check: (space) => void allPoints(space),
    sample({ space, trials, fixed, seed }) {
      const points = grids.get(space) ?? shuffled(space, seed);
      grids.set(space, points);
      const tried = new Set(trials.map(({ params }) => pointKey(space, params)));
      const wanted = Object.entries(fixed);
      for (const [key, point] of points) {
        if (
          !tried.has(key) &&
          wanted.every(([name, value]) => !Object.hasOwn(point, name) || point[name] === value)
        ) {
          return point;
        }
      }
      return undefined;
    },
  };
}

/** Number of possible points. @throws UsageError if the space is continuous or too large to list. */
export const gridSize = (space: SearchSpace): number => pointsOf(space).length;

function shuffled(space: SearchSpace, seed: number): ReadonlyMap<string, Params> {
  const points = pointsOf(space);
  if (points.length === 0)
    throw new UsageError('grid: no point of the space is possible; change its candidates');
  const order = permutation(points.length, random(seed, streams.search));
  return new Map(
    Array.from(order, (index) => {
      const point = points[index]!;
      return [pointKey(space, point), point];
    }),
  );
}

/** All possible points. */
const pointsOf = (space: SearchSpace): readonly Params[] =>
  allPoints(space).filter((point) => isPossible(space, point));

/** All points, the last parameter changing fastest. @throws UsageError if the space is continuous or too large. */
function allPoints(space: SearchSpace): readonly Params[] {
  for (const { name, distribution } of space.parameters) {
    if (sizeOf(distribution) < Number.POSITIVE_INFINITY) continue;
    throw new UsageError(
      `grid: ${name} is continuous (${describe(distribution)}); give it choices or a step, or use another sampler`,
    );
  }
  let points: Params[] = [{}];
  for (const parameter of space.parameters) {
    const { name, distribution } = parameter;
    const values: readonly ParamValue[] | undefined =
      sizeOf(distribution) > mostPoints
        ? undefined
        : Array.from({ length: sizeOf(distribution) }, (_, index) => valueAt(distribution, index));
    const longer = (point: Params): readonly Params[] => {
      if (!isActive(parameter, point)) return [point];
      return values?.map((value) => ({ ...point, [name]: value })) ?? [];
    };
    const count = points.reduce(
      (sum, point) => sum + (isActive(parameter, point) ? sizeOf(distribution) : 1),
      0,
    );
    if (count > mostPoints) {
      throw new UsageError(
        `grid: the space has more than ${mostPoints} points; narrow it, or use another sampler`,
      );
    }
    points = points.flatMap(longer);
  }
  return points;
}
