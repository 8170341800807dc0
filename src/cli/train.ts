/**
 * `vgg train`: the lecture's program. The loop itself is `train/trainer.ts`; here the options become its parts, and
 * the weights are kept: at the end, after each epoch, and when the user interrupts.
 */
import { constants } from 'node:fs';
import { access, stat } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { Command, Option } from 'commander';
import type { EvaluateResult } from '../engine/backend.ts';
import { DataError } from '../errors.ts';
import type { Reporter } from '../train/reporters.ts';
import { addDatasetOptions, type DatasetOptions, loadDataset } from './datasets.ts';
import { Interrupted, type Interruption } from './interrupt.ts';
import {
  addDeviceOptions,
  addModelOptions,
  chosenModel,
  type DeviceOptions,
  type ModelOptions,
} from './models.ts';
import { note } from './output.ts';
import { positiveNumberOption, wholeNumberOption } from './values.ts';

interface TrainCommandOptions extends DatasetOptions, ModelOptions, DeviceOptions {
  readonly epochs: number;
  readonly steps?: number;
  readonly batchSize: number;
  readonly lr: number;
  readonly lrStep: number;
  readonly lrGamma: number;
  readonly normalize?: true;
  readonly augment: boolean;
  readonly shuffle: boolean;
  readonly seed: number;
  readonly init?: string;
  readonly save?: string;
  readonly logEvery: number;
  readonly json?: true;
}

const examples = `
Examples:
  $ vgg train --epochs 3                                    the lecture's network on the built-in shapes
  $ vgg train --dataset cifar10 --save cifar10.safetensors  the lecture's whole program
  $ vgg train --model vgg7 --model-option channels=64,128 --dataset cifar100 --normalize
  $ vgg train --steps 20 --log-every 1 --json               each step as one JSON object

Training pictures are padded by 4, flipped at random and cropped to their size at random, as in the lecture;
--no-augment leaves them as they are. Press Ctrl-C to stop; with --save the weights are kept.`;

export function trainCommand(interruption: Interruption): Command {
  const command = new Command('train').description('train a network and test it after each epoch');
  addDatasetOptions(addModelOptions(command));
  command
    .addOption(wholeNumberOption('--epochs <n>', 'passes over the training pictures').default(80))
    .addOption(wholeNumberOption('--steps <n>', 'end after n steps in all, inside an epoch too'))
    .addOption(wholeNumberOption('--batch-size <n>', 'pictures for each step').default(100))
    .addOption(positiveNumberOption('--lr <x>', "Adam's learning rate").default(0.001))
    .addOption(wholeNumberOption('--lr-step <n>', 'epochs between changes of the learning rate').default(20))
    .addOption(
      positiveNumberOption('--lr-gamma <x>', 'its factor at each change', { fraction: true }).default(
        1 / 3,
        '1/3',
      ),
    )
    .option('--normalize', 'subtract mean and divide by deviation of each channel of the training pictures')
    .option('--no-augment', 'no padding, flips and crops')
    .option('--no-shuffle', 'training pictures in the order of the files')
    .addOption(
      wholeNumberOption('--seed <n>', 'of initial weights, order and augmentation', { least: 0 }).default(0),
    );
  addDeviceOptions(command)
    .addOption(new Option('--init <file>', 'start from the weights of this safetensors file'))
    .addOption(new Option('--save <file>', 'write the weights as safetensors, for PyTorch too'))
    .addOption(wholeNumberOption('--log-every <k>', 'report a step each k steps of an epoch').default(100))
    .option('--json', 'report one JSON object a line');
  return command
    .addHelpText('after', examples)
    .action((options: TrainCommandOptions) => train(options, interruption));
}

async function train(options: TrainCommandOptions, interruption: Interruption): Promise<void> {
  const { save, batchSize, seed, device, threads } = options;
  const { signal } = interruption;
  interruption.kept = 'Nothing was trained yet, so nothing was saved.';
  if (save !== undefined) await checkWritable(save);

  const splits = await loadDataset(options);
  const { loadersOf } = await import('./loaders.ts');
  const { trainLoader, testLoader } = loadersOf(splits, {
    ...options,
    normalize: options.normalize === true,
  });
  signal.throwIfAborted();

  const [{ compile }, { adam }, { trainer }, { progressFor }] = await Promise.all([
    import('../train/model.ts'),
    import('../train/optimizers.ts'),
    import('../train/trainer.ts'),
    import('./progress.ts'),
  ]);
  const { train: trainSet } = splits;
  await using model = await compile(chosenModel(options, trainSet.classes.length), {
    input: trainSet.shape,
    batchSize,
    seed,
    device,
    ...(threads !== undefined && { threads }),
  });
  if (options.init !== undefined) await model.load(options.init);
  signal.throwIfAborted();

  const progress = progressFor({
    json: options.json === true,
    logEvery: options.logEvery,
    batchSize,
    totalSteps: Math.min(options.steps ?? Infinity, options.epochs * trainLoader.length),
  });
  let position = { epoch: 1, step: 0 };
  const reporter: Reporter = {
    step(event) {
      position = event;
      progress.step(event);
    },
    epoch: (event) => progress.epoch(event),
  };
  const { epochs, train, test } = trainer({
    ...options,
    model,
    trainLoader,
    testLoader,
    optimizer: adam({ lr: options.lr }),
    reporter,
    signal,
  });
  progress.start({ model, splits, seed });
  let result: EvaluateResult | undefined;
  try {
    for (let epoch = 1; epoch <= epochs; epoch++) {
      await train(epoch);
      result = await test();
      if (save === undefined) continue;
      await model.save(save);
      interruption.kept = `The weights after epoch ${epoch} are in ${save}.`;
    }
  } catch (error) {
    if (error instanceof Interrupted) {
      const where = `epoch ${position.epoch}, step ${position.step}`;
      if (save === undefined) {
        interruption.kept = `Nothing of ${where} was saved; --save FILE.safetensors keeps the weights.`;
      } else {
        await model.save(save);
        interruption.kept = `The weights after ${where} are in ${save}; --init ${save} goes on from them.`;
      }
      progress.interrupt({ ...position, saved: save });
    }
    throw error;
  }
  if (result) progress.end({ test: result, saved: save });
  if (options.dataset === 'shapes') note(nextHint);
}

const nextHint = `
Next: vgg summary simplified             what was just trained, layer by layer
      vgg download cifar10               then: vgg train --dataset cifar10, the lecture's whole program
      vgg train --save weights.safetensors   keeps the weights; vgg evaluate and PyTorch read them`;

/** Refuses a --save that cannot be written before hours are spent on what it is to hold. */
async function checkWritable(path: string): Promise<void> {
  const folder = dirname(resolve(path));
  try {
    await access(folder, constants.W_OK);
  } catch (error) {
    throw new DataError(
      `--save ${path}: the folder ${folder} ${isMissing(error) ? 'does not exist' : 'cannot be written'}; ` +
        'make it, or name a file elsewhere',
    );
  }
  const existing = await stat(path).catch(() => undefined);
  if (existing?.isDirectory()) throw new DataError(`--save ${path} is a folder; name a file in it`);
}

const isMissing = (error: unknown): boolean => (error as NodeJS.ErrnoException).code === 'ENOENT';
