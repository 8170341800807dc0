/** Names of data sets: kinds and paths of image files, and what is no name. */
import { expect, test } from 'vitest';
import { checkSpec, formOf, imageFilesOf, isDatasetSpec, shortName } from './named.ts';

test('kind and path; a path may have colons, spaces and line breaks', () => {
  expect(imageFilesOf('folder:my photos')).toEqual({ kind: 'folder', path: 'my photos' });
  expect(imageFilesOf('csv:C:\\a.csv')).toEqual({ kind: 'csv', path: 'C:\\a.csv' });
  expect(imageFilesOf('folder:a\nb')?.path).toBe('a\nb');
  for (const name of ['shapes', 'folder:', 'folder: ', 'Folder:a', 'folder'])
    expect(imageFilesOf(name)).toBeUndefined();
});

test('forms', () => {
  expect(['cifar10', 'folder:x', 'csv:y'].map(formOf)).toEqual(['cifar10', 'folder:DIR', 'csv:FILE']);
  expect(['cifar10', 'folder:x', 'folder:', 'csv:FILE', 'photos', 3].map(isDatasetSpec)).toEqual([
    ...[true, true, false, false, false, false],
  ]);
});

test.for([
  ['imagenet', 'there is no data set "imagenet"; to train on other images, name their folder: folder:DIR'],
  ['photos/', 'a folder of images is named as folder:DIR'],
  ['list.csv', 'a table of images as csv:FILE'],
  ['folder:', '"folder:" lacks a path; write it as in folder:photos'],
  ['folder:DIR', '"folder:DIR" is a pattern; write the path in its place, as in folder:photos'],
  ['cifar', 'did you mean "cifar10"?'],
] as const)('%s is refused', ([name, message]) => {
  expect(() => checkSpec(name)).toThrow(message);
});

test('short names', () => {
  const names = [
    'shapes',
    'folder:/home/me/photos/',
    'folder:.',
    'folder:..',
    'csv:a/train labels.csv',
    'folder:猫',
  ];
  expect(names.map(shortName)).toEqual(['shapes', 'photos', 'folder', 'folder', 'train labels', '猫']);
});
