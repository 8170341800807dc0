/** `vgg evaluate`: loss and accuracy of a run, or of saved weights, on the test images. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import { datasetFacts, loadDataset } from '../data/named.ts';
import { UsageError, VggError } from '../errors.ts';
import { createModel, parseAssignments } from '../model/models.ts';
import type { TrainConfig } from '../train/config.ts';
import { shellWord } from '../words.ts';
import { addDatasetOptions, type DatasetOptions } from './datasets.ts';
import { addDeviceOptions, addModelOptions, type DeviceOptions, type ModelOptions } from './models.ts';
import { print, printJson } from './output.ts';
import { pathArgument, pathOption, switchOptions, wholeNumberOption } from './values.ts';

interface EvaluateOptions extends DatasetOptions, ModelOptions, DeviceOptions {
  readonly init?: string;
  readonly normalize?: boolean;
  readonly batchSize: number;
  readonly json?: true;
}

const examples = `
Examples:
  $ vgg evaluate runs/a                                 the best weights of a run
  $ vgg evaluate runs/a --init runs/a/last.safetensors  its last weights
  $ vgg evaluate --init vgg7.safetensors --model vgg7 --dataset cifar100 --normalize --json

Without a run, give the options that the weights were trained with: --model, --model-option, --dataset, --labels and --normalize.`;

export function evaluateCommand(): Command {
  const command = new Command('evaluate').description('test a run or saved weights');
  command
    .addArgument(pathArgument('[run]', 'run folder, or name of a run in runs/'))
    .addOption(
      pathOption(
        '--init <file>',
        "safetensors file with weights from --save, a checkpoint or PyTorch (default: the run's best weights)",
      ),
    );
  addDatasetOptions(addModelOptions(command));
  const normalize = switchOptions(
    '--normalize',
    'normalize the images by the mean and deviation of the training images, as in training (default: off)',
  );
  for (const option of normalize) command.addOption(option);
  addDeviceOptions(command)
    .addOption(wholeNumberOption('--batch-size <n>', 'images per batch').default(100))
    .option('--json', 'print one JSON object: loss, accuracy, topFive, correct, images');
  return command
    .addHelpText('after', examples)
    .action((run: string | undefined, options: EvaluateOptions) => evaluate(command, run, options));
}

/** The options that the network was trained with. */
type Shape = Pick<TrainConfig, 'model' | 'modelOptions' | 'dataset' | 'data' | 'labels' | 'normalize'>;

async function evaluate(command: Command, run: string | undefined, options: EvaluateOptions): Promise<void> {
  const { init, shape } = run === undefined ? fromOptions(options) : await fromRun(command, run, options);
  const splits = await loadDataset(shape);
  const [{ testLoaderFor }, { compile }, { accuracyLine }] = await Promise.all([
    import('../runs/loaders.ts'),
    import('../train/model.ts'),
    import('../train/reporters.ts'),
  ]);
  const loader = testLoaderFor(splits, { batchSize: options.batchSize, normalize: shape.normalize });
  const { shape: input, classes } = datasetFacts(shape);
  const { device, threads } = options;
  await using model = await compile(createModel(shape.model, { classes, options: shape.modelOptions }), {
    input,
    device,
    ...(threads !== undefined && { threads }),
    batchSize: loader.batchSize,
  });
  await model.load(init);
  const { loss, accuracy, topFive, correct, images } = await model.evaluate(loader);
  if (options.json) return printJson({ loss, accuracy, topFive, correct, images });
  print(`Loss of the model on the test images: ${loss.toFixed(4)}`);
  print(accuracyLine(accuracy));
}

function fromOptions(options: EvaluateOptions): { readonly init: string; readonly shape: Shape } {
  const { init, model, modelOption, dataset, data, labels, normalize = false } = options;
  if (init === undefined) {
    throw new UsageError('evaluate: name a run folder, or weights with --init FILE.safetensors');
  }
  const modelOptions = parseAssignments(modelOption);
  return {
    init,
    shape: {
      model,
      modelOptions,
      dataset,
      ...(data !== undefined && { data }),
      ...(labels && { labels }),
      normalize,
    },
  };
}

async function fromRun(
  command: Command,
  run: string,
  { init, data }: EvaluateOptions,
): Promise<{ readonly init: string; readonly shape: Shape }> {
  const own = ['model', 'modelOption', 'dataset', 'labels', 'normalize'];
  const given = own.find((name) => command.getOptionValueSource(name) === 'cli');
  if (given !== undefined) {
    throw new UsageError(
      `evaluate: ${run} knows its own ${given}; leave the option out, or give --init without a run`,
    );
  }
  const { readRun, runFiles, runPlace } = await import('../runs/folder.ts');
  const folder = runPlace(run);
  const { config } = await readRun(folder);
  const best = join(folder, runFiles.best);
  if (init === undefined && !existsSync(best)) {
    const last = join(folder, runFiles.last);
    throw new VggError(
      `${folder} has no best weights (${runFiles.best}); they are saved after the first epoch. Continue the run with ` +
        `vgg train --resume ${shellWord(run)}${existsSync(last) ? `, or test its last weights with --init ${shellWord(last)}` : ''}`,
    );
  }
  return {
    init: init ?? best,
    shape: { ...config, ...(data !== undefined && { data }) },
  };
}
