/** The named data sets of the command line and config files: their names, and facts that need no images. */
import { type ImageShape, namedShape } from './dataset.ts';

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
