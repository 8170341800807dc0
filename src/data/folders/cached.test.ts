/** The cache of prepared images as a whole: listing, removal, and what nothing uses. */
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { makeShapesFolder } from '../../../examples/make-shapes-folder.ts';
import { lockFolder } from '../../files/lock.ts';
import { cachedOf, listCached, removeCached } from './cached.ts';
import { imageFolder, imageTable } from './image-folder.ts';

let root: string;
let photos: string;
let cache: string;
beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), 'vgg-cached-'));
  photos = join(root, 'photos');
  await makeShapesFolder(photos, 3);
  const rows = ['cross', 'circle'].flatMap((name) =>
    readdirSync(join(photos, name)).map((file) => `${name}/${file},${name}`),
  );
  mkdirSync(join(root, 'tables'));
  writeFileSync(join(root, 'tables/list.csv'), `file,label\n${rows.join('\n')}\n`);
  symlinkSync(photos, join(root, 'link'));
});
afterAll(() => rmSync(root, { recursive: true, force: true }));
beforeEach(() => {
  cache = mkdtempSync(join(root, 'cache-'));
});

const prepare = (side: number): Promise<unknown> => imageFolder(photos, { cache, side, threads: 1 });

test('lists data sets by size, and finds those of a folder or table', async () => {
  expect(await listCached(join(root, 'nowhere'))).toEqual([]);
  await prepare(20);
  await prepare(30);
  await imageTable(join(root, 'tables/list.csv'), { cache, side: 20, threads: 1, images: photos });
  // Others' files, and a preparation that has not ended.
  writeFileSync(join(cache, 'file'), '');
  mkdirSync(join(cache, 'a'.repeat(24)));
  const sets = await listCached(cache);
  expect(sets.map(({ content }) => [content!.side, content!.images, content!.broken])).toEqual([
    [30, 12, 0],
    [20, 12, 0],
    [20, 6, 0],
  ]);
  expect(sets[0]!.bytes).toBeGreaterThan(sets[1]!.bytes);
  // The table's images are in this folder, too.
  expect(cachedOf(sets, photos)).toEqual(sets);
  expect(cachedOf(sets, join(root, 'link'))).toEqual(sets);
  expect(cachedOf(sets, join(root, 'tables/list.csv'))).toEqual(sets.slice(2));
  expect(cachedOf(sets, join(root, 'other'))).toEqual([]);
  for (const set of sets) expect(await removeCached(set)).toBe(true);
  expect(readdirSync(cache).sort()).toEqual(['a'.repeat(24), 'file']);
});

test('a damaged file is listed without its content', async () => {
  await prepare(20);
  const [set] = await listCached(cache);
  writeFileSync(join(set!.folder, 'images.bin'), 'x');
  const [damaged] = await listCached(cache);
  expect([damaged!.content, damaged!.bytes]).toEqual([undefined, 1]);
});

test('what is being prepared stays', async () => {
  await prepare(20);
  const [set] = await listCached(cache);
  const lock = await lockFolder(set!.folder);
  expect(await removeCached(set!)).toBe(false);
  expect(existsSync(join(set!.folder, 'images.bin'))).toBe(true);
  await lock.release();
  expect(await removeCached(set!)).toBe(true);
  // Another process was faster.
  expect(await removeCached(set!)).toBe(true);
});

test('what nothing has used for 60 days is removed when others are prepared; use is noted', async () => {
  await prepare(20);
  await prepare(30);
  const [large, small] = await listCached(cache);
  const daysAgo = (days: number): Date => new Date(Date.now() - days * 86_400_000);
  utimesSync(join(large!.folder, 'images.bin'), daysAgo(59), daysAgo(59));
  utimesSync(join(small!.folder, 'images.bin'), daysAgo(61), daysAgo(61));
  await prepare(30);
  expect((await listCached(cache))[0]!.used.getTime()).toBeGreaterThan(daysAgo(1).getTime());
  expect(await listCached(cache)).toHaveLength(2);
  await prepare(40);
  expect((await listCached(cache)).map(({ content }) => content!.side)).toEqual([40, 30]);
  expect(dirname(large!.folder)).toBe(cache);
});
