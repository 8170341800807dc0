/** Loads a data set by its name (Node only: CIFAR and image files are read from disk). */
import { UsageError } from '../errors.ts';
import type { DatasetSplits } from './dataset.ts';
import { preparedSides, remember, type SizedChoice, scanImages } from './facts.ts';
import type { ImageSplits } from './folders/image-folder.ts';
import type { PrepareOptions } from './folders/prepare.ts';
import { checkSpec, type DatasetName, formOf, imageFilesOf, imageForms } from './named.ts';
import { shownPath } from './places.ts';
import type { AnyDataset } from './stored.ts';

export async function loadDataset(
  choice: SizedChoice & { readonly dataset: DatasetName },
  options?: PrepareOptions,
): Promise<DatasetSplits>;
export async function loadDataset(
  choice: SizedChoice,
  options?: PrepareOptions,
): Promise<DatasetSplits<AnyDataset>>;
/** Loads a data set. @throws UsageError for an option it does not take; DataError if files are missing or invalid. */
export async function loadDataset(
  choice: SizedChoice,
  options: PrepareOptions = {},
): Promise<DatasetSplits<AnyDataset>> {
  const { dataset, data, labels } = choice;
  if (labels !== undefined && dataset !== 'cifar100') {
    throw new UsageError(`--labels ${labels} works only with cifar100, not ${dataset}; leave it out`);
  }
  if (imageFilesOf(dataset)) return loadImages(choice, options);
  if (choice.skipBroken)
    throw new UsageError(
      `--skip-broken works only with ${imageForms.join(' and ')}, not ${dataset}; leave it out`,
    );
  const from = data === undefined ? {} : { data: shownPath(data) };
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
      // A program may pass any text.
      checkSpec(dataset);
      throw new UsageError(`there is no data set ${formOf(dataset)}`);
  }
}

/** Scans and prepares image files. */
export async function loadImages(choice: SizedChoice, options: PrepareOptions = {}): Promise<ImageSplits> {
  const { dataset, data, skipBroken = false } = choice;
  const { kind, path } = imageFilesOf(dataset)!;
  const found = scanImages(choice);
  const { splitsOf } = await import('./folders/image-folder.ts');
  const where = shownPath(kind === 'folder' ? (data ?? path) : path);
  const { train: side, test: testSide } = preparedSides(choice);
  const holdsOut = (choice.validation ?? 0) > 0;
  const splits = await splitsOf(dataset, where, found, { ...options, side, testSide, holdsOut, skipBroken });
  remember(choice, {
    classes: found.classes.length,
    length: splits.train.length,
    hasValidation: splits.validation !== undefined,
  });
  return splits;
}
