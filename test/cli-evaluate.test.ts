/** `vgg evaluate`: results per class, protocols, several networks, and the confusion matrix. */
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { ProtocolResult } from '../src/evaluation/scores.ts';
import { encodePng } from '../src/images/png.ts';
import { loadSharp } from '../src/images/sharp.ts';
import { quickVgg, vgg } from './run-vgg.ts';

let folder: string;
let run: string;
let trained: { readonly testAccuracy: number; readonly testLoss: number };
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'vggnet-evaluate-'));
  run = join(folder, 'run');
  const { stdout, stderr, code } = await vgg([
    'train',
    '--run',
    run,
    '--epochs',
    '1',
    '--no-report',
    '--normalize',
    '--json',
    '--device',
    'wasm',
  ]);
  expect(code, stderr).toBe(0);
  trained = JSON.parse(stdout.trim().split('\n').at(-1)!) as typeof trained;
}, 120_000);
afterAll(() => rmSync(folder, { recursive: true, force: true }));

type Json = Omit<ProtocolResult, 'topFive'> & {
  readonly topFive: number | null;
  readonly protocol: object;
};
const evaluated = async (...args: readonly string[]): Promise<Json> => {
  const { stdout, stderr, code } = await vgg(['evaluate', ...args, '--json', '--device', 'wasm']);
  expect(code, stderr).toBe(0);
  return JSON.parse(stdout) as Json;
};

describe('a run', { timeout: 120_000 }, () => {
  test('has the results of its training, per class and as a matrix', async () => {
    const result = await evaluated(run);
    expect(result.accuracy).toBe(trained.testAccuracy);
    expect(result.loss).toBeCloseTo(trained.testLoss, 6);
    expect(result.protocol).toEqual({ scales: [32], dense: false, crops: 1, flip: false });
    expect(result.classes.map(({ images }) => images)).toEqual(new Array(10).fill(200));
    result.confusion.forEach((row, label) => {
      expect(row.reduce((sum, count) => sum + count)).toBe(200);
      expect(row[label]).toBe(result.classes[label]!.correct);
    });
  });

  test('is tested by protocols, and together with itself as by itself', async () => {
    const dense = await evaluated(run, '--dense', '--no-flip');
    // At the training size, dense is the network itself.
    expect(dense.accuracy).toBe(trained.testAccuracy);
    expect(dense.loss).toBeCloseTo(trained.testLoss, 5);
    const scales = await evaluated(run, '--scales', '32,33', '--dense', '--crops', '1');
    expect(scales.protocol).toEqual({ scales: [32, 33], dense: true, crops: 1, flip: true });
    expect(scales.loss).not.toBeCloseTo(trained.testLoss, 4);
    const twice = await evaluated(run, join(run, 'last.safetensors'));
    expect(twice.loss).toBeCloseTo(trained.testLoss, 6);
  });

  test('is tested on other images of the data set', async () => {
    const all = await evaluated(run, '--split', 'all');
    expect(all.images).toBe(12_000);
    expect(all.classes.reduce((sum, { images }) => sum + images, 0)).toBe(12_000);
  });

  test('prints a table of its classes and draws the matrix', async () => {
    const [svg, png] = [join(folder, 'matrix.svg'), join(folder, 'matrix.png')];
    const drawn = await vgg(['evaluate', run, '--plot', svg]);
    expect(drawn.stdout).toMatch(
      /^Loss of the model on the test images: \d\.\d{4}\nAccuracy of the model on /,
    );
    expect(drawn.stdout).toMatch(/\nTop-5 accuracy of the model on the test images: \d+\.\d\d %\n/);
    expect(drawn.stdout).toMatch(/\nclass +images +top-1 +most often taken for\n/);
    expect(drawn.stdout).toMatch(/\nsquare +200 +\d+\.\d\d % +\w+ \(\d+\)\n/);
    expect(drawn.stderr).toContain('Protocol: center crop, scale 32.');
    const text = readFileSync(svg, 'utf8');
    expect(text).toMatch(/^<svg xmlns=/);
    expect(text).toContain('>stripes</text>');
    await evaluated(run, '--plot', png);
    const sharp = loadSharp();
    const { width, height, format } = await sharp(readFileSync(png), {
      failOn: 'error',
      limitInputPixels: false,
      ignoreIcc: true,
    }).metadata();
    expect([width, height, format]).toEqual([720, 720, 'png']);
  });

  test.each<[string, readonly string[], number, string]>([
    [
      'a scale below the images',
      ['--scales', '16'],
      2,
      "scale 16 is smaller than the network's images of 32×32",
    ],
    ['a matrix of another format', ['--plot', 'matrix.gif'], 2, 'name it ….svg or ….png'],
    ['a split that is none', ['--split', 'validation'], 2, 'shapes has no validation images of its own'],
    ['two normalizations', ['--normalize', '--normalization', 'none'], 2, 'give one of them'],
    [
      'another normalization',
      ['--normalization', 'torchvision'],
      2,
      'its weights were trained with normalization',
    ],
    [
      'another number of classes',
      ['--classes', '7'],
      2,
      'its network has 10 classes, which contradicts --classes with 7',
    ],
  ])('refuses %s', async (_name, args, exitCode, message) => {
    const { code, stderr } = await quickVgg(['evaluate', run, ...args]);
    expect(stderr).toContain(message);
    expect(code).toBe(exitCode);
  });
});

