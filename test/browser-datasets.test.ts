/** Data sets from a user's files in Chromium: CIFAR's archives and files, folders and zips of photos, and what is none. */
import { createHash } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { crc32, deflateRawSync, gzipSync } from 'node:zlib';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { figureNames, makeShapesFolder } from '../examples/make-shapes-folder.ts';
import { imageFolder } from '../src/data/folders/image-folder.ts';
import { directoryOf, localHeader } from '../src/files/zip-writer.ts';
import { hasChromium, skipped } from './browser.ts';
import { type OpenPage, openPages, type Pages } from './browser-pages.ts';
import { binaryMembers, type Member, tarGz, writePythonFolder } from './cifar-fixtures.ts';

interface GivenFile {
  readonly path: string;
  readonly base64: string;
}
const given = (path: string, bytes: Uint8Array): GivenFile => ({
  path,
  base64: Buffer.from(bytes).toString('base64'),
});
const md5 = (bytes: Uint8Array): string => createHash('md5').update(bytes).digest('hex');

/** Files of a folder, with its name in front. */
async function filesIn(folder: string, name: string): Promise<GivenFile[]> {
  const paths = (await readdir(folder, { recursive: true, withFileTypes: true })).filter((entry) =>
    entry.isFile(),
  );
  return Promise.all(
    paths.map(async (entry) => {
      const path = join(entry.parentPath, entry.name);
      return given(`${name}${path.slice(folder.length)}`, await readFile(path));
    }),
  );
}

/** A zip archive with deflated entries. */
function zipOf(files: readonly GivenFile[]): Buffer {
  const made = files.map(({ path, base64 }) => {
    const bytes = Buffer.from(base64, 'base64');
    const packed = deflateRawSync(bytes);
    return { entry: { name: path, size: packed.length, crc: crc32(bytes) }, packed, size: bytes.length };
  });
  const directory = Buffer.from(directoryOf(made.map(({ entry }) => entry)));
  let at = 0;
  const parts = made.map(({ entry, packed, size }) => {
    const local = Buffer.from(localHeader(entry));
    local.writeUInt16LE(8, 8);
    directory.writeUInt16LE(8, at + 10);
    directory.writeUInt32LE(size, at + 24);
    at += 46 + Buffer.byteLength(entry.name);
    return Buffer.concat([local, packed]);
  });
  return Buffer.concat([...parts, directory]);
}

