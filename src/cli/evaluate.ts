/** `vgg evaluate`: loss and accuracy of a run, or of saved weights, on the test images. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import { datasetFacts } from '../data/facts.ts';
import { loadDataset } from '../data/load.ts';
import { datasetForms, isDatasetSpec } from '../data/named.ts';
import { DataError, UsageError, VggError } from '../errors.ts';
import type { Chosen, ModelInfo } from '../model/info.ts';
import { networkOf, parseAssignments } from '../model/models.ts';
import { flagWithValue } from '../report/command.ts';
import type { TrainConfig } from '../train/config-table.ts';
import { notFinite } from '../train/finite.ts';
import { shellWord } from '../words.ts';
import { addDatasetOptions, type DatasetOptions } from './datasets.ts';
import {
  addDeviceOptions,
  addModelOptions,
  type DeviceOptions,
  type ModelOptions,
  readModel,
} from './models.ts';
import { print, printJson } from './output.ts';
import { preparingOptions } from './preparing.ts';
import { pathArgument, pathOption, switchOptions, wholeNumberOption } from './values.ts';

interface EvaluateOptions extends DatasetOptions, ModelOptions, DeviceOptions {
  readonly init?: string;
  readonly initKey?: string;
  readonly normalize?: boolean;
  readonly batchSize: number;
  readonly json?: true;
}

const examples = `
Examples:
  $ vgg evaluate runs/a                                 the best weights of a run
  $ vgg evaluate runs/a --init runs/a/last.safetensors  its last weights
  $ vgg evaluate --init vgg7.safetensors --json         a weight file of --save
  $ vgg evaluate --init torch.pth --model vgg7 --dataset cifar100 --normalize

Files of --save describe their network, data set and normalization. For other weight files, such as PyTorch's, give the
options they were trained with: --model, --model-option, --dataset, --labels and --normalize. An option that contradicts
the file is an error.`;

export function evaluateCommand(): Command {
  const command = new Command('evaluate').description('test a run or saved weights');
  command
    .addArgument(pathArgument('[run]', 'run folder, or name of a run in runs/'))
    .addOption(
      pathOption(
        '--init <file>',
        "file of weights: safetensors from --save, a checkpoint, or .pth of PyTorch (default: the run's best weights)",
      ),
    )
    .option('--init-key <text>', 'key of the state dict in a .pth checkpoint of --init that has several');
  addDatasetOptions(addModelOptions(command));
  const normalize = switchOptions(
    '--normalize',
    'normalize the images by the mean and deviation of the training images, as in training (default: as the file says, else off)',
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
type Shape = Pick<TrainConfig, 'model' | 'modelOptions' | 'dataset' | 'data' | 'labels' | 'normalize'> &
  Partial<Pick<TrainConfig, 'size' | 'skipBroken' | 'crop'>>;

/** Weights, what they were trained as, and what they say of themselves. */
interface Source {
  readonly init: string;
  readonly shape: Shape;
  readonly info?: ModelInfo | undefined;
}

