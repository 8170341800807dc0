/**
 * The layouts of CIFAR-10 and CIFAR-100 (Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009):
 * official names and sizes, and parsers of record files and pickles, as pure code. The size of every file and the range
 * of every label are checked; pixels are copied directly into the data set.
 */
import { DataError } from '../errors.ts';
import type { Parser } from './byte-parser.ts';
import { allocateBytes, type Dataset, type DatasetSplits, namedShape } from './dataset.ts';
import { checkByteArray, dictionary, type PickleValue, unpickle } from './pickle.ts';

const tenClasses = 'airplane automobile bird cat deer dog frog horse ship truck';
const fineClasses =
  'apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly ' +
  'camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup ' +
  'dinosaur dolphin elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower ' +
  'leopard lion lizard lobster man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid ' +
  'otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon ray ' +
  'road rocket rose sea seal shark shrew skunk skyscraper snail snake spider squirrel streetcar ' +
  'sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle ' +
  'wardrobe whale willow_tree wolf woman worm';
const coarseClasses =
  'aquatic_mammals fish flowers food_containers fruit_and_vegetables household_electrical_devices ' +
  'household_furniture insects large_carnivores large_man-made_outdoor_things ' +
  'large_natural_outdoor_scenes large_omnivores_and_herbivores medium_mammals non-insect_invertebrates ' +
  'people reptiles small_mammals trees vehicles_1 vehicles_2';

const pixelBytes = namedShape[0] * namedShape[1] * namedShape[2];

export type CifarName = 'cifar10' | 'cifar100';
/** How a folder stores the records of the data set. */
export type CifarLayout = 'binary' | 'python';

/** One file of records. */
export interface CifarFile {
  readonly binary: string;
  readonly python: string;
  readonly split: 'train' | 'test';
  /** Index of its first record in the split. */
  readonly first: number;
  readonly records: number;
}

export interface CifarFormat {
  readonly name: CifarName;
  readonly folders: Readonly<Record<CifarLayout, string>>;
  readonly archives: Readonly<Record<CifarLayout, string>>;
  /** MD5 of the official archives. */
  readonly md5: Readonly<Record<CifarLayout, string>>;
  readonly files: readonly CifarFile[];
  /** Label bytes before a binary record's pixels: the (fine) class last, the superclass before it. */
  readonly labelBytes: 1 | 2;
  readonly classes: readonly string[];
  readonly superclasses: readonly string[] | undefined;
}

export const cifarFormats: Readonly<Record<CifarName, CifarFormat>> = {
  cifar10: {
    name: 'cifar10',
    folders: { binary: 'cifar-10-batches-bin', python: 'cifar-10-batches-py' },
    archives: { binary: 'cifar-10-binary.tar.gz', python: 'cifar-10-python.tar.gz' },
    md5: { binary: 'c32a1d4ab5d03f1284b67883e8d87530', python: 'c58f30108f718f92721af3b95e74349a' },
    files: [
      ...[1, 2, 3, 4, 5].map(
        (n): CifarFile => ({
          binary: `data_batch_${n}.bin`,
          python: `data_batch_${n}`,
          split: 'train',
          first: (n - 1) * 10_000,
          records: 10_000,
        }),
      ),
      { binary: 'test_batch.bin', python: 'test_batch', split: 'test', first: 0, records: 10_000 },
    ],
    labelBytes: 1,
    classes: tenClasses.split(' '),
    superclasses: undefined,
  },
  cifar100: {
    name: 'cifar100',
    folders: { binary: 'cifar-100-binary', python: 'cifar-100-python' },
    archives: { binary: 'cifar-100-binary.tar.gz', python: 'cifar-100-python.tar.gz' },
    md5: { binary: '03b5dce01913d631647c71ecec9e9cb8', python: 'eb9058c3a382ffc7106e4002c42a8d85' },
    files: [
      { binary: 'train.bin', python: 'train', split: 'train', first: 0, records: 50_000 },
      { binary: 'test.bin', python: 'test', split: 'test', first: 0, records: 10_000 },
    ],
    labelBytes: 2,
    classes: fineClasses.split(' '),
    superclasses: coarseClasses.split(' '),
  },
};

/** Bytes of a binary record file. */
export const binaryFileBytes = ({ labelBytes }: CifarFormat, { records }: CifarFile): number =>
  records * (labelBytes + pixelBytes);

/** The most bytes of a python file: pixels, and space for labels and names. */
const pickleBytes = ({ records }: CifarFile): number => records * (pixelBytes + 256);

/** Checks a file's size before reading. @throws DataError if it does not match the layout; `path` is for the message. */
export function checkCifarSize(
  format: CifarFormat,
  layout: CifarLayout,
  file: CifarFile,
  size: number,
  path: string,
): void {
  if (layout === 'binary') {
    const expected = binaryFileBytes(format, file);
    if (size === expected) return;
    throw new DataError(
      `${path} is ${size < expected ? 'truncated' : 'too long'}: it has ${size} bytes, but ` +
        `${file.records} records take ${expected}`,
    );
  }
  if (size <= pickleBytes(file)) return;
  throw new DataError(
    `${path} is too long: it has ${size} bytes, but ${file.records} records take at most ${pickleBytes(file)}`,
  );
}

/** The memory that files are read into. */
export interface CifarTarget {
  readonly pixels: Readonly<Record<'train' | 'test', Uint8Array>>;
  /** Fine labels; `coarse` is filled only if the data set has superclasses. */
  readonly labels: Readonly<Record<'train' | 'test', Uint16Array>>;
  readonly coarse: Readonly<Record<'train' | 'test', Uint16Array>>;
}

