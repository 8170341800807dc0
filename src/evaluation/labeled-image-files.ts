/** Labeled images in files, decoded one by one (Node only). */
import type { StoredDataset } from '../data/stored.ts';
import { DataError } from '../errors.ts';
import { decodeNamed } from '../images/decode.ts';
import { readImageFile } from '../images/read.ts';
import { checkArgument, checkOptions } from '../options.ts';
import type { LabeledImages } from './labeled-images.ts';

/** What is needed of a data set of image files: labels and paths. */
export type ImageFiles = Pick<StoredDataset, 'name' | 'classes' | 'labels' | 'length'> & {
  readonly images: Pick<StoredDataset['images'], 'sources'>;
};

export interface ImageFilesOptions {
  /** Broken files are left out, and this receives what is wrong with each; without it they are errors. */
  readonly onBroken?: (problem: string) => void;
}

/** The original images of a data set of image files, upright as their EXIF orientation says. */
export function labeledImageFiles(dataset: ImageFiles, options: ImageFilesOptions = {}): LabeledImages {
  checkArgument('labeledImageFiles', 'dataset', dataset, ['images', 'labels'], 'a data set of image files');
  checkOptions<ImageFilesOptions>('labeledImageFiles', options, { onBroken: 'optional' });
  const { onBroken } = options;
  const { name, classes, labels, length, images } = dataset;
  return {
    name,
    classes,
    labels,
    length,
    async read(index) {
      const path = images.sources[index]!;
      try {
        const { width, height, pixels } = await decodeNamed(path, await readImageFile(path), {});
        return { width, height, pixels, channels: 3, planar: false };
      } catch (error) {
        if (!onBroken || !(error instanceof DataError)) throw error;
        onBroken(error.message);
        return undefined;
      }
    },
  };
}
