/** What `vgg` says to wrong input, in one line, and its exit codes. */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { readSafetensors, writeSafetensors } from '../src/model/safetensors.ts';
import { quickVgg, vgg } from './run-vgg.ts';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'vggnet-cli-input-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const cases: readonly (readonly [args: string, code: number, message: string])[] = [
  ['trian', 2, 'there is no command trian; did you mean train?'],
  ['train --epoch 3', 2, 'there is no option --epoch; did you mean --epochs?'],
  ['train --learning-rate 3', 2, 'there is no option --learning-rate; did you mean --lr?'],
  ['train --flavour 3', 2, 'there is no option --flavour; npx vgg train --help lists the options'],
  ['train --model alexnet', 2, 'there is no model "alexnet"; build other chains of layers with sequential()'],
  ['train --model vgg8', 2, 'there is no model "vgg8"; did you mean "vgg7"?'],
  ['train --dataset cifar', 2, 'there is no data set "cifar"; did you mean "cifar10"?'],
  ['train --device gpu', 2, 'there is no device "gpu"; webgpu computes on GPUs of all vendors'],
  ['report runs/a --device cuda', 2, 'Available: auto, native, wasm, webgpu, reference'],
  ['train --dataset cifar100 --labels course', 2, 'did you mean "coarse"?'],
  ['train --labels fine', 2, '--labels has no effect with dataset shapes: leave it out, or choose --dataset'],
  ['train --dataset cifar10 --labels coarse', 2, '--labels has no effect with dataset cifar10'],
  ['train --data /tmp', 2, '--data has no effect with dataset shapes'],
  ['evaluate a --data /tmp', 2, 'a is neither a weight file nor a run folder'],
  [
    'train --nesterov',
    2,
    '--nesterov has no effect with optimizer adam: leave it out, or choose --optimizer sgd',
  ],
  ['train --optimizer sgd --beta1 0.9', 2, '--beta1 has no effect with optimizer sgd'],
  ['train --schedule cosine --milestones 3,6', 2, '--milestones has no effect with schedule cosine'],
  [
    'train --schedule oneCycle --lr-step 3 --lr-gamma 0.1',
    2,
    '--lr-step has no effect with schedule oneCycle',
  ],
  ['train --schedule oneCycle --warmup 1', 2, '--warmup has no effect with schedule oneCycle'],
  [
    'train --patience 3',
    2,
    '--patience has no effect with schedule step: leave it out, or choose --schedule plateau',
  ],
  ['train --no-run --checkpoint-every 10', 2, '--checkpoint-every has no effect with --no-run'],
  ['lr-find --epochs 3', 2, 'there is no option --epochs; npx vgg lr-find --help lists the options'],
  ['train --no-nesterov', 2, '--no-nesterov has no effect with optimizer adam'],
  ['lr-find --momentum 0.5', 2, '--momentum has no effect with optimizer adam'],
  ['train --model vgg7 --model-option chanels=8,8', 2, 'did you mean "channels"?'],
  ['train --model vgg7 --model-option channels=8', 2, 'channels=8 is not 2 whole numbers ≥ 1'],
  ['train --model vgg7 --model-option channels', 2, '"channels" does not have the form name=value'],
  ['train --epochs 0', 2, '--epochs 0 is not a whole number ≥ 1'],
  ['train --epochs -3', 2, '--epochs -3 is not a whole number ≥ 1'],
  ['train --epochs 1.5', 2, '--epochs 1.5 is not a whole number ≥ 1'],
  ['train --steps many', 2, '--steps many is not a whole number ≥ 1'],
  ['train --steps 0', 2, '--steps 0 is not'],
  ['train --log-every 0', 2, '--log-every 0 is not'],
  ['train --batch-size -100', 2, '--batch-size -100 is not a whole number ≥ 1'],
  ['train --batch-size 0x10', 2, '--batch-size 0x10 is not a whole number ≥ 1'],
  ['train --batch-size 4/2', 2, '--batch-size 4/2 is not a whole number ≥ 1'],
  ['train --batch-size 1e5', 2, 'batch size 100000 is larger than the 10000 images of shapes'],
  ['train --epochs 1e20', 2, '--epochs 1e20 is above the limit of 4294967295'],
  ['train --threads 1000', 2, '--threads 1000 is above the limit of 256'],
  ['train --seeds 1_000', 2, '--seeds 1_000 is not a whole number ≥ 1'],
  ['summary vgg7 --batch-size 3x', 2, '--batch-size 3x is not'],
  ['train --batch-size 10001', 2, 'batch size 10001 is larger than the 10000 images of shapes'],
  ['train --lr 0', 2, '--lr 0 is not a number above 0'],
  ['train --lr -0.1', 2, '--lr -0.1 is not a number above 0'],
  ['train --lr fast', 2, '--lr fast is not a number above 0'],
  ['train --lr Infinity', 2, '--lr Infinity is not a number above 0'],
  ['train --lr 0x10', 2, '--lr 0x10 is not a number above 0'],
  ['lr-find --from 0x1', 2, '--from 0x1 is not a number above 0'],
  ['train --lr-gamma 1/0', 2, '--lr-gamma 1/0 is not a number above 0'],
  ['train --lr-gamma 1/3/3', 2, '--lr-gamma 1/3/3 is not'],
  ['train --lr-gamma 0', 2, '--lr-gamma 0 is not'],
  ['train --momentum 1', 2, '--momentum 1 is not a number of at least 0 and below 1'],
  ['train --optimizer rmsprop', 2, 'there is no optimizer "rmsprop"; adam and adamw also adapt'],
  ['train --milestones 3,x', 2, 'milestones'],
  ['train --schedule multiStep', 2, 'multiStep has no milestones'],
  ['train --schedule multiStep --print-config', 2, 'multiStep has no milestones; name the epochs'],
  [
    'train --schedule multiStep --milestones 3,2',
    2,
    'milestones 3, 2 are not ascending whole numbers ≥ 1; name each epoch once, in order',
  ],
  ['train --schedule multiStep --milestones 2,2 --print-config', 2, 'milestones 2, 2 are not ascending'],
  [
    'train --schedule cosine --min-lr 0.001',
    2,
    'minLr = 0.001 is not at least 0 and below the learning rate 0.001; use a lower minLr',
  ],
  ['train --cutout 33', 2, 'cutout 33 is larger than the images of shapes, 32 × 32 pixels; use at most 32'],
  [
    'train --steps 3 --accumulate 4',
    2,
    'steps 3 ends the training before its first optimizer step, which needs 4 batches (accumulate 4)',
  ],
  ['train --checkpoint-every soon', 2, '--checkpoint-every soon is neither'],
  ['train --checkpoint-every 0x10', 2, '--checkpoint-every 0x10 is neither'],
  ['train --checkpoint-every 1.5', 2, '--checkpoint-every 1.5 is neither'],
  ['train --checkpoint-every 1e30', 2, '--checkpoint-every 1e30 is above the limit of'],
  ['train --milestones 3,0x10 --schedule multiStep', 2, 'milestones'],
  ['train --recipe cifar100', 2, 'did you mean "cifar100-vgg7"?'],
  [
    'train --config /nowhere.json',
    2,
    '--config /nowhere.json cannot be read: no such file or folder; name a',
  ],
  ['train --config /nowhere.ts', 2, '--config /nowhere.ts cannot be read: no such file or folder; name a'],
  ['train --config src', 2, '--config src cannot be read: it is a folder; name a'],
  ['tune --config /nowhere.json', 2, '--config /nowhere.json cannot be read'],
  ['tune stat x', 2, 'there is no tune command "stat"; did you mean "status"?'],
  ['train --resume /nowhere', 1, '/nowhere is not a run folder'],
  ['train --run a --no-run', 2, '--no-run saves nothing, and --run names where to save'],
  ['train --lr-step 0', 2, '--lr-step 0 is not a whole number ≥ 1'],
  ['train --seed -1', 2, '--seed -1 is not a whole number ≥ 0'],
  ['train --threads 0', 2, '--threads 0 is not a whole number ≥ 1'],
  ['train --threads two', 2, '--threads two is not'],
  ['train --epochs', 2, "option '--epochs <n>' argument missing"],
  ['train shapes', 2, 'too many arguments'],
  ['train --dataset cifar10 --data /nowhere', 1, '/nowhere'],
  ['train --save /nowhere/weights.safetensors', 1, 'the folder /nowhere does not exist'],
  ['train --save /', 1, '--save / is a folder; name a file elsewhere'],
  [
    'train --run /dev/null/run',
    1,
    'cannot create the folder /dev/null/run: part of its path is a file, not a folder',
  ],
  ['train --init /nowhere.safetensors', 1, '/nowhere.safetensors'],
  ['evaluate', 2, 'evaluate: name weights: a run folder or a weight file'],
  ['evaluate /nowhere', 2, '/nowhere is neither a weight file nor a run folder'],
  ['evaluate a --crops 5', 2, 'there is no crops "5"'],
  ['evaluate a --scales 256,x', 2, '--scales 256,x is not a list of whole numbers, separated by commas'],
  ['evaluate a --scales ', 2, '--scales is empty; give whole numbers, separated by commas, or leave it out'],
  ['train --freeze ', 2, '--freeze is empty; name layers, separated by commas, or leave it out'],
  ['train --freeze conv1,,conv2', 2, '--freeze conv1,,conv2 has an empty name; name layers'],
  ['evaluate --init a', 2, 'there is no option --init'],
  ['report /nowhere', 1, '/nowhere is not a run folder'],
  ['report', 2, "missing required argument 'run'"],
  ['compare runs/a', 2, 'name two runs or more'],
  ['lr-find --from 1 --to 0.1', 2, 'rates from 1 to 0.1 do not rise'],
  ['summary', 2, "missing required argument 'model'"],
  ['summary vgg17', 2, 'there is no model "vgg17"'],
  ['download cifar11', 2, 'did you mean "cifar10"?'],
  ['kernels gem', 2, 'did you mean "gemm'],
  ['stats --dataset mnist', 2, 'there is no data set "mnist"; to train on other images'],
];
test.for(cases)('vgg %s', async ([args, code, message]) => {
  const run = await quickVgg(args.split(' '));
  expect(run.stderr).toContain(message);
  expect(run.stderr).toMatch(/^error: /);
  expect(run.stderr).not.toMatch(/^\s+at /m);
  expect(run.stdout).toBe('');
  expect(run.code).toBe(code);
});

