/** `vgg summary`: a network layer by layer, and the memory that training it needs, before anything is allocated. */
import { availableParallelism } from 'node:os';
import { Command } from 'commander';
import { buildNetwork } from '../model/network.ts';
import { formatBytes, formatSummary, summarize } from '../model/summary.ts';
import { type DatasetName, datasetFacts, datasetNames } from './datasets.ts';
import { chosenModel, maxThreads, modelOptionOption } from './models.ts';
import { print, printJson } from './output.ts';
import { choiceOption, wholeNumberOption } from './values.ts';

interface SummaryOptions {
  readonly modelOption: readonly string[];
  readonly dataset: DatasetName;
  readonly batchSize: number;
  readonly threads?: number;
  readonly json?: true;
}

const examples = `
Examples:
  $ vgg summary simplified
  $ vgg summary vgg7 --dataset cifar100 --model-option channels=32,64

Layers are counted for one picture, each with memory for its output. Training memory is what the kernels allocate for
a whole batch: parameters, optimizer, gradients and the maps of the pictures in work; they fuse layers and share maps.`;

export function summaryCommand(): Command {
  return new Command('summary')
    .description('table of a network: output shapes, parameters, multiply-adds, memory')
    .argument('<model>', 'network, as for --model of train')
    .addOption(modelOptionOption())
    .addOption(
      choiceOption('--dataset <name>', 'data set whose pictures and classes count', datasetNames).default(
        'shapes',
      ),
    )
    .addOption(wholeNumberOption('--batch-size <n>', 'pictures in a training step').default(100))
    .addOption(
      wholeNumberOption('--threads <n>', 'worker threads (default: one for each core)', { most: maxThreads }),
    )
    .option('--json', 'print one object with the layers and totals')
    .addHelpText('after', examples)
    .action(summary);
}

async function summary(model: string, options: SummaryOptions): Promise<void> {
  const { shape, classes } = datasetFacts(options);
  const network = buildNetwork(chosenModel({ model, modelOption: options.modelOption }, classes), shape);
  const table = summarize(network);
  const { batchSize, threads = availableParallelism() } = options;
  const { trainingMemory } = await import('../engine/cpu/session.ts');
  const trainingBytes = trainingMemory(network, batchSize, threads);
  if (options.json) return printJson({ ...table, training: { batchSize, threads, bytes: trainingBytes } });
  print(formatSummary(table));
  print(
    `Training with batches of ${batchSize} on ${threads} thread${threads === 1 ? '' : 's'} takes ` +
      `${formatBytes(trainingBytes)}.`,
  );
}
