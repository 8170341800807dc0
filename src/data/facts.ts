/** What is known of a data set before its images are read (Node only): those of image files are scanned. */
import { fitFor, jitterSides } from '../images/fit.ts';
import { models, type NetworkDescription } from '../model/models.ts';
import type { TrainConfig } from '../train/config-table.ts';
import { type ImageShape, namedShape } from './dataset.ts';
import type { FoundImages } from './folders/found.ts';
import { scanCsv } from './folders/scan-csv.ts';
import { scanFolder } from './folders/scan-folder.ts';
import { type DatasetChoice, type DatasetSpec, imageFilesOf } from './named.ts';
import { shownPath } from './places.ts';
import { leftToTrain } from './split.ts';
import { type AnyDataset, isStored } from './stored.ts';

/** A data set, and what decides the size of the images that a network gets. */
export interface SizedChoice extends DatasetChoice {
  readonly model?: string | NetworkDescription;
  /** Side of the network's input for image files. */
  readonly size?: number;
  /** How training images are cropped. */
  readonly crop?: string;
  /** The share of the training images that is held out for validation. */
  readonly validation?: number;
}

export interface DatasetFacts {
  readonly name: DatasetSpec;
  /** Of the network's input. */
  readonly shape: ImageShape;
  readonly classes: number;
  /** Number of training images. */
  readonly length: number;
  /** Whether it has validation images of its own. */
  readonly hasValidation: boolean;
}

type Counts = Pick<DatasetFacts, 'classes' | 'length' | 'hasValidation'>;

/** Scanned data sets; loading a data set counts again, without broken images. */
const scanned = new Map<string, Counts>();

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
export const remember = (choice: DatasetChoice, counts: Counts): void =>
  void scanned.set(keyOf(choice), counts);

/** @throws DataError if image files cannot be scanned. */
export function datasetFacts(choice: SizedChoice): DatasetFacts {
  const { dataset: name, labels } = choice;
  if (imageFilesOf(name)) {
    const side = inputSide(choice);
    if (!scanned.has(keyOf(choice))) scanImages(choice);
    return { name, shape: [3, side, side], ...scanned.get(keyOf(choice))! };
  }
  const classes = name === 'cifar100' ? (labels === 'coarse' ? 20 : 100) : 10;
  const length = name === 'shapes' ? 10_000 : 50_000;
  return { name, shape: namedShape, classes, length, hasValidation: false };
}

/** The paper's images. */
const usualSide = 224;

/** The side of a network's input for image files: as chosen, or that of the images the network is made for. */
function inputSide({ size, model }: Pick<SizedChoice, 'size' | 'model'>): number {
  if (size !== undefined) return size;
  if (model === undefined) return usualSide;
  const usual = typeof model === 'string' && Object.hasOwn(models, model) ? models[model]!.usual : undefined;
  return usual?.input[1] ?? namedShape[1];
}

/** The shape of a network's input for images of `dataset`. */
export const inputShape = (choice: SizedChoice, dataset: AnyDataset): ImageShape =>
  isStored(dataset) ? datasetFacts(choice).shape : dataset.shape;

/** The shorter sides of prepared images: scale jitter trains on the largest that it may draw. */
export function preparedSides(choice: SizedChoice): { readonly train: number; readonly test: number } {
  const { shape } = datasetFacts(choice);
  const test = fitFor(shape).resize;
  return { train: choice.crop === 'jitter' ? jitterSides(shape)[1] : test, test };
}

/** Batches in an epoch. @throws UsageError if validation leaves no images to train with. */
export function stepsPerEpoch(
  config: Pick<TrainConfig, 'dataset' | 'data' | 'labels' | 'model' | 'size' | 'validation' | 'batchSize'>,
): number {
  return Math.ceil(leftToTrain(datasetFacts(config), config.validation) / config.batchSize);
}
