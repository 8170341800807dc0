/** `vgg evaluate`: loss and accuracy of saved weights on the test pictures. */
import { Command } from 'commander';
import { datasetFacts, loadDataset } from '../data/named.ts';
import { addDatasetOptions, type DatasetOptions } from './datasets.ts';
import {
  addDeviceOptions,
  addModelOptions,
  compileChosen,
  type DeviceOptions,
  type ModelOptions,
} from './models.ts';
import { print, printJson } from './output.ts';
import { wholeNumberOption } from './values.ts';

interface EvaluateOptions extends DatasetOptions, ModelOptions, DeviceOptions {
  readonly init: string;
  readonly normalize?: true;
  readonly batchSize: number;
  readonly json?: true;
}

const examples = `
Examples:
  $ vgg evaluate --init simplified.safetensors
  $ vgg evaluate --init runs/simplified-shapes-…/best.safetensors
  $ vgg evaluate --init vgg7.safetensors --model vgg7 --dataset cifar100 --normalize --json

Give the options that shaped the training: --model, --model-option, --dataset, --labels and --normalize.`;

export function evaluateCommand(): Command {
  const command = new Command('evaluate').description('test saved weights');
  command.requiredOption(
    '--init <file>',
    'weights as safetensors: of a run folder, from --save or from PyTorch',
  );
  addDatasetOptions(addModelOptions(command));
  addDeviceOptions(command)
    .addOption(wholeNumberOption('--batch-size <n>', 'pictures at a time').default(100))
    .option('--normalize', 'as in training: by mean and deviation of the training pictures')
    .option('--json', 'print {"loss":…,"accuracy":…,"correct":…,"images":…}');
  return command.addHelpText('after', examples).action(evaluate);
}

async function evaluate(options: EvaluateOptions): Promise<void> {
  const splits = await loadDataset(options);
  const [{ testLoaderFor }, { accuracyLine }] = await Promise.all([
    import('../runs/loaders.ts'),
    import('../train/reporters.ts'),
  ]);
  const loader = testLoaderFor(splits, { ...options, normalize: options.normalize === true });
  await using model = await compileChosen(options, datasetFacts(options), { batchSize: loader.batchSize });
  await model.load(options.init);
  const { loss, accuracy, correct, images } = await model.evaluate(loader);
  if (options.json) return printJson({ loss, accuracy, correct, images });
  print(`Loss of the model on the test images: ${loss.toFixed(4)}`);
  print(accuracyLine(accuracy));
}
