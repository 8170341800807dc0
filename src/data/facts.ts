/** What is known of a data set before its images are read (Node only): those of image files are scanned. */
import type { TrainConfig } from '../train/config-table.ts';
import type { ImageShape } from './dataset.ts';
import {
  type DatasetFacts,
  factsOf,
  type ImageCounts,
  type SizedChoice,
  sidesFor,
  stepsIn,
} from './dataset-facts.ts';
import type { FoundImages } from './folders/found.ts';
import { scanCsv } from './folders/scan-csv.ts';
import { scanFolder } from './folders/scan-folder.ts';
import { type DatasetChoice, imageFilesOf } from './named.ts';
import { shownPath } from './places.ts';
import { type AnyDataset, isStored } from './stored.ts';

export type { DatasetFacts, SizedChoice };

/** Scanned data sets; loading a data set counts again, without broken images. */
const scanned = new Map<string, ImageCounts>();

const keyOf = ({ dataset, data }: DatasetChoice): string => JSON.stringify([dataset, data]);

/** Finds the images of a data set. @throws DataError if it is none. */
export function scanImages(choice: DatasetChoice): FoundImages {
  const { kind, path } = imageFilesOf(choice.dataset)!;
  const data = choice.data === undefined ? undefined : shownPath(choice.data);
  const found = kind === 'folder' ? scanFolder(data ?? shownPath(path)) : scanCsv(shownPath(path), data);
  const { train, validation } = found.splits;
  remember(choice, {
    classes: found.classes.length,
    length: train.paths.length,
    hasValidation: validation !== undefined,
  });
  return found;
}

/** Corrects what a scan counted. */
export const remember = (choice: DatasetChoice, counts: ImageCounts): void =>
  void scanned.set(keyOf(choice), counts);

/** @throws DataError if image files cannot be scanned. */
export function datasetFacts(choice: SizedChoice): DatasetFacts {
  return factsOf(choice, () => {
    if (!scanned.has(keyOf(choice))) scanImages(choice);
    return scanned.get(keyOf(choice))!;
  });
}

/** The shape of a network's input for images of `dataset`. */
export const inputShape = (choice: SizedChoice, dataset: AnyDataset): ImageShape =>
  isStored(dataset) ? datasetFacts(choice).shape : dataset.shape;

/** The shorter sides of prepared images: scale jitter trains on the largest that it may draw. */
export function preparedSides(choice: SizedChoice): { readonly train: number; readonly test: number } {
  return sidesFor(datasetFacts(choice).shape, choice.crop);
}

/** Batches in an epoch. @throws UsageError if validation leaves no images to train with. */
export function stepsPerEpoch(
  config: Pick<TrainConfig, 'dataset' | 'data' | 'labels' | 'model' | 'size' | 'validation' | 'batchSize'>,
): number {
  return stepsIn(datasetFacts(config), config);
}
