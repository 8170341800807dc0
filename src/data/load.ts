/** Loads a named data set (Node only: CIFAR is read from files). */
import { UsageError } from '../errors.ts';
import { unknownName } from '../suggest.ts';
import type { DatasetSplits } from './dataset.ts';
import { type DatasetChoice, datasetNames } from './named.ts';

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
