import { expect, test } from 'vitest';
import { parseConfig } from '../../train/config.ts';
import { trainOptions } from '../../train/config-table.ts';
import { LinkProblem, longestLink, type RunSpec, specFromQuery, specToQuery, usualConfig } from './spec.ts';

const specs: readonly RunSpec[] = [
  { config: usualConfig },
  { config: { ...usualConfig, lr: 1e-7, seed: 2 ** 53 - 1, normalize: true, schedule: 'cosine', minLr: 0 } },
  { config: { ...usualConfig, model: 'vgg7', modelOptions: { channels: [8, 16], hidden: 32 } } },
  {
    config: {
      ...usualConfig,
      model: { name: 'mine & yours', layers: [{ kind: 'flatten' }, { kind: 'linear', out: 'classes' }] },
      changes: [{ step: 3, lr: 0.1 }],
      dataset: 'folder:사진 #1',
    },
  },
  { config: usualConfig, shuffledLabels: true, trainImages: 400 },
];

test.each(specs)('a link gives the training back: %#', (spec) => {
  const query = specToQuery(spec);
  // Addresses hold ASCII.
  expect(query).toMatch(/^[\x21-\x7e]+$/);
  expect(specFromQuery(query)).toEqual(spec);
});

test('an address without options names no training', () => {
  expect(specFromQuery('')).toBeUndefined();
});

test('a link carries every option that decides a result', () => {
  const onlyHere = [
    'data',
    'init',
    'initKey',
    'freshHead',
    'deepen',
    'threads',
    'checkpointEvery',
    'logEvery',
  ];
  const config = parseConfig({});
  const values = Object.fromEntries(
    Object.keys(trainOptions)
      .filter((key) => !onlyHere.includes(key))
      .map((key) => [key, (config as unknown as Record<string, unknown>)[key] ?? '1']),
  );
  const carried = new URLSearchParams(specToQuery({ config: values }));
  expect([...carried.keys()].toSorted()).toEqual(Object.keys(values).toSorted());
});

test.each([
  ['lr=', 'lr= is not a number'],
  ['lr=1e999', 'is not a number'],
  ['augment=yes', 'augment=yes is neither true nor false'],
  ['lr=1&lr=2', 'lr twice'],
  ['init=/etc/passwd', 'unknown option init'],
  ['__proto__=1', 'unknown option __proto__'],
  ['optimizer=<b>', 'optimizer=<b> is not a name'],
  ['dataset=csv:x', 'is not a name'],
  ['changes={}', 'changes is not a list'],
  ['modelOptions=[]', 'modelOptions is not an object'],
  ['trainImages=many', 'trainImages=many is not a number'],
  [`model=${'{'.repeat(longestLink)}`, `more than ${longestLink}`],
])('refuses %.30s', (query, problem) => {
  expect(() => specFromQuery(query)).toThrow(LinkProblem);
  expect(() => specFromQuery(query)).toThrow(problem);
});
