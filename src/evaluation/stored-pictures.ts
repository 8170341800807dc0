/** Labeled images in files, decoded one by one (Node only). */
import type { StoredDataset } from '../data/stored.ts';
import { decodeNamed } from '../images/decode.ts';
import { readImageFile } from '../images/read.ts';
import { checkArgument } from '../options.ts';
import type { Pictures } from './pictures.ts';

/** What is needed of a data set of image files: labels and paths. */
export type PictureFiles = Pick<StoredDataset, 'name' | 'classes' | 'labels' | 'length'> & {
  readonly images: Pick<StoredDataset['images'], 'sources'>;
};

/** The original images of a data set of image files, upright as their EXIF orientation says. */
export function picturesOfFiles(dataset: PictureFiles): Pictures {
  checkArgument('picturesOfFiles', 'dataset', dataset, ['images', 'labels'], 'a data set of image files');
  const { name, classes, labels, length, images } = dataset;
  return {
    name,
    classes,
    labels,
    length,
    async read(index) {
      const path = images.sources[index]!;
      const { width, height, pixels } = await decodeNamed(path, await readImageFile(path), {});
      return { width, height, pixels, channels: 3, planar: false };
    },
  };
}
