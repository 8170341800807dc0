/** Prepared data sets: their bytes, the cache file, changes, broken files, damage, interruption. */
import {
  appendFileSync,
  copyFileSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { makeShapesFolder } from '../../../examples/make-shapes-folder.ts';
import { canMountSmallDisk, mountSmallDisk } from '../../../test/small-disk.ts';
import { decodeImage } from '../../images/decode.ts';
import { fitImage } from '../../images/fit.ts';
import { subset, trainValidationSplit } from '../split.ts';
import { channelHistograms, channelStatistics } from '../statistics.ts';
import { type StoredDataset, storedShape } from '../stored.ts';
import { readStored } from '../stored-node.ts';
import {
  BrokenImagesError,
  type ImageFolderOptions,
  imageFolder,
  imageTable,
  splitsOf,
} from './image-folder.ts';
import { scanFolder } from './scan-folder.ts';
import { storedSides } from './stored-sides.ts';

let root: string;
let photos: string;
let decoded = 0;
const notices: string[] = [];
const options = (): ImageFolderOptions => ({
  cache: join(root, 'cache'),
  side: 40,
  threads: 2,
  onNotice: (line) => void notices.push(line.replaceAll(root, 'ROOT')),
  onProgress: (progress) => {
    decoded = progress.decoded;
  },
});

const drawn = mkdtempSync(join(tmpdir(), 'vgg-drawn-'));
beforeAll(async () => void (await makeShapesFolder(drawn, 3)));
afterAll(() => rmSync(drawn, { recursive: true, force: true }));
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'vgg-folder-'));
  photos = join(root, 'photos');
  cpSync(drawn, photos, { recursive: true });
  notices.length = 0;
  decoded = 0;
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

const cacheFile = (): string => {
  const [name] = readdirSync(join(root, 'cache'));
  return join(root, 'cache', name!, 'images.bin');
};

/** Each image as its file gives it, resized. */
async function expectBytes(dataset: StoredDataset, side: number): Promise<void> {
  const { images } = dataset;
  for (let i = 0; i < dataset.length; i++) {
    const decodedImage = await decodeImage(new Uint8Array(readFileSync(images.sources[i]!)));
    const { shape, values } = readStored(images, i);
    expect(Math.min(shape[1], shape[2])).toBe(side);
    const fit = { resize: side, crop: [shape[1], shape[2]] as const };
    expect(values).toEqual(fitImage(decodedImage, fit, 3));
  }
}

test("a folder's images are Pillow's bytes, with labels, sources and statistics", async () => {
  const { train, test: tested, broken } = await imageFolder(photos, options());
  expect(train.name).toBe(`folder:${photos}`);
  expect(train.classes).toEqual(['circle', 'cross', 'square', 'triangle']);
  expect([train.length, tested.length, broken.length]).toEqual([8, 4, 0]);
  for (const set of [train, tested]) {
    for (const [i, source] of set.images.sources.entries())
      expect(source).toContain(`${set.classes[set.labels[i]!]}-`);
    await expectBytes(set, 40);
  }
  expect(decoded).toBe(12);
  // From sums and from bytes.
  const { sums: _, ...images } = train.images;
  const [fast, slow] = [channelStatistics(train), channelStatistics({ ...train, images })];
  for (const c of [0, 1, 2]) {
    expect(fast.mean[c]).toBeCloseTo(slow.mean[c]!, 12);
    expect(fast.std[c]).toBeCloseTo(slow.std[c]!, 12);
  }
  const pixels = channelHistograms(tested)[2]!.reduce((a, b) => a + b);
  expect(pixels).toBe(
    tested.images.sources.reduce(
      (sum, _, i) => sum + storedShape(tested.images, i)[1] * storedShape(tested.images, i)[2],
      0,
    ),
  );
});

