/** Layouts of folders: which images, classes and splits are found, and what is refused. No image is read. */
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { FoundImages } from './found.ts';
import { scanFolder } from './scan-folder.ts';

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'vgg-scan-'));
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

function make(...paths: readonly string[]): void {
  for (const path of paths) {
    const file = join(root, path);
    mkdirSync(path.endsWith('/') ? file : dirname(file), { recursive: true });
    if (!path.endsWith('/')) writeFileSync(file, '');
  }
}

const many = (folder: string, count: number): string[] =>
  Array.from({ length: count }, (_, i) => `${folder}/${i}.jpg`);

const all = ({ splits: { train, test: tested } }: FoundImages): string[] =>
  [...train.paths, ...tested.paths].sort();

const message = (): string => {
  try {
    scanFolder(root);
  } catch (error) {
    return (error as Error).message.replaceAll(root, 'DIR');
  }
  return 'found';
};

test('one folder per class: sorted, a fifth held out of each, the same each time', () => {
  make(...many('dog', 10), ...many('cat', 5), ...many('Ant', 20));
  const found = scanFolder(root);
  expect(found.classes).toEqual(['Ant', 'cat', 'dog']);
  const { train, test: tested, validation } = found.splits;
  expect(validation).toBeUndefined();
  const counts = (labels: Uint16Array): number[] =>
    [0, 1, 2].map((c) => labels.filter((l) => l === c).length);
  expect(counts(train.labels)).toEqual([16, 4, 8]);
  expect(counts(tested.labels)).toEqual([4, 1, 2]);
  expect(new Set(all(found)).size).toBe(35);
  for (const { paths, labels } of [train, tested]) {
    for (const [i, path] of paths.entries()) expect(path.split('/')[0]).toBe(found.classes[labels[i]!]);
  }
  expect(scanFolder(root)).toEqual(found);
  expect(found.notices).toEqual([
    `${root} has no separate test images: 20 % of each class are held out, 7 images of 35, the same in each run.`,
  ]);
});

test('train/ and val/: validation images are the test images', () => {
  make('train/a/1.jpg', 'train/b/2.png', 'val/a/3.webp', 'val/b/4.JPEG');
  const { splits, notices } = scanFolder(root);
  expect(splits.train.paths).toEqual(['train/a/1.jpg', 'train/b/2.png']);
  expect(splits.test.paths).toEqual(['val/a/3.webp', 'val/b/4.JPEG']);
  expect(splits.validation).toBeUndefined();
  expect(notices).toEqual([]);
});

test('train/, valid/ and Test/: all three', () => {
  make('train/a/1.jpg', 'train/b/2.png', 'valid/a/3.webp', 'Test/b/4.tif', 'notes/x.jpg', 'cover.jpg');
  const { splits, notices } = scanFolder(root);
  expect([...splits.validation!.labels]).toEqual([0]);
  expect([...splits.test.labels]).toEqual([1]);
  expect(notices).toEqual([
    `${root}/Test has no images of a.`,
    `${root}/valid has no images of b.`,
    `${root}: left out, because they are in no class: notes/, cover.jpg.`,
  ]);
});

test('train/ alone: test images are held out', () => {
  make(...many('train/a', 5), ...many('train/b', 5));
  const { splits } = scanFolder(root);
  expect([splits.train.paths.length, splits.test.paths.length]).toEqual([8, 2]);
});

test('images beside the classes of any split are named, since they are left out', () => {
  make('train/a/1.jpg', 'train/b/1.jpg', 'train/loose.jpg', 'test/a/1.jpg', 'test/b/1.jpg', 'test/stray.jpg');
  expect(scanFolder(root).notices.at(-1)).toBe(
    `${root}: left out, because they are in no class: train/loose.jpg, test/stray.jpg.`,
  );
});

test('a class may be called train', () => {
  make(...many('train', 5), ...many('plane', 5), ...many('test', 5));
  expect(scanFolder(root).classes).toEqual(['plane', 'test', 'train']);
});

test('nested folders of a class, in the order of torchvision', () => {
  make('a/z.jpg', 'a/b/2.jpg', 'a/b/10.jpg', 'a/c d/1.jpg', 'a/B/1.jpg', ...many('b', 2));
  const { splits } = scanFolder(root);
  const order = ['a/z.jpg', 'a/B/1.jpg', 'a/b/10.jpg', 'a/b/2.jpg', 'a/c d/1.jpg'];
  expect(splits.train.paths.filter((path) => path.startsWith('a/'))).toEqual(
    order.filter((path) => !splits.test.paths.includes(path)),
  );
});

test('hidden and system files are left out, other files are counted', () => {
  make(
    ...['.DS_Store', '__MACOSX/a/._1.jpg', 'a/.DS_Store', 'a/._1.jpg', 'a/Thumbs.db', 'b/desktop.ini'],
    ...[
      '.git/x/1.jpg',
      'a/1.jpg',
      'a/2.jpg',
      'b/1.jpg',
      'b/2.jpg',
      'a/notes.txt',
      'b/labels.xml',
      'b/README',
    ],
    ...['b/@eaDir/1.jpg', 'b/photo.bmp'],
  );
  const found = scanFolder(root);
  expect(all(found)).toEqual(['a/1.jpg', 'a/2.jpg', 'b/1.jpg', 'b/2.jpg', 'b/photo.bmp']);
  expect(found.notices.at(-1)).toBe(
    `${root}: files that are no images are left out: 1 .txt, 1 .xml, 1 without extension.`,
  );
});

