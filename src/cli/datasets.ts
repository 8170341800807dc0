/** The data sets by the names that the command line knows, and the options that choose one. */
import { type Command, Option } from 'commander';
import type { DatasetSplits, ImageShape } from '../data/dataset.ts';
import { UsageError } from '../errors.ts';
import { choiceOption } from './values.ts';

export const datasetNames = ['shapes', 'cifar10', 'cifar100'] as const;
export type DatasetName = (typeof datasetNames)[number];

/** What is known of a data set before its pictures are there. */
export interface DatasetFacts {
  readonly name: DatasetName;
  readonly shape: ImageShape;
  readonly classes: number;
  /** Training pictures. */
  readonly length: number;
}

export function datasetFacts({ dataset, labels }: Pick<DatasetOptions, 'dataset' | 'labels'>): DatasetFacts {
  const classes = dataset === 'cifar100' ? (labels === 'coarse' ? 20 : 100) : 10;
  return { name: dataset, shape: [3, 32, 32], classes, length: dataset === 'shapes' ? 10_000 : 50_000 };
}

export interface DatasetOptions {
  readonly dataset: DatasetName;
  readonly data?: string;
  readonly labels?: 'fine' | 'coarse';
}

/** Adds `--dataset`, `--data` and `--labels`. */
export function addDatasetOptions(command: Command): Command {
  return command
    .addOption(choiceOption('--dataset <name>', 'data set', datasetNames).default('shapes'))
    .addOption(
      new Option(
        '--data <path>',
        'folder or archive with the files of CIFAR: the only place looked in (default: $VGGNET_DATA, else the cache)',
      ),
    )
    .addOption(choiceOption('--labels <kind>', 'classes of cifar100 (default: fine)', ['fine', 'coarse']));
}

/** @throws UsageError for an option that the data set does not take; DataError where its files are not right. */
export async function loadDataset({ dataset, data, labels }: DatasetOptions): Promise<DatasetSplits> {
  if (labels !== undefined && dataset !== 'cifar100') {
    throw new UsageError(`--labels ${labels} is for cifar100; ${dataset} has one kind of labels`);
  }
  const from = data === undefined ? {} : { data };
  switch (dataset) {
    case 'shapes':
      if (data !== undefined) throw new UsageError(`--data ${data}: shapes is built in and reads no files`);
      return (await import('../data/shapes.ts')).shapes();
    case 'cifar10':
      return (await import('../data/cifar-files.ts')).cifar10(from);
    case 'cifar100':
      return (await import('../data/cifar-files.ts')).cifar100({ ...from, ...(labels && { labels }) });
    default:
      throw new UsageError(`unknown data set ${dataset satisfies never}`);
  }
}