test('a process of its own ends alike', async () => {
  for (const args of [['trian'], ['train', '--resume', '/nowhere']]) {
    expect(await vgg(args)).toEqual(await quickVgg(args));
  }
});

test.skipIf(process.platform !== 'linux')('a run folder where the system lets none be made', async () => {
  const run = await quickVgg(['train', '--run', '/proc/x']);
  expect(run.stderr).toBe('error: cannot create a folder in /proc\n');
  expect(run.code).toBe(1);
});

test('a kernel larger than its input', async () => {
  const run = await quickVgg(['train', '--model', 'vgg7', '--model-option', 'poolKernels=40,2']);
  expect(run.stderr).toMatch(/^error: maxPool2d: kernel 40×40 does not fit the 32×32 input/);
  expect(run.code).toBe(2);
});

test('a weight file that is none, and one of another network', async () => {
  const none = join(folder, 'none.safetensors');
  await writeFile(none, 'this is no weight file');
  const notWeights = await quickVgg(['evaluate', none]);
  expect(notWeights.stderr).toMatch(/^error: .*none\.safetensors: not a safetensors file/);
  expect(notWeights.code).toBe(1);

  const other = join(folder, 'other.safetensors');
  await vgg(['train', '--steps', '1', '--no-run', '--save', other]);
  // As PyTorch would write it, for a file of ours says its network.
  const { tensors } = readSafetensors(await readFile(other));
  await writeFile(other, writeSafetensors(tensors));
  const vgg7 = await quickVgg(['evaluate', other, '--model', 'vgg7']);
  expect(vgg7.stderr).toMatch(/^error: .*other\.safetensors: weights do not fit vgg7 .*features\.0\.weight/);
  expect(vgg7.code).toBe(1);
});