test('scale jitter trains on larger images; tests see the originals at their own size', async () => {
  const broken = join(photos, 'circle/empty.jpg');
  writeFileSync(broken, '');
  const totals: number[] = [];
  const jitter = async (holdsOut: boolean) =>
    splitsOf('folder:photos', photos, scanFolder(photos), {
      ...{ ...options(), side: 80, testSide: 40, holdsOut, skipBroken: true },
      onProgress: ({ done, total, decoded: count }) => {
        decoded = count;
        if (done === total) totals.push(total);
      },
    });
  const { train, test: tested, trainAsTested } = await jitter(false);
  expect([train.length, tested.length, trainAsTested]).toEqual([8, 4, undefined]);
  await expectBytes(train, 80);
  await expectBytes(tested, 40);
  expect(notices.at(-1)).toBe('ROOT/photos: 1 broken image of 13 is left out.');
  // 13 files at one size each.
  expect([decoded, totals.at(-1)]).toEqual([13, 13]);
  // Held-out images are training images as tests see them; the file of all images is that of other trainings.
  const held = await jitter(true);
  expect(held.trainAsTested).toMatchObject({ labels: train.labels, classes: train.classes });
  expect(held.trainAsTested!.images.sources).toEqual(train.images.sources);
  await expectBytes(held.trainAsTested!, 40);
  expect(held.train).toEqual(train);
  decoded = 0;
  await imageFolder(photos, { ...options(), skipBroken: true });
  expect(decoded).toBe(0);
  expect(await jitter(true)).toEqual(held);
  expect(await jitter(false)).toMatchObject({ train, test: tested });
  expect(decoded).toBe(0);
});

test('the second time nothing is decoded; the bytes do not depend on the threads', async () => {
  const first = await imageFolder(photos, options());
  const bytes = readFileSync(cacheFile());
  decoded = 0;
  expect(await imageFolder(photos, options())).toEqual(first);
  expect(decoded).toBe(0);
  rmSync(join(root, 'cache'), { recursive: true });
  await imageFolder(photos, { ...options(), threads: 1 });
  expect(readFileSync(cacheFile())).toEqual(bytes);
});

test('another way to write the path takes the same file', async () => {
  await imageFolder(photos, options());
  await imageFolder(`${photos}/./`, options());
  await imageFolder(relative(process.cwd(), photos), options());
  expect(readdirSync(join(root, 'cache'))).toHaveLength(1);
});

test('only changed and new images are decoded again; deleted ones leave', async () => {
  await imageFolder(photos, options());
  copyFileSync(join(photos, 'cross/cross-001.jpg'), join(photos, 'circle/new.jpg'));
  copyFileSync(join(photos, 'cross/cross-002.jpg'), join(photos, 'cross/cross-001.jpg'));
  rmSync(join(photos, 'square/square-003.jpg'));
  const later = new Date(Date.now() + 60_000);
  utimesSync(join(photos, 'circle/circle-001.jpg'), later, later);
  const size = statSync(cacheFile()).size;
  const { train, test: tested } = await imageFolder(photos, options());
  expect(decoded).toBe(3);
  expect(train.length + tested.length).toBe(12);
  expect(statSync(cacheFile()).size).not.toBe(size);
  await expectBytes(train, 40);
  await expectBytes(tested, 40);
});