export function allocateCifar({ files }: CifarFormat): CifarTarget {
  const count = (split: 'train' | 'test'): number =>
    files.reduce((sum, file) => sum + (file.split === split ? file.records : 0), 0);
  const both = <T>(make: (records: number) => T): { train: T; test: T } => ({
    train: make(count('train')),
    test: make(count('test')),
  });
  return {
    pixels: both((records) => allocateBytes(records * pixelBytes)),
    labels: both((records) => new Uint16Array(allocateBytes(records * 2).buffer)),
    coarse: both((records) => new Uint16Array(records)),
  };
}

/** Parses one file into its part of `target`. `path` is for messages. */
export function cifarParser(
  format: CifarFormat,
  layout: CifarLayout,
  file: CifarFile,
  target: CifarTarget,
  path: string,
): Parser<void> {
  return layout === 'binary'
    ? parseRecords(format, file, target, path)
    : parsePickle(format, file, target, path);
}

function checkLabel(label: PickleValue, names: readonly string[], record: number, path: string): number {
  if (typeof label === 'number' && Number.isInteger(label) && label >= 0 && label < names.length)
    return label;
  throw new DataError(
    `${path}: record ${record} has ${typeof label === 'number' ? `label ${label}` : 'a label that is not a number'}; expected 0 to ${names.length - 1}. ` +
      'The file is corrupt or from another data set',
  );
}

/** Records per read: their 1,000 arrays stay below the system's limit of 1,024 per `readv`. */
const blockRecords = 500;

/**
 * Yields blocks of arrays for the labels and pixels of a binary file. The caller fills each block with the file's next
 * bytes before asking for another; then its labels are checked. Pixel arrays are views of `target`.
 */
export function* recordBlocks(
  format: CifarFormat,
  file: CifarFile,
  target: CifarTarget,
  path: string,
): Generator<Uint8Array[], void, void> {
  const { labelBytes, classes, superclasses } = format;
  const pixels = target.pixels[file.split];
  for (let start = 0; start < file.records; start += blockRecords) {
    const records = Math.min(blockRecords, file.records - start);
    const labels = new Uint8Array(records * labelBytes);
    const arrays: Uint8Array[] = [];
    for (let i = 0; i < records; i++) {
      const at = (file.first + start + i) * pixelBytes;
      arrays.push(
        labels.subarray(i * labelBytes, (i + 1) * labelBytes),
        pixels.subarray(at, at + pixelBytes),
      );
    }
    yield arrays;
    for (let i = 0; i < records; i++) {
      const record = start + i;
      const at = file.first + record;
      const fine = labels[(i + 1) * labelBytes - 1]!;
      target.labels[file.split][at] = checkLabel(fine, classes, record, path);
      if (!superclasses) continue;
      target.coarse[file.split][at] = checkLabel(labels[i * labelBytes]!, superclasses, record, path);
    }
  }
}

function* parseRecords(
  format: CifarFormat,
  file: CifarFile,
  target: CifarTarget,
  path: string,
): Parser<void> {
  for (const arrays of recordBlocks(format, file, target, path)) yield* arrays;
}

function* parsePickle(format: CifarFormat, file: CifarFile, target: CifarTarget, path: string): Parser<void> {
  const { records, first, split } = file;
  const pixels = target.pixels[split].subarray(first * pixelBytes, (first + records) * pixelBytes);
  const entries = dictionary(yield* unpickle(pixels, path), path);
  checkByteArray(entries.get('data'), pixels, [records, pixelBytes], path);
  const labelsOf = (key: string, names: readonly string[], into: Uint16Array): void => {
    const labels: PickleValue | undefined = entries.get(key);
    if (!Array.isArray(labels) || labels.length !== records) {
      throw new DataError(
        `${path}: "${key}" has ${Array.isArray(labels) ? labels.length : 'no'} labels; expected ${records}`,
      );
    }
    labels.forEach((label, record) => {
      into[first + record] = checkLabel(label, names, record, path);
    });
  };
  labelsOf(format.superclasses ? 'fine_labels' : 'labels', format.classes, target.labels[split]);
  if (format.superclasses) labelsOf('coarse_labels', format.superclasses, target.coarse[split]);
}

/** Returns the data set that was read, with fine or coarse labels. */
export function cifarSplits(
  format: CifarFormat,
  target: CifarTarget,
  labels: 'fine' | 'coarse',
): DatasetSplits {
  const coarse = labels === 'coarse' && format.superclasses !== undefined;
  const split = (name: 'train' | 'test'): Dataset => {
    const values = (coarse ? target.coarse : target.labels)[name];
    return {
      name: format.name,
      shape: namedShape,
      classes: coarse ? format.superclasses! : format.classes,
      pixels: target.pixels[name],
      labels: values,
      length: values.length,
      ...(!coarse && format.superclasses && { superclasses: superclassesOf(format, target) }),
    };
  };
  return { train: split('train'), test: split('test') };
}

/** The superclass of each class, according to the records. */
function superclassesOf({ classes, superclasses }: CifarFormat, { labels, coarse }: CifarTarget) {
  const of = new Array<number>(classes.length).fill(0);
  labels.train.forEach((label, i) => {
    of[label] = coarse.train[i]!;
  });
  return { names: superclasses!, of };
}
