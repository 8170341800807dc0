/** `vgg evaluate`: tests runs and saved weights on the test images, plainly or by a protocol of the paper. */
import { Command } from 'commander';
import { UsageError } from '../errors.ts';
import type { CropCount, Protocol } from '../evaluation/protocol.ts';
import { parseWhole } from '../numbers.ts';
import type { OpenedModel } from '../runs/open-model.ts';
import { addDatasetOptions, type DatasetOptions } from './datasets.ts';
import { addDeviceOptions, chooseAdapter, type DeviceOptions } from './models.ts';
import { note } from './output.ts';
import { choiceOption, listOption, pathArgument, pathOption, switchOptions } from './values.ts';
import { addWeightOptions, type WeightOptions } from './weights.ts';

/** The images of a data set that are tested. */
export const splitNames = ['test', 'validation', 'train', 'all'] as const;
export type Split = (typeof splitNames)[number];

export interface EvaluateOptions extends DatasetOptions, WeightOptions, DeviceOptions {
  readonly normalize?: boolean;
  readonly scales?: readonly number[];
  readonly dense?: true;
  readonly crops?: string;
  readonly flip?: boolean;
  readonly json?: true;
  readonly plot?: string;
  readonly split: Split;
}

const examples = `
Examples:
  $ vgg evaluate runs/a                                 the best weights of a run
  $ vgg evaluate runs/a/last.safetensors                its last weights
  $ vgg evaluate vgg7.safetensors --json                a weight file of --save
  $ vgg evaluate torch.pth --model vgg7 --dataset cifar100 --normalize
  $ vgg evaluate runs/a --plot confusion.svg            with the confusion matrix
  $ vgg evaluate runs/a --scales 256,384,512 --dense    the paper's dense evaluation
  $ vgg evaluate runs/a --scales 256,384,512 --crops 50 its 150 crops
  $ vgg evaluate runs/a runs/b --dense --crops 50       both combined, of two networks

Weights are files, run folders or names of runs in runs/; of several the probabilities are averaged. Files of --save, checkpoints and run folders describe their network, data set and normalization. For other files, such as PyTorch's, give the options they were trained with: --model, --dataset, --labels and --normalize or --normalization. An option that contradicts the file is an error.

By default the network sees the center of each image at one scale: the shorter side is resized to 256 for a network of 224×224 pixels, and in proportion for others; networks below 64×64 see the whole shorter side. Images of a data set whose classes have the network's names are matched by name, others by position.`;

export function evaluateCommand(): Command {
  const command = new Command('evaluate').description('test runs or saved weights');
  command.addArgument(
    pathArgument(
      '[weights...]',
      'weight files (safetensors, checkpoints, .pth), run folders or names of runs in runs/',
    ),
  );
  addDatasetOptions(command).addOption(
    choiceOption('--split <name>', 'which images of the data set', splitNames).default('test'),
  );
  const normalize = switchOptions(
    '--normalize',
    'normalize the images by the mean and deviation of the training images, as in training (default: as the file says, else off)',
  );
  for (const option of normalize) command.addOption(option);
  addWeightOptions(command);
  const [flip, noFlip] = switchOptions(
    '--flip',
    'also see the images mirrored (default: with --dense or several crops)',
  ) as [ReturnType<typeof pathOption>, ReturnType<typeof pathOption>];
  addDeviceOptions(command)
    .optionsGroup("The paper's protocols:")
    .addOption(
      listOption(
        '--scales <sides>',
        'lengths of the shorter side of the images, such as 256,384,512; probabilities are averaged',
        parseWhole,
        'whole numbers',
      ),
    )
    .option('--dense', 'apply the network to whole images and average the scores over all positions')
    .addOption(choiceOption('--crops <n>', 'crops per scale', ['1', '10', '50'], ' (mirrored ones included)'))
    .addOption(flip)
    .addOption(noFlip)
    .optionsGroup('Output:')
    .addOption(pathOption('--plot <file>', 'confusion matrix as SVG, or as PNG without names'))
    .option(
      '--json',
      'print one JSON object: loss, accuracy, topFive (null with at most 5 classes), correct, images, classes, confusion, …',
    );
  return command
    .addHelpText('after', examples)
    .action((weights: readonly string[], options: EvaluateOptions) => evaluate(command, weights, options));
}

async function evaluate(
  command: Command,
  places: readonly string[],
  options: EvaluateOptions,
): Promise<void> {
  if (places.length === 0) throw new UsageError('evaluate: name weights: a run folder or a weight file');
  chooseAdapter(options.adapter, options.device);
  const [
    { lossError, namedSources, openSource, testSetOf },
    { checkPlot, evaluationBar, printResult, writePlot },
  ] = await Promise.all([import('./evaluate-weights.ts'), import('./evaluate-output.ts')]);
  const sources = await namedSources(command, places, options);
  await checkPlot(
    options.plot,
    sources.map(({ path }) => path),
  );
  const protocol = protocolOf(options);
  const testSet = await testSetOf(sources, options);
  const { images } = testSet;
  await using opened = new AsyncDisposableStack();
  const models: OpenedModel[] = [];
  for (const source of sources) models.push(opened.use(await openSource(source, testSet, options)));
  const [{ evaluateProtocol }, { chosenProtocol }, { fitFor }] = await Promise.all([
    import('../evaluation/evaluate.ts'),
    import('../evaluation/protocol.ts'),
    import('../images/fit.ts'),
  ]);
  const [first] = models as [OpenedModel, ...OpenedModel[]];
  const chosen = chosenProtocol('evaluate', protocol, first.input, fitFor(first.input).resize);
  noteMatching(sources[0]!.path, first.info.classes, images.classes);
  const bar = evaluationBar();
  let result: Awaited<ReturnType<typeof evaluateProtocol>>;
  try {
    result = await evaluateProtocol(
      models.map(({ compiled }) => compiled),
      images,
      { ...protocol, onProgress: bar.draw },
    );
  } finally {
    bar.end();
  }
  testSet.noteBroken();
  // Weights that overflowed have no results, as in training; a script sees it by the exit code.
  if (!Number.isFinite(result.loss)) throw await lossError(sources, models, options, result.loss);
  printResult(result, chosen, options);
  if (options.plot !== undefined)
    await writePlot(options.plot, result, `${first.compiled.network.name} on ${images.name}`);
}

const protocolOf = ({ scales, dense, crops, flip }: EvaluateOptions): Protocol => ({
  ...(scales && { scales }),
  ...(dense && { dense }),
  ...(crops !== undefined && { crops: Number(crops) as CropCount }),
  ...(flip !== undefined && { flip }),
});

/** Says it if other names of classes are matched by position. */
function noteMatching(path: string, own: readonly string[] | undefined, classes: readonly string[]): void {
  if (!own || own.length !== classes.length || classes.every((name) => own.includes(name))) return;
  const some = (names: readonly string[]): string =>
    `${names.slice(0, 3).join(', ')}${names.length > 3 ? ', …' : ''}`;
  note(
    `${path}: its classes (${some(own)}) have other names than the data set's (${some(classes)}); ` +
      'they are matched by position.',
  );
}
