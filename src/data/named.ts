/** The named data sets of the command line and config files. Reading CIFAR needs Node. */
import { UsageError } from '../errors.ts';
import { unknownName } from '../suggest.ts';
import { type DatasetSplits, type ImageShape, namedShape } from './dataset.ts';

export const datasetNames = ['shapes', 'cifar10', 'cifar100'] as const;
export type DatasetName = (typeof datasetNames)[number];

/** Which data set to load, and from where. */
export interface DatasetChoice {
  readonly dataset: DatasetName;
  /** Folder or archive with CIFAR's files. */
  readonly data?: string;
  /** Which classes of CIFAR-100. */
  readonly labels?: 'fine' | 'coarse';
}

/** Facts about a data set that need no images. */
export interface DatasetFacts {
  readonly name: DatasetName;
  readonly shape: ImageShape;
  readonly classes: number;
  /** Number of training images. */
  readonly length: number;
}

export function datasetFacts({ dataset, labels }: Omit<DatasetChoice, 'data'>): DatasetFacts {
  const classes = dataset === 'cifar100' ? (labels === 'coarse' ? 20 : 100) : 10;
  return { name: dataset, shape: namedShape, classes, length: dataset === 'shapes' ? 10_000 : 50_000 };
}

/** Loads a data set. @throws UsageError for an option it does not take; DataError if files are missing or invalid. */
export async function loadDataset({ dataset, data, labels }: DatasetChoice): Promise<DatasetSplits> {
  if (labels !== undefined && dataset !== 'cifar100') {
    throw new UsageError(`--labels ${labels} works only with cifar100, not ${dataset}; leave it out`);
  }
  const from = data === undefined ? {} : { data };
  switch (dataset) {
    case 'shapes':
      if (data !== undefined)
        throw new UsageError(`--data ${data} has no effect with shapes, which is built in; leave it out`);
      return (await import('./shapes.ts')).shapes();
    case 'cifar10':
      return (await import('./cifar-files.ts')).cifar10(from);
    case 'cifar100':
      return (await import('./cifar-files.ts')).cifar100({ ...from, ...(labels && { labels }) });
    default:
      throw new UsageError(unknownName('dataset', String(dataset satisfies never), datasetNames));
  }
}
