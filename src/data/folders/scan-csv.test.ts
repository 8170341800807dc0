/** Tables of files and labels: Kaggle's layout and others. No image is read. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { parse, scanCsv } from './scan-csv.ts';

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'vgg-csv-'));
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

function make(files: Readonly<Record<string, string>>): void {
  for (const [path, content] of Object.entries(files)) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), content);
  }
}

const rows = (name: (i: number) => string, label: (i: number) => string, count = 10): string =>
  Array.from({ length: count }, (_, i) => `${name(i)},${label(i)}\n`).join('');

const images = (name: (i: number) => string, count = 10): Record<string, string> =>
  Object.fromEntries(Array.from({ length: count }, (_, i) => [name(i), '']));

const pair = (i: number): string => (i % 2 === 0 ? 'frog' : 'deer');

test("Kaggle's CIFAR-10: numbers without extensions, images in train/", () => {
  make({
    'trainLabels.csv': `id,label\n${rows((i) => String(i + 1), pair)}`,
    ...images((i) => `train/${i + 1}.png`),
    ...images((i) => `test/${i + 1}.png`),
  });
  const found = scanCsv(join(root, 'trainLabels.csv'));
  expect(found.root).toBe(join(root, 'train'));
  expect(found.classes).toEqual(['deer', 'frog']);
  const { train, test: tested } = found.splits;
  expect([train.paths.length, tested.paths.length]).toEqual([8, 2]);
  expect(tested.labels.toSorted()).toEqual(Uint16Array.of(0, 1));
  for (const { paths, labels } of [train, tested]) {
    for (const [i, path] of paths.entries())
      expect(found.classes[labels[i]!]).toBe(pair(Number.parseInt(path, 10) - 1));
  }
});

test('other columns, quotes, semicolons, folders in the names, numbers as classes', () => {
  make({
    'list.csv': `\ufeff"size";"Label";"Filename"\r\n${Array.from({ length: 12 }, (_, i) => `1;${i % 2 === 0 ? 10 : 9};"a/b, c/${i}.JPG"\r\n`).join('')}\r\n`,
    ...images((i) => `photos/a/b, c/${i}.JPG`, 12),
  });
  const found = scanCsv(join(root, 'list.csv'), join(root, 'photos'));
  expect(found.classes).toEqual(['9', '10']);
  expect(found.splits.train.paths[0]).toMatch(/^a\/b, c\/\d+\.JPG$/);
  // Also found without --data.
  expect(scanCsv(join(root, 'list.csv')).root).toBe(join(root, 'photos'));
});

test('a missing image keeps its name and is listed later with the broken ones', () => {
  make({ 'a.csv': `id,label\n${rows((i) => `${i}`, pair)}`, ...images((i) => `${i}.png`, 9) });
  const { splits } = scanCsv(join(root, 'a.csv'));
  expect([...splits.train.paths, ...splits.test.paths]).toContain('9');
});

test.for<readonly [string, Readonly<Record<string, string>>, string | RegExp]>([
  ['no header', { 'a.csv': '1,cat\n2,dog\n' }, 'the first line "1,cat" does not name the columns'],
  ['nothing', { 'a.csv': '' }, 'the first line "" does not name the columns'],
  ['no images', { 'a.csv': 'id,label\n' }, 'lists no images'],
  ['a missing label', { 'a.csv': 'id,label\n1,cat\n\n2,\n', '1.png': '' }, 'line 4: the label is missing'],
  ['one class', { 'a.csv': 'id,label\n1,cat\n2,cat\n', '1.png': '', '2.png': '' }, 'only the class "cat"'],
  [
    'an image twice',
    { 'a.csv': 'id,label\n1,cat\n1.png,dog\n', '1.png': '' },
    'lines 2 and 3 both name 1.png; keep one of them',
  ],
  [
    'two images of a name',
    { 'a.csv': 'id,label\n1,cat\n2,dog\n', '1.png': '', '1.jpg': '', '2.png': '' },
    /line 2: "1" may be (1.png or 1.jpg|1.jpg or 1.png); add the extension/,
  ],
  [
    'a path that leads out',
    { 'a.csv': 'id,label\n1,cat\n../../etc/passwd,dog\n', '1.png': '' },
    'line 3: "../../etc/passwd" is not in the folder of the images',
  ],
  [
    'a path from the root',
    { 'a.csv': 'id,label\n1,cat\n/x.png,dog\n', '1.png': '' },
    'line 3: "/x.png" is an absolute path; give paths relative to the folder of the images',
  ],
  [
    'absolute paths only',
    { 'a.csv': 'id,label\n/photos/1.png,cat\n/photos/2.png,dog\n' },
    'line 2: "/photos/1.png" is an absolute path',
  ],
  [
    'paths with a drive',
    { 'a.csv': 'id,label\nC:\\photos\\1.png,cat\n' },
    String.raw`line 2: "C:\\photos\\1.png" is an absolute path`,
  ],
  [
    'a number written in two ways',
    { 'a.csv': 'id,label\n1,01\n2,1\n3,2\n', '1.png': '', '2.png': '', '3.png': '' },
    'the labels "01" and "1" are the same number; write it in one way, or use names',
  ],
  [
    'images nowhere',
    { 'a.csv': 'id,label\n1,cat\n2,dog\n' },
    'its images, for example 1, are neither next to it nor in a folder next to it; name the folder of the images with --data',
  ],
  [
    'images in two places',
    { 'a.csv': 'id,label\n1,cat\n2,dog\n', 'x/1.png': '', 'y/1.png': '' },
    'images are in x/ and y/; name the folder',
  ],
  // It would take in all lines that follow.
  [
    'a quote without an end',
    { 'a.csv': 'id,label\n1,cat\n2,"dog\n3,cat\n', '1.png': '' },
    'line 3: a quote has no end',
  ],
  [
    'a label with a comma but no quotes',
    { 'a.csv': 'id,label\n1,New York, NY\n2,Boston,\n', '1.png': '' },
    'line 2: 3 values for 2 columns; put a value that contains the separator into quotes',
  ],
  [
    'a label with a line break',
    { 'a.csv': 'id,label\n1,"cat\nsmall"\n2,dog\n', '1.png': '', '2.png': '' },
    'a.csv: one of the labels, "cat\\nsmall", has a line break or another control character; use other names',
  ],
  ['labels that differ in case', { 'a.csv': 'id,label\n1,Cat\n2,cat\n', '1.png': '' }, 'differ only in case'],
])('refuses %s', ([, files, message]) => {
  make(files);
  expect(() => scanCsv(join(root, 'a.csv'))).toThrow(message);
});

test('bytes that are no UTF-8', () => {
  writeFileSync(join(root, 'a.csv'), Uint8Array.of(0x69, 0xff, 0xfe));
  expect(() => scanCsv(join(root, 'a.csv'))).toThrow('is not UTF-8 text; save it as CSV in UTF-8');
});

test('records: quotes, doubled quotes, line breaks in quotes', () => {
  expect(parse('t.csv', 'a,b\n"x ""y""\nz",2\r\n\n3,"4"')).toEqual([
    { line: 1, cells: ['a', 'b'] },
    { line: 2, cells: ['x "y"\nz', '2'] },
    { line: 5, cells: ['3', '4'] },
  ]);
});