test('broken images are all listed, remembered, and left out if asked', async () => {
  const file = (name: string): string => join(photos, name);
  writeFileSync(file('circle/empty.jpg'), '');
  writeFileSync(file('circle/text.png'), 'hello');
  const whole = readFileSync(file('cross/cross-001.jpg'));
  writeFileSync(file('cross/half.jpg'), whole.subarray(0, whole.length / 2));
  writeFileSync(file('cross/drawing.bmp'), 'BM');
  const error = await imageFolder(photos, options()).catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(BrokenImagesError);
  const { message, broken } = error as BrokenImagesError;
  expect(broken).toHaveLength(4);
  const lines = message.replaceAll(root, 'ROOT').split('\n');
  expect(lines[0]).toBe('ROOT/photos: 4 images of 16 are broken:');
  // In the order of the splits, which the hold-out decides.
  expect(lines.slice(1, -1).sort()).toEqual([
    expect.stringContaining('circle/empty.jpg: the file is empty'),
    expect.stringContaining('circle/text.png: the file is no image in a known format'),
    expect.stringContaining('cross/drawing.bmp: the file is a BMP image'),
    expect.stringContaining('cross/half.jpg: the JPEG image is damaged'),
  ]);
  expect(lines.at(-1)).toBe('repair or remove them, or leave them out with --skip-broken (skipBroken: true)');
  expect(broken.map((one) => one.file.slice(photos.length + 1)).sort()).toEqual([
    ...['circle/empty.jpg', 'circle/text.png', 'cross/drawing.bmp', 'cross/half.jpg'],
  ]);
  decoded = 0;
  const left = await imageFolder(photos, { ...options(), skipBroken: true });
  expect(decoded).toBe(0);
  expect(left.broken).toEqual(broken);
  expect(left.train.length + left.test.length).toBe(12);
  expect(notices.at(-1)).toBe('ROOT/photos: 4 broken images of 16 are left out.');
  await expectBytes(left.train, 40);
  await expectBytes(left.test, 40);
  // A repaired file is noticed.
  for (const name of ['circle/empty.jpg', 'circle/text.png', 'cross/drawing.bmp']) rmSync(file(name));
  writeFileSync(file('cross/half.jpg'), whole);
  expect((await imageFolder(photos, options())).broken).toEqual([]);
});

test('a class whose images are all broken is refused', async () => {
  for (const name of readdirSync(join(photos, 'cross'))) writeFileSync(join(photos, 'cross', name), 'x');
  await expect(imageFolder(photos, { ...options(), skipBroken: true })).rejects.toThrow(
    'the training images have none of class cross',
  );
});

test('a damaged cache is made again', async () => {
  const first = await imageFolder(photos, options());
  const good = readFileSync(cacheFile());
  const damage: readonly ((file: string) => void)[] = [
    (file) => truncateSync(file, good.length - 1),
    (file) => truncateSync(file, 10),
    (file) => appendFileSync(file, 'x'),
    (file) =>
      writeFileSync(
        file,
        good.map((byte, i) => (i === good.length - 100 ? byte ^ 1 : byte)),
      ),
    (file) =>
      writeFileSync(
        file,
        good.map((byte, i) => (i === 0 ? byte ^ 1 : byte)),
      ),
  ];
  for (const harm of damage) {
    harm(cacheFile());
    notices.length = 0;
    expect(await imageFolder(photos, options())).toEqual(first);
    expect(notices.join('\n')).toContain('is damaged: ');
    expect(readFileSync(cacheFile())).toEqual(good);
  }
});

test('damaged bytes are noticed when an image is read', async () => {
  const { train } = await imageFolder(photos, options());
  const bytes = readFileSync(cacheFile());
  const at = train.images.starts[3]! + 100;
  writeFileSync(
    cacheFile(),
    bytes.map((byte, i) => (i === at ? byte ^ 1 : byte)),
  );
  readStored(train.images, 2);
  expect(() => readStored(train.images, 3)).toThrow(
    'is damaged at image 3, or the images were prepared anew',
  );
});

test('damaged bytes of an image are not copied into the next cache', async () => {
  await imageFolder(photos, options());
  const bytes = readFileSync(cacheFile());
  writeFileSync(
    cacheFile(),
    bytes.map((byte, i) => (i === 100 ? byte ^ 1 : byte)),
  );
  copyFileSync(join(photos, 'cross/cross-001.jpg'), join(photos, 'cross/new.jpg'));
  const { train, test: tested } = await imageFolder(photos, options());
  expect(decoded).toBe(2);
  await expectBytes(train, 40);
  await expectBytes(tested, 40);
});

test('what an interruption has done is kept', async () => {
  const stop = new AbortController();
  const interrupted = imageFolder(photos, {
    ...options(),
    signal: stop.signal,
    onProgress: ({ done }) => done === 5 && stop.abort(new Error('enough')),
  });
  await expect(interrupted).rejects.toThrow('enough');
  const { train, test: tested } = await imageFolder(photos, options());
  expect(decoded).toBeLessThanOrEqual(7);
  expect(train.length + tested.length).toBe(12);
  await expectBytes(train, 40);
});

