/** Fine-tuning on the command line: what weights say of themselves, frozen layers, and trainings in phases. */
import { readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { initialWeights } from '../src/model/initialize.ts';
import { createModel } from '../src/model/models.ts';
import { buildNetwork } from '../src/model/network.ts';
import { readSafetensors, writeSafetensors } from '../src/model/safetensors.ts';
import { quickVgg, vgg } from './run-vgg.ts';

let folder: string;
/** Weights of a narrow vgg11 for ImageNet's classes, as others write them: they say nothing of themselves. */
let published: string;
const options = { head: 'linear', width: 0.0625 } as const;
const network = buildNetwork(
  createModel('vgg11', { classes: 1000, options, input: [3, 32, 32] }),
  [3, 32, 32],
);
const initial = initialWeights(network, 4);

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'vggnet-fine-tune-'));
  published = join(folder, 'vgg11.safetensors');
  await writeFile(published, writeSafetensors(initial));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const short = ['--threads', '1', '--no-report'];
const fineTune = ['train', '--recipe', 'fine-tune', ...short];
const configOf = async (...args: readonly string[]): Promise<Record<string, unknown>> => {
  const { stdout, stderr } = await quickVgg([...fineTune, '--print-config', ...args]);
  expect(stderr).not.toContain('error');
  return JSON.parse(stdout) as Record<string, unknown>;
};

describe('published weights', () => {
  test('tell their network, and have the normalization of torchvision', async () => {
    expect(await configOf('--init', published)).toMatchObject({
      model: 'vgg11',
      modelOptions: options,
      normalize: true,
      normalization: 'torchvision',
      freshHead: true,
      freeze: ['features'],
      unfreezeAfter: 4,
    });
  });

  test.each([
    [['--normalization', 'caffe-rgb'], { normalize: true, normalization: 'caffe-rgb' }],
    [
      ['--normalization', '0.5,0.4,0.3/0.2,0.2,0.1'],
      { normalize: true, normalization: { mean: [0.5, 0.4, 0.3], std: [0.2, 0.2, 0.1] } },
    ],
    [['--no-normalize'], { normalize: false }],
  ])('are normalized otherwise with %j', async (args, expected) => {
    const { normalize, normalization } = await configOf('--init', published, ...args);
    expect({ normalize, ...(normalization !== undefined && { normalization }) }).toEqual(expected);
  });

  test('keep their data set’s own statistics with --normalize', async () => {
    const { normalize, normalization } = await configOf('--init', published, '--normalize');
    expect([normalize, normalization]).toEqual([true, undefined]);
  });

  test('are needed by the recipe', async () => {
    const { code, stderr } = await quickVgg(fineTune);
    expect(stderr).toContain('--recipe fine-tune needs --init');
    expect(code).toBe(2);
  });
});

test('frozen layers stay, the run says its normalization, and weights trained further adopt it', async () => {
  const run = join(folder, 'run');
  const args = ['--init', published, '--run', run, '--steps', '3', '--batch-size', '20'];
  const first = await vgg([...fineTune, ...args]);
  expect([first.code, first.stderr.includes('error')]).toEqual([0, false]);
  expect(first.stderr).toContain("assuming torchvision's normalization");
  const last = readSafetensors(readFileSync(join(run, 'last.safetensors'))).tensors;
  expect(last.get('features.0.weight')!.data).toEqual(initial.get('features.0.weight')!.data);
  expect([...last.keys()].filter((name) => name.startsWith('momentum/'))).toEqual([
    'momentum/classifier.weight',
    'momentum/classifier.bias',
  ]);
  const config = JSON.parse(readFileSync(join(run, 'config.json'), 'utf8')) as Record<string, unknown>;
  expect(config).toMatchObject({ normalization: 'torchvision' });
  const evaluated = await vgg(['evaluate', run, '--json']);
  expect(evaluated.code).toBe(0);
  const further = await configOf('--init', join(run, 'last.safetensors'));
  expect(further).toMatchObject({
    normalize: true,
    normalization: { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] },
  });
  // Of a run, its best weights.
  expect(await configOf('--init', run)).toMatchObject({ init: join(run, 'best.safetensors') });
  const resumed = await vgg(['train', '--resume', run, '--steps', '5', '--no-report']);
  expect(resumed.code).toBe(0);
  const own = await vgg([
    'train',
    ...short,
    '--no-run',
    '--steps',
    '1',
    '--init',
    join(run, 'last.safetensors'),
    '--normalize',
  ]);
  expect(own.code).toBe(0);
  expect(own.stderr).toMatch(
    /was trained with normalization mean 0\.4850, .* here images are normalized by the data set/,
  );
});

test('Caffe’s weights, which read blue first, are turned round', async () => {
  const run = join(folder, 'caffe');
  const { code } = await vgg([
    ...[...fineTune, '--init', published, '--run', run, '--steps', '1', '--normalization', 'caffe-bgr'],
  ]);
  expect(code).toBe(0);
  const last = readSafetensors(readFileSync(join(run, 'last.safetensors'))).tensors;
  const [turned, plain] = [last, initial].map((weights) => weights.get('features.0.weight')!.data) as [
    Float32Array,
    Float32Array,
  ];
  // [filters, 3, 3, 3]: the first channel is the last one.
  expect(turned.subarray(0, 9)).toEqual(plain.subarray(18, 27));
  expect(turned.subarray(9, 18)).toEqual(plain.subarray(9, 18));
});

test.each([
  ['--freeze feature', /freeze: vgg11 has no layer "feature"; did you mean "features"\?/],
  ['--lr-group features=0', /the factor 0 of "features" is not .*--freeze/],
  ['--lr-group features', /--lr-group features does not have the form name=factor/],
  ['--unfreeze-after 2', /--unfreeze-after has no effect without --freeze/],
  ['--freeze features --lr-group conv1_1=0.1', /all layers of "conv1_1" are frozen/],
  ['--freeze *', /nothing is left to train/],
])('%s is refused', async (args, message) => {
  const run = await vgg([
    'train',
    '--model',
    'vgg11',
    ...short,
    '--no-run',
    '--epochs',
    '3',
    ...args.split(' '),
  ]);
  expect(run.stderr).toMatch(message);
  expect(run.code).toBe(2);
});
