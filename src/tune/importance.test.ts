import { expect, test } from 'vitest';
import { importances } from './importance.ts';

const trials = Array.from({ length: 40 }, (_, i) => ({
  params: { decides: i % 2 === 0 ? 'a' : 'b', noise: ['x', 'y', 'z', 'w'][(i >> 1) % 4]!, lr: i / 10 },
  value: (i % 2) * 10 + (i % 3) * 0.1,
}));

test('what decides has nearly all of the variance, what does not has none', () => {
  const found = importances(trials, ['noise', 'decides', 'lr', 'absent']);
  expect(found[0]!.name).toBe('decides');
  expect(found[0]!.share).toBeGreaterThan(0.99);
  expect(found.find(({ name }) => name === 'noise')!.share).toBe(0);
  expect(found.map(({ name }) => name)).not.toContain('absent');
  expect(found[0]!.groups.map(({ label, count }) => [label, count])).toEqual([
    ['a', 20],
    ['b', 20],
  ]);
});

test('numbers with many values are put into quarters', () => {
  const [lr] = importances(
    trials.map(({ params }) => ({ params, value: params.lr ** 2 })),
    ['lr'],
  );
  expect(lr!.groups.map(({ count }) => count)).toEqual([10, 10, 10, 10]);
  expect(lr!.groups[0]!.label).toBe('0 – 0.9');
  expect(lr!.share).toBeGreaterThan(0.8);
});

test('equal values, or as many groups as trials, say nothing', () => {
  expect(
    importances(
      trials.map(({ params }) => ({ params, value: 1 })),
      ['decides'],
    )[0]!.share,
  ).toBe(0);
  expect(importances(trials.slice(0, 2), ['decides'])[0]!.share).toBe(0);
});