test('image files: those of the run, and other folders with some of its classes', {
  timeout: 120_000,
}, async () => {
  const photos = join(folder, 'my photos');
  const colors = { 'rouge été': [200, 40, 30], green: [40, 180, 60], blue: [30, 60, 200] };
  for (const [name, color] of Object.entries(colors)) {
    mkdirSync(join(photos, name), { recursive: true });
    for (let i = 0; i < 10; i++) {
      const [width, height] = [40 + ((i * 7) % 30), 36 + ((i * 11) % 25)];
      const bytes = Uint8Array.from(
        { length: width * height * 3 },
        (_, k) => color[k % 3]! + ((k * 7919 + i * 31) % 41),
      );
      writeFileSync(join(photos, name, `${i}.png`), encodePng({ width, height, channels: 3, bytes }));
    }
  }
  const own = join(folder, 'photos-run');
  // Tests see images at their own size, also where training sees larger ones.
  const options = ['--size', '32', '--crop', 'jitter', '--epochs', '1', '--batch-size', '8', '--no-report'];
  const { stdout, stderr } = await vgg([
    ...['train', '--dataset', `folder:${photos}`, '--run', own, '--json', '--device', 'wasm'],
    ...options,
  ]);
  const end = JSON.parse(stdout.trim().split('\n').at(-1)!) as typeof trained;
  expect(end.testLoss, stderr).toBeGreaterThan(0);
  const result = await evaluated(own);
  expect(result.loss).toBeCloseTo(end.testLoss, 5);
  expect(result.topFive).toBeNull();
  expect([result.images, (await evaluated(own, '--split', 'all', '--dense')).images]).toEqual([6, 30]);

  const other = join(folder, 'other');
  for (const name of ['green', 'blue']) cpSync(join(photos, name), join(other, name), { recursive: true });
  const some = await evaluated(own, '--dataset', `folder:${other}`, '--split', 'all');
  expect(some.classes.map(({ name, images }) => [name, images])).toEqual([
    ['blue', 10],
    ['green', 10],
  ]);
  writeFileSync(
    join(other, 'blue', 'broken.png'),
    readFileSync(join(other, 'blue', '1.png')).subarray(0, 300),
  );
  const all = ['evaluate', own, '--dataset', `folder:${other}`, '--split', 'all'];
  const broken = await quickVgg(all);
  expect(broken.stderr).toMatch(/error: .*broken\.png: the PNG image is damaged/);
  expect(broken.code).toBe(1);
  const left = await vgg([...all, '--skip-broken', '--json']);
  expect(left.stderr).toMatch(/broken\.png: the PNG image is damaged: .*; left out\n/);
  expect(JSON.parse(left.stdout)).toMatchObject({ images: 20 });
  const damaged = readFileSync(join(other, 'blue', 'broken.png'));
  for (let i = 0; i < 11; i++) writeFileSync(join(other, 'green', `broken-${i}.png`), damaged);
  const many = await vgg([...all, '--skip-broken', '--json']);
  expect(many.stderr.match(/; left out\n/g)).toHaveLength(10);
  expect(many.stderr).toContain('12 broken images are left out; the first ten are listed above.\n');
  for (let i = 0; i < 11; i++) rmSync(join(other, 'green', `broken-${i}.png`));
  // The same name of a data set, but other images.
  const copy = join(folder, 'copied-run');
  cpSync(own, copy, { recursive: true });
  const config = JSON.parse(readFileSync(join(own, 'config.json'), 'utf8')) as object;
  writeFileSync(join(copy, 'config.json'), JSON.stringify({ ...config, data: other }));
  const both = await quickVgg(['evaluate', own, copy]);
  expect(both.stderr).toContain(`was trained on folder:${photos}, and ${copy}`);
  expect(both.stderr).toContain(
    `on folder:${photos} in ${other}; name the data set to test both on: --dataset`,
  );
  cpSync(join(other, 'green'), join(other, 'yellow'), { recursive: true });
  cpSync(join(other, 'green'), join(other, 'violet'), { recursive: true });
  const unknown = await quickVgg(all);
  expect(unknown.stderr).toMatch(
    /its network has 3 classes \(blue, green, rouge été\), and folder:.* has 4 \(blue, green, violet, …\); the network knows no class "violet"/,
  );
  expect(unknown.code).toBe(1);
});
