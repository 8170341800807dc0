/** `vgg evaluate`: loss and accuracy of a run, or of saved weights, on the test pictures. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import { datasetFacts, loadDataset } from '../data/named.ts';
import { UsageError, VggError } from '../errors.ts';
import { createModel, parseAssignments } from '../model/models.ts';
import type { TrainConfig } from '../train/config.ts';
import { addDatasetOptions, type DatasetOptions } from './datasets.ts';
import { addDeviceOptions, addModelOptions, type DeviceOptions, type ModelOptions } from './models.ts';
import { print, printJson } from './output.ts';
import { pathArgument, pathOption, wholeNumberOption } from './values.ts';

interface EvaluateOptions extends DatasetOptions, ModelOptions, DeviceOptions {
  readonly init?: string;
  readonly normalize?: true;
  readonly batchSize: number;
  readonly json?: true;
}

const examples = `
Examples:
  $ vgg evaluate runs/vgg7-cifar100-…                   the best weights of a run, with the run's own options
  $ vgg evaluate runs/a --init runs/a/last.safetensors  its last ones
  $ vgg evaluate --init vgg7.safetensors --model vgg7 --dataset cifar100 --normalize --json

Without a run, give the options that shaped the training: --model, --model-option, --dataset, --labels, --normalize.`;

export function evaluateCommand(): Command {
  const command = new Command('evaluate').description('test a run, or saved weights');
  command
    .addArgument(pathArgument('[run]', 'run folder, or the name of a run in runs/'))
    .addOption(
      pathOption(
        '--init <file>',
        "weights as safetensors, from --save, a checkpoint or PyTorch (default: the run's best)",
      ),
    );
  addDatasetOptions(addModelOptions(command));
  addDeviceOptions(command)
    .addOption(wholeNumberOption('--batch-size <n>', 'pictures at a time').default(100))
    .option('--normalize', 'as in training: by mean and deviation of the training pictures')
    .option('--json', 'print {"loss":…,"accuracy":…,"topFive":…,"correct":…,"images":…}');
  return command
    .addHelpText('after', examples)
    .action((run: string | undefined, options: EvaluateOptions) => evaluate(command, run, options));
}

/** What the network was trained as. */
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
      `${folder} has no best weights (${runFiles.best}): a run has them from the end of its first epoch on. ` +
        `vgg train --resume ${run} goes on${existsSync(last) ? `, or --init ${last} tests the last ones` : ''}`,
    );
  }
  return {
    init: init ?? best,
    shape: { ...config, ...(data !== undefined && { data }) },
  };
}
