/**
 * `vgg train`: the lecture's program. `train(epoch)` and `test()` are `train/trainer.ts`; here the options become
 * its parts, and the weights are kept.
 */
import { Command, Option } from 'commander';
import type { EvaluateResult } from '../engine/backend.ts';
import type { Reporter } from '../train/reporters.ts';
import { addDatasetOptions, type DatasetOptions, datasetFacts, loadDataset } from './datasets.ts';
import { Interrupted, type Interruption } from './interrupt.ts';
import { checkWritable, keeperOf } from './keep.ts';
import {
  addDeviceOptions,
  addModelOptions,
  compileChosen,
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
  const { save, batchSize, seed } = options;
  const { signal } = interruption;
  interruption.kept = 'Nothing was trained yet, so nothing was saved.';
  if (save !== undefined) await checkWritable(save);

  // The workers start while the pictures are read. What goes wrong with those is thrown where they are needed.
  const facts = datasetFacts(options);
  const loading = loadDataset(options);
  loading.catch(() => undefined);
  const [{ checkBatchSize }, { loadersOf }, { adam }, { trainer }, { progressFor }] = await Promise.all([
    import('../data/loader.ts'),
    import('./loaders.ts'),
    import('../train/optimizers.ts'),
    import('../train/trainer.ts'),
    import('./progress.ts'),
  ]);
  checkBatchSize(batchSize, facts);
  await using model = await compileChosen(options, facts, { batchSize, seed });
  const splits = await loading;
  const normalize = options.normalize === true;
  const { trainLoader, testLoader } = loadersOf(splits, { ...options, normalize });
  if (options.init !== undefined) await model.load(options.init);

  const progress = progressFor({
    json: options.json === true,
    logEvery: options.logEvery,
    batchSize,
    totalSteps: Math.min(options.steps ?? Infinity, options.epochs * trainLoader.length),
  });
  const keeper = keeperOf(model, save, interruption);
  let position = { epoch: 1, step: 0 };
  const reporter: Reporter = {
    step(event) {
      position = event;
      progress.step(event);
    },
    epoch: (event) => progress.epoch(event),
  };
  const optimizer = adam({ lr: options.lr });
  const { epochs, train, test } = trainer({
    ...options,
    model,
    trainLoader,
    testLoader,
    optimizer,
    reporter,
    signal,
  });
  progress.start({ model, splits, seed });
  try {
    let result: EvaluateResult | undefined;
    for (let epoch = 1; epoch <= epochs; epoch++) {
      await train(epoch);
      result = await test();
      await keeper.afterEpoch(epoch);
    }
    if (result) progress.end({ test: result, saved: save });
  } catch (error) {
    if (error instanceof Interrupted) {
      await keeper.whenInterrupted(position);
      progress.interrupt({ ...position, saved: save });
    }
    throw error;
  }
  if (options.dataset === 'shapes') note(nextHint);
}

const nextHint = `
Next: npx vgg summary simplified                 what was just trained, layer by layer
      npx vgg train --save weights.safetensors   keeps the weights; vgg evaluate and PyTorch read them
      npx vgg download cifar10                   then: npx vgg train --dataset cifar10, the lecture's program`;