async function evaluate(command: Command, run: string | undefined, options: EvaluateOptions): Promise<void> {
  const { init, shape, info } =
    run === undefined ? await fromOptions(command, options) : await fromRun(command, run, options);
  const { end, ...prepare } = preparingOptions(undefined);
  const splits = await loadDataset(shape, { ...prepare, threads: options.threads });
  end();
  const [{ normalizedTestLoader, testLoaderFor }, { loadWeights }, { compile }, { accuracyLine }] =
    await Promise.all([
      import('../runs/loaders.ts'),
      import('../runs/model-files.ts'),
      import('../train/model.ts'),
      import('../train/reporters.ts'),
    ]);
  const { batchSize, device, threads } = options;
  // What the weights were trained with, if they say so; otherwise it is measured again.
  const { shape: input, classes } = datasetFacts(shape);
  const loader =
    info?.normalization === undefined
      ? testLoaderFor(splits, { batchSize, normalize: shape.normalize }, input)
      : normalizedTestLoader(splits.test, batchSize, info.normalization ?? undefined, input);
  const network = info?.network ?? networkOf(shape.model, { classes, options: shape.modelOptions, input });
  await using model = await compile(network, {
    input,
    device,
    ...(threads !== undefined && { threads }),
    batchSize: loader.batchSize,
  });
  await loadWeights(model, init, { key: options.initKey });
  const outputs = model.network.output[0];
  if (outputs !== classes) {
    throw new DataError(
      `${init}: its network has ${outputs} classes, and ${splits.test.name} has ${classes}`,
    );
  }
  const { loss, accuracy, topFive, correct, images } = await model.evaluate(loader);
  // Weights that overflowed have no results, as in training; a script sees it by the exit code.
  if (!Number.isFinite(loss)) {
    const found = notFinite((await model.state()).weights);
    throw new VggError(
      `${init}: the loss on the test images is ${loss}` +
        `${found === undefined ? '' : `, because its weights are not finite (${found})`}; evaluate other weights`,
    );
  }
  if (options.json) return printJson({ loss, accuracy, topFive, correct, images });
  print(`Loss of the model on the test images: ${loss.toFixed(4)}`);
  print(accuracyLine(accuracy));
}

/** A file by itself: what it says of itself, and flags for what it does not say. */
async function fromOptions(command: Command, options: EvaluateOptions): Promise<Source> {
  const { init, data } = options;
  if (init === undefined) {
    throw new UsageError('evaluate: name a run folder, or weights with --init FILE');
  }
  const given = (name: keyof EvaluateOptions): boolean => command.getOptionValueSource(name) === 'cli';
  const { readInfo } = await import('../model/weight-files.ts');
  const info = await readInfo(init);
  const chosen: Chosen = {
    ...(given('model') && { model: await readModel(options.model) }),
    ...(given('modelOption') && { modelOptions: parseAssignments(options.modelOption) }),
    ...(given('dataset') && { dataset: options.dataset }),
    ...(options.labels && { labels: options.labels }),
    ...(options.normalize !== undefined && { normalize: options.normalize }),
  };
  const known = isDatasetSpec(info?.dataset) ? info.dataset : undefined;
  if (info) {
    // A data set of a program's own has a name that no flag can repeat.
    const { dataset: _, labels: __, ...own } = info;
    const { refuseContradictions } = await import('../model/info.ts');
    refuseContradictions(init, known ? info : own, chosen, flagWithValue);
    if (info.dataset !== undefined && !known && !chosen.dataset) {
      throw new UsageError(
        `${init}: its weights were trained on ${info.dataset}, which is none of ${datasetForms.join(', ')}; ` +
          'name one of them with --dataset',
      );
    }
  }
  const labels = chosen.labels ?? (known && info?.labels);
  return {
    init,
    info,
    shape: {
      model: await readModel(options.model),
      modelOptions: chosen.modelOptions ?? {},
      dataset: chosen.dataset === undefined ? (known ?? options.dataset) : options.dataset,
      ...(data !== undefined && { data }),
      ...(labels && { labels }),
      ...(options.skipBroken && { skipBroken: true }),
      ...(info && { size: info.input[1]! }),
      normalize: options.normalize ?? false,
    },
  };
}

async function fromRun(command: Command, run: string, { init, data }: EvaluateOptions): Promise<Source> {
  const own = ['model', 'modelOption', 'dataset', 'labels', 'normalize'];
  const given = own.find((name) => command.getOptionValueSource(name) === 'cli');
  const flag = command.options.find((option) => option.attributeName() === given)?.long;
  if (given !== undefined) {
    throw new UsageError(
      `evaluate: ${run} has its own ${given}; leave out ${flag}, or evaluate weights without a run: --init FILE`,
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
  const [{ readInfo }, { refuseContradictions }] = await Promise.all([
    import('../model/weight-files.ts'),
    import('../model/info.ts'),
  ]);
  const file = init ?? best;
  const info = await readInfo(file);
  if (info) refuseContradictions(file, info, config, (option, value) => `the run's ${option} ${value}`);
  return { init: file, info, shape: { ...config, ...(data !== undefined && { data }) } };
}
