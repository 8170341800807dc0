/** `vgg evaluate`: results per class, protocols, several networks, and the confusion matrix. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { ProtocolResult } from '../src/evaluation/scores.ts';
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
