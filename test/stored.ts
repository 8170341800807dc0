/** Stored data sets, written by hand: a cache file of images of different sizes. */
import { writeFileSync } from 'node:fs';
import { random } from '../src/data/random.ts';
import type { StoredDataset } from '../src/data/stored.ts';

/** Random images with sides from `least` to `most`; labels run through the classes. */
export function writeStored(
  file: string,
  {
    count,
    classes = 3,
    least = 18,
    most = 30,
  }: { readonly count: number; readonly classes?: number; readonly least?: number; readonly most?: number },
): StoredDataset {
  const dice = random(7, 900, count);
  const sizes = Uint16Array.from({ length: 2 * count }, () => least + dice.integer(most - least + 1));
  const starts = new Float64Array(count);
  // A few bytes first, as a header has them.
  let end = 13;
  for (let i = 0; i < count; i++) {
    starts[i] = end;
    end += 3 * sizes[2 * i]! * sizes[2 * i + 1]!;
  }
  const bytes = Uint8Array.from({ length: end }, (_, i) => Math.imul(i + 1, 2654435761) >>> 24);
  writeFileSync(file, bytes);
  return {
    name: 'stored',
    classes: Array.from({ length: classes }, (_, i) => `class ${i}`),
    labels: Uint16Array.from({ length: count }, (_, i) => i % classes),
    length: count,
    images: { file, starts, sizes, sources: Array.from({ length: count }, (_, i) => `${i}.png`) },
  };
}