test('spaces, Unicode in both forms, and characters beyond the basic plane', () => {
  make('train/big cat/a b.jpg', 'train/Café/1.jpg', 'train/猫/2.jpg', 'train/🐱/3.jpg', 'train/｡/4.jpg');
  // As macOS stores it.
  make(`test/${'Café'.normalize('NFD')}/1.jpg`);
  const { classes, splits } = scanFolder(root);
  // By code point, as in Python: ｡ is U+FF61, 🐱 is U+1F431.
  expect(classes).toEqual(['Café', 'big cat', '猫', '｡', '🐱']);
  expect([...splits.test.labels]).toEqual([0]);
});

test('a link from a class to the data set or its split gives it no images of other classes', () => {
  make(
    ...many('data/train/a', 2),
    ...many('data/train/b', 2),
    ...many('data/test/a', 1),
    ...many('plain/a', 2),
  );
  make(...many('plain/b', 2));
  for (const path of ['data/train/a/split', 'data/train/a/in/top', 'plain/a/top']) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    symlinkSync(join(root, path.startsWith('plain') ? 'plain' : 'data/train'), join(root, path));
  }
  symlinkSync(join(root, 'data'), join(root, 'data/train/b/data'));
  const { splits } = scanFolder(join(root, 'data'));
  expect(splits.train.paths).toEqual(['train/a/0.jpg', 'train/a/1.jpg', 'train/b/0.jpg', 'train/b/1.jpg']);
  expect(all(scanFolder(join(root, 'plain')))).toEqual(['a/0.jpg', 'a/1.jpg', 'b/0.jpg', 'b/1.jpg']);
});

test('links to files and folders are followed, cycles are harmless', () => {
  make('real/1.jpg', 'real/2.jpg', 'data/a/1.jpg', 'data/a/2.jpg');
  symlinkSync(join(root, 'real'), join(root, 'data/b'));
  symlinkSync(join(root, 'data/a/1.jpg'), join(root, 'data/a/link.jpg'));
  symlinkSync(join(root, 'data/a'), join(root, 'data/a/again'));
  symlinkSync('nowhere.jpg', join(root, 'data/a/broken.jpg'));
  expect(all(scanFolder(join(root, 'data')))).toEqual(
    ['a/1.jpg', 'a/2.jpg', 'a/broken.jpg', 'a/link.jpg', 'b/1.jpg', 'b/2.jpg'].sort(),
  );
});

test('folders that are too deep', () => {
  make(`a/${'x/'.repeat(70)}1.jpg`, 'b/1.jpg');
  expect(message()).toContain('is more than 64 folders deep; move its images up');
});

test('one image in a class trains', () => {
  make('a/1.jpg', ...many('b', 5));
  const { splits, notices } = scanFolder(root);
  expect(splits.train.paths).toContain('a/1.jpg');
  expect(notices.at(-1)).toBe('Classes with one image have it for training, and none to test: a.');
});

test.for<readonly [string, readonly string[], string]>([
  ['nothing', [], 'DIR contains no images; it needs one folder per class, or train/ and test/'],
  [
    'images without folders',
    ['1.jpg', '2.jpg'],
    'DIR contains 2 images, but no folders; put the images of each class into a folder of its own, named like the class',
  ],
  [
    'one class',
    ['a/1.jpg', 'a/2.jpg'],
    'DIR has only the class "a"; a network needs two classes or more to learn',
  ],
  [
    'a folder too high',
    ['set/a/1.jpg', 'set/b/1.jpg'],
    'DIR has only the folder set, which contains folders; did you mean folder:DIR/set?',
  ],
  [
    'an empty class',
    ['a/1.jpg', 'a/2.jpg', 'b/', 'c/x.txt'],
    'DIR: the training images have none of the classes b, c; add images, or remove the class',
  ],
  [
    'an empty class of a split',
    ['train/a/1.jpg', 'train/b/', 'test/a/1.jpg'],
    'DIR/train: the training images have none of class b; add images, or remove the class',
  ],
  [
    'one image in each class',
    ['a/1.jpg', 'b/1.jpg'],
    'DIR has no test images, and none can be held out, because each class has one image; add images',
  ],
  [
    'names that differ in case',
    ['Cat/1.jpg', 'cat/1.jpg'],
    'DIR: the folders "Cat" and "cat" differ only in case; give them one name, or clearly different ones',
  ],
  [
    'names that differ in case between splits',
    ['train/Cat/1.jpg', 'train/dog/1.jpg', 'test/cat/1.jpg'],
    'DIR/test has cat/, which the training images do not have; rename it to Cat/',
  ],
  [
    'a test class without training images',
    ['train/a/1.jpg', 'train/b/1.jpg', 'test/c/1.jpg'],
    'DIR/test has c/, which the training images do not have; add training images, or remove the folder',
  ],
  [
    'no training images',
    ['test/a/1.jpg', 'val/a/1.jpg'],
    'DIR has test/, val/, but no train/; name the folder of the training images train/',
  ],
  [
    'two folders for one purpose',
    ['train/a/1.jpg', 'val/a/1.jpg', 'valid/a/1.jpg'],
    'DIR has val/ and valid/, both for validation images; keep one of them',
  ],
  [
    'empty test images',
    ['train/a/1.jpg', 'train/b/1.jpg', 'test/a/'],
    'DIR/test contains no images; add test images, or remove the folder',
  ],
])('refuses %s', ([, paths, expected]) => {
  make(...paths);
  expect(message()).toBe(expected);
});

test('names in two forms of Unicode', () => {
  make('é/1.jpg', 'e\u0301/1.jpg');
  expect(message()).toContain('differ only in form of Unicode');
});

test('a file, and nothing', () => {
  make('a.jpg');
  expect(() => scanFolder(join(root, 'a.jpg'))).toThrow('is a file, not a folder of images');
  expect(() => scanFolder(join(root, 'b'))).toThrow('b cannot be read: no such file or folder');
});
