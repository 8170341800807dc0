/** What is known of a data set before its images are read, wherever it comes from. */
import { fitFor, jitterSides } from '../images/fit.ts';
import { models, type NetworkDescription } from '../model/models.ts';
import type { TrainConfig } from '../train/config-table.ts';
import { type ImageShape, namedShape } from './dataset.ts';
import { type DatasetChoice, type DatasetSpec, imageFilesOf } from './named.ts';
import { leftToTrain } from './split.ts';

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

/** What a scan of image files counts. */
export type ImageCounts = Pick<DatasetFacts, 'classes' | 'length' | 'hasValidation'>;

/** The facts of a data set; `count` is asked for those of image files. */
export function factsOf(choice: SizedChoice, count: () => ImageCounts): DatasetFacts {
  const { dataset: name, labels } = choice;
  if (imageFilesOf(name)) {
    const side = inputSide(choice);
    return { name, shape: [3, side, side], ...count() };
  }
  const classes = name === 'cifar100' ? (labels === 'coarse' ? 20 : 100) : 10;
  const length = name === 'shapes' ? 10_000 : 50_000;
  return { name, shape: namedShape, classes, length, hasValidation: false };
}

/** The shorter sides of prepared images for a network's input: scale jitter trains on the largest that it may draw. */
export function sidesFor(
  shape: ImageShape,
  crop: string | undefined,
): { readonly train: number; readonly test: number } {
  const test = fitFor(shape).resize;
  return { train: crop === 'jitter' ? jitterSides(shape)[1] : test, test };
}

/** Batches in an epoch. @throws UsageError if validation leaves no images to train with. */
export const stepsIn = (
  facts: DatasetFacts,
  { validation, batchSize }: Pick<TrainConfig, 'validation' | 'batchSize'>,
): number => Math.ceil(leftToTrain(facts, validation) / batchSize);

/** The paper's images. */
const usualSide = 224;

/** The side of a network's input for image files: as chosen, or that of the images the network is made for. */
function inputSide({ size, model }: Pick<SizedChoice, 'size' | 'model'>): number {
  if (size !== undefined) return size;
  if (model === undefined) return usualSide;
  const usual = typeof model === 'string' && Object.hasOwn(models, model) ? models[model]!.usual : undefined;
  return usual?.input[1] ?? namedShape[1];
}
