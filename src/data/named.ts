/** The data sets that have a name, as the command line and config files choose them. CIFAR's files need Node. */
import { UsageError } from '../errors.ts';
import { unknownName } from '../suggest.ts';
import type { DatasetSplits, ImageShape } from './dataset.ts';

export const datasetNames = ['shapes', 'cifar10', 'cifar100'] as const;
export type DatasetName = (typeof datasetNames)[number];

/** Which data set, and where from. */
export interface DatasetChoice {
  readonly dataset: DatasetName;
  /** Folder or archive with the files of CIFAR. */
  readonly data?: string;
  /** Classes of CIFAR-100. */
  readonly labels?: 'fine' | 'coarse';
}

/** What is known of a data set before its images are there. */
export interface DatasetFacts {
  readonly name: DatasetName;
  readonly shape: ImageShape;
  readonly classes: number;
  /** Training images. */
  readonly length: number;
}

export function datasetFacts({ dataset, labels }: Omit<DatasetChoice, 'data'>): DatasetFacts {
  const classes = dataset === 'cifar100' ? (labels === 'coarse' ? 20 : 100) : 10;
  return { name: dataset, shape: [3, 32, 32], classes, length: dataset === 'shapes' ? 10_000 : 50_000 };
}

/** @throws UsageError for an option that the data set does not take; DataError where its files are not right. */
export async function loadDataset({ dataset, data, labels }: DatasetChoice): Promise<DatasetSplits> {
  if (labels !== undefined && dataset !== 'cifar100') {
    throw new UsageError(`--labels ${labels} is for cifar100; ${dataset} has one kind of labels`);
  }
  const from = data === undefined ? {} : { data };
  switch (dataset) {
    case 'shapes':
      if (data !== undefined) throw new UsageError(`--data ${data}: shapes is built in and reads no files`);
      return (await import('./shapes.ts')).shapes();
    case 'cifar10':
      return (await import('./cifar-files.ts')).cifar10(from);
    case 'cifar100':
      return (await import('./cifar-files.ts')).cifar100({ ...from, ...(labels && { labels }) });
    default:
      throw new UsageError(unknownName('dataset', String(dataset satisfies never), datasetNames));
  }
}