test('two at once: one prepares, the other waits for it', async () => {
  const [first, second] = await Promise.all([imageFolder(photos, options()), imageFolder(photos, options())]);
  expect(second).toEqual(first);
  expect(notices.join('\n')).toContain('Another process prepares these images; waiting for it.');
  expect(readdirSync(join(cacheFile(), '..'))).toEqual(['images.bin']);
});

test('each size has its own file; the center of a long image is kept', async () => {
  await imageFolder(photos, options());
  const larger = await imageFolder(photos, { ...options(), side: 50 });
  expect(readdirSync(join(root, 'cache'))).toHaveLength(2);
  await expectBytes(larger.test, 50);
  expect([storedSides([375, 500], 256), storedSides([500, 375], 256)]).toEqual([
    [256, 341],
    [341, 256],
  ]);
  expect([storedSides([10, 1000], 256), storedSides([60_000, 1], 40)]).toEqual([
    [256, 1024],
    [160, 40],
  ]);
});

test('subsets keep bytes, labels and statistics', async () => {
  const { train } = await imageFolder(photos, options());
  const part = subset(train, Uint32Array.of(5, 2));
  expect(readStored(part.images, 0)).toEqual(readStored(train.images, 5));
  expect([...part.labels]).toEqual([train.labels[5], train.labels[2]]);
  expect(part.images.sources[1]).toBe(train.images.sources[2]);
  const split = trainValidationSplit(train, 0.25, 3);
  expect([split.train.length, split.validation.length]).toEqual([6, 2]);
  expect(channelStatistics(split.validation)).not.toEqual(channelStatistics(split.train));
});

test('a table with a missing image', async () => {
  const lines = ['circle', 'cross'].flatMap((name) =>
    [1, 2, 3, 4].map((i) => `${name}/${name}-00${i},${name}`),
  );
  writeFileSync(join(photos, 'list.csv'), `filename,label\n${lines.join('\n')}\n`);
  await expect(imageTable(join(photos, 'list.csv'), options())).rejects.toThrow('2 images of 8 are broken');
  const {
    train,
    test: tested,
    broken,
  } = await imageTable(join(photos, 'list.csv'), {
    ...options(),
    skipBroken: true,
  });
  expect(broken.map(({ problem }) => problem.replaceAll(root, 'ROOT')).sort()).toEqual([
    'ROOT/photos/circle/circle-004 cannot be read: no such file or folder',
    'ROOT/photos/cross/cross-004 cannot be read: no such file or folder',
  ]);
  expect(train.length + tested.length).toBe(6);
  await expectBytes(train, 40);
});

test('a cache that cannot be written: the message says how to use another one', async () => {
  const file = join(root, 'file');
  writeFileSync(file, '');
  await expect(imageFolder(photos, { ...options(), cache: join(file, 'cache') })).rejects.toThrow(
    /cannot create the folder .*; it is the cache for prepared images: .* use another folder \(XDG_CACHE_HOME\)/,
  );
});

test.skipIf(!canMountSmallDisk)('a full disk: the message says how much room is needed', async () => {
  const cache = join(root, 'small');
  mkdirSync(cache);
  const unmount = mountSmallDisk(cache, '1m');
  try {
    await expect(imageFolder(photos, { ...options(), cache, side: 300 })).rejects.toThrow(
      /no space left on the disk; 12 images need about 0.0043 GB: free some space, or use another disk/,
    );
    // Nothing is left but the folder.
    expect(readdirSync(join(cache, readdirSync(cache)[0]!))).toEqual([]);
  } finally {
    unmount();
  }
});

test('a cache that cannot be written, and wrong options', async () => {
  writeFileSync(join(root, 'file'), '');
  await expect(imageFolder(photos, { ...options(), cache: join(root, 'file') })).rejects.toThrow('file');
  await expect(imageFolder(photos, { ...options(), side: 0 })).rejects.toThrow('side');
  await expect(imageFolder(photos, { size: 3 } as never)).rejects.toThrow('size');
  mkdirSync(join(root, 'empty'));
  await expect(imageFolder(join(root, 'empty'), options())).rejects.toThrow('contains no images');
});
