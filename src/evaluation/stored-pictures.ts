/** Labeled images in files, decoded one by one (Node only). */
import type { StoredDataset } from '../data/stored.ts';
import { decodeNamed } from '../images/decode.ts';
import { readImageFile } from '../images/read.ts';
import type { Pictures } from './pictures.ts';

/** The original images of a data set of image files, upright as their EXIF orientation says. */
export const picturesOfFiles = ({
  name,
  classes,
  labels,
  length,
  images: { sources },
}: Pick<StoredDataset, 'name' | 'classes' | 'labels' | 'length'> & {
  readonly images: Pick<StoredDataset['images'], 'sources'>;
}): Pictures => ({
  name,
  classes,
  labels,
  length,
  async read(index) {
    const path = sources[index]!;
    const { width, height, pixels } = await decodeNamed(path, await readImageFile(path), {});
    return { width, height, pixels, channels: 3, planar: false };
  },
});
