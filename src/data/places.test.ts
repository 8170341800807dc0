import { join, resolve } from 'node:path';
import { expect, test } from 'vitest';
import type { DatasetSpec } from './named.ts';
import { shownPath, withAbsolutePaths } from './places.ts';

test.each<[DatasetSpec | undefined, string | undefined, object]>([
  ['folder:photos', undefined, { dataset: `folder:${resolve('photos')}` }],
  [
    'csv:../a/labels.csv',
    'images',
    { dataset: `csv:${resolve('../a/labels.csv')}`, data: resolve('images') },
  ],
  ['folder:/photos', '/moved', { dataset: 'folder:/photos', data: '/moved' }],
  ['cifar10', 'data', { dataset: 'cifar10', data: resolve('data') }],
  [undefined, undefined, {}],
])('%s and %s are stored absolute', (dataset, data, expected) => {
  const given = { ...(dataset && { dataset }), ...(data && { data }), epochs: 3 };
  expect(withAbsolutePaths(given)).toEqual({ ...expected, epochs: 3 });
});

test('paths in the current folder are shown relative to it', () => {
  expect(shownPath(resolve('photos/cats'))).toBe(join('photos', 'cats'));
  expect(shownPath('photos/')).toBe('photos');
  expect(shownPath('/elsewhere')).toBe('/elsewhere');
  expect(shownPath(resolve('.'))).toBe(resolve('.'));
});