describe.skipIf(!hasChromium)(`data sets in Chromium${hasChromium ? '' : ` ${skipped}`}`, () => {
  let pages: Pages;
  let root: string;
  let open: OpenPage;
  let photos: GivenFile[];
  beforeAll(async () => {
    root = await mkdtemp(join(tmpdir(), 'vggnet-browser-data-'));
    await makeShapesFolder(join(root, 'photos'), 8);
    photos = await filesIn(join(root, 'photos'), 'photos');
    pages = await openPages();
  });
  beforeEach(async () => {
    open = await pages.open(false);
  });
  afterEach(() => open.page.context().close());
  afterAll(async () => {
    await pages?.[Symbol.asyncDispose]();
    await rm(root, { recursive: true });
  });

  const archive = (members: readonly Member[], name = 'cifar-10-binary.tar.gz'): [GivenFile, Uint8Array] => {
    const bytes = tarGz(members);
    return [given(name, bytes), bytes];
  };
  const cifar10 = { dataset: 'cifar10', images: { train: 50_000, test: 10_000 } };

  test('an archive of CIFAR-10 is checked, kept, and found after a reload', async () => {
    const [file, bytes] = archive(binaryMembers('cifar10'));
    const options = { md5: { 'cifar-10-binary.tar.gz': md5(bytes) } };
    expect(await open.call('dataset', [file], options)).toMatchObject({
      ...cifar10,
      classes: expect.arrayContaining(['airplane', 'truck']),
    });
    expect(await open.call('keep', [file], options)).toMatchObject(cifar10);
    await open.page.reload();
    await open.page.waitForFunction(() => 'tests' in globalThis);
    expect(await open.call('datasets')).toMatchObject([{ dataset: 'cifar10', bytes: bytes.length }]);
    expect(await open.call('kept', 'cifar10')).toMatchObject(cifar10);
    const config = { dataset: 'cifar10', steps: 2, batchSize: 20, device: 'wasm' };
    expect(await open.call('run', { name: 'cifar', config })).toMatchObject({ reason: 'finished', steps: 2 });
    expect(open.complaints).toEqual([]);
  });

  test('Python batches of CIFAR-100', async () => {
    const folder = writePythonFolder(root, 'cifar100');
    const chosen = async (...names: readonly string[]): Promise<unknown> => {
      await open.page.locator('input').setInputFiles(names.map((name) => join(folder, name)));
      return open.page.evaluate(() =>
        (globalThis as unknown as { tests: { chosen(): Promise<unknown> } }).tests.chosen(),
      );
    };
    expect(await chosen('train', 'test')).toMatchObject({ dataset: 'cifar100', classes: 100 });
    expect(await chosen('test')).toMatch(/Error: test is no data set; choose/);
  });

  test('archives that are damaged, bombs, or something else', async () => {
    const [file, bytes] = archive(binaryMembers('cifar10'));
    const message = (path: string, content: Uint8Array): Promise<unknown> =>
      open.call('dataset', [given(path, content)]);
    expect(await open.call('dataset', [file])).toMatch(
      /^DataError: cifar-10-binary.tar.gz is not the official archive or damaged: its MD5 is \w+ instead of c32a1d4ab5d03f1284b67883e8d87530;/,
    );
    expect(await message('mine.tar.gz', bytes)).toMatchObject(cifar10);
    expect(await message('mine.tar.gz', bytes.slice(0, bytes.length / 2))).toMatch(
      /^DataError: mine.tar.gz is (not a complete .tar.gz archive|truncated)/,
    );
    const [, short] = archive(binaryMembers('cifar10').slice(1));
    expect(await message('mine.tar.gz', short)).toMatch(/does not contain data_batch_1.bin/);
    const [, bomb] = archive([{ path: 'bomb', content: new Uint8Array(300 * 2 ** 20) }]);
    expect(await message('bomb.tar.gz', bomb)).toMatch(/unpacks to more than 268435456 bytes/);
    const [, outside] = archive([{ path: '../a', content: new Uint8Array(3) }]);
    expect(await message('a.tgz', outside)).toMatch(/member "..\/a" is outside the archive's folder/);
    expect(await message('a.tar.gz', gzipSync('hello'.repeat(1000)))).toMatch(
      /is not a tar archive or is corrupt/,
    );
    expect(await message('letter.txt', Buffer.from('hello'))).toMatch(
      /^DataError: letter.txt is no data set/,
    );
    expect(await message('a.zip', zipOf([given('../cat/1.png', Buffer.from('x'))]))).toMatch(
      /^DataError: a.zip: its entry "..\/cat\/1.png" is outside/,
    );
    expect(await message('a.zip', zipOf([given('cat/1.txt', Buffer.from('x'))]))).toMatch(
      /^DataError: a has only/,
    );
    const one = [given('data_batch_1.bin', new Uint8Array(10)), given('test_batch.bin', new Uint8Array(10))];
    expect(await open.call('dataset', one)).toMatch(/data_batch_2.bin, .* are missing; choose all 6 files/);
  });

  test('photos in a folder and in a zip, with the bytes of vgg', async () => {
    const found = { dataset: 'folder:photos', classes: [...figureNames], images: { train: 24, test: 8 } };
    expect(await open.call('dataset', photos)).toMatchObject(found);
    const { train, test: tested } = await imageFolder(join(root, 'photos'), {
      side: 36,
      cache: join(root, 'cache'),
    });
    const expected = [train, tested].map(({ classes, labels, images }) => ({
      classes,
      labels: [...labels],
      sizes: [...images.sizes],
      checksums: [...images.checksums!],
    }));
    // 64 pixels are tested on a crop of a larger image: the side of 36 is that of networks of 32 pixels that are not.
    const inFolder = await open.call('prepared', photos, { size: 36 });
    expect(inFolder).toMatchObject(expected);
    const zip = [given('photos.zip', zipOf(photos))];
    expect(await open.call('prepared', zip, { size: 36 })).toEqual(inFolder);
    expect(await open.call('keep', photos)).toMatchObject(found);
    expect(await open.call('kept', 'folder:photos')).toMatchObject(found);
    const config = { dataset: 'folder:photos', steps: 3, batchSize: 8, device: 'wasm', augment: false };
    expect(await open.call('run', { name: 'photos', config })).toMatchObject({
      reason: 'finished',
      steps: 3,
    });
    expect(open.complaints).toEqual([]);
  });

  test('broken photos are listed', async () => {
    const broken = [...photos, given('photos/circle/zero.png', new Uint8Array(0))];
    const cut = Buffer.from(photos.find(({ path }) => path.endsWith('.png'))!.base64, 'base64').subarray(
      0,
      300,
    );
    const config = { dataset: 'folder:photos', steps: 1, batchSize: 8, device: 'wasm' };
    const files = [...broken, given('photos/cross/cut.png', cut)];
    const message = await open.call('message', { name: 'broken', config, files });
    expect(message).toMatch(/2 images of \d+ are broken/);
    expect(message).toMatch(/photos\/circle\/zero.png: the file is empty/);
    expect(message).toMatch(/photos\/cross\/cut.png: this browser cannot decode the PNG image/);
    const left = { name: 'left', config: { ...config, skipBroken: true }, files };
    expect(await open.call('run', left)).toMatchObject({
      reason: 'finished',
      notices: expect.arrayContaining([expect.stringContaining('2 broken images left out')]),
    });
  });
});
