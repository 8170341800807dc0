/**
 * What the scans of image folders find: paths, classes and splits, before any image is read. Names are
 * compared in Unicode's form NFC, because macOS stores "é" as two characters.
 */
import { DataError } from '../../errors.ts';
import { counted } from '../../words.ts';
import { permutation, random, streams } from '../random.ts';

/** The images of one split, in the data set's order. */
export interface FoundSplit {
  /** Relative to the root, with `/`. */
  readonly paths: readonly string[];
  /** The class of each image, as an index. */
  readonly labels: Uint16Array;
}

/** A data set of image files. */
export interface FoundImages {
  /** The folder that contains all images. */
  readonly root: string;
  /** Names in NFC, sorted by code point. */
  readonly classes: readonly string[];
  readonly splits: {
    readonly train: FoundSplit;
    /** Only if there are separate test images. */
    readonly validation?: FoundSplit;
    readonly test: FoundSplit;
  };
  /** What a user should know, a line each. */
  readonly notices: readonly string[];
}

/** Labels have 16 bits. */
export const mostClasses = 65_536;
/** Far above ImageNet's 1.3 million; a bound for folders that link to each other. */
export const mostImages = 4_000_000;
/** The share of each class that is held out where there are no test images. */
const heldOutShare = 0.2;

/** Extensions of the formats that are decoded. */
export const imageExtensions: readonly string[] = [
  ...['jpg', 'jpeg', 'jpe', 'jfif', 'png', 'webp', 'avif', 'gif', 'tif', 'tiff'],
];
/** Images in other formats are not passed over in silence: decoding says what they are. */
const otherImages = ['bmp', 'heic', 'heif', 'jxl', 'jp2', 'ppm', 'pgm', 'svg'];
const candidates = new Set([...imageExtensions, ...otherImages]);

/** The extension in lower case, without the dot; empty if there is none. */
export const extensionOf = (name: string): string => /\.([^./]+)$/.exec(name)?.[1]?.toLowerCase() ?? '';

export const isImageName = (name: string): boolean => candidates.has(extensionOf(name));

const systemNames = new Set([
  ...['__macosx', 'thumbs.db', 'desktop.ini', '$recycle.bin', 'system volume information', '@eadir'],
]);

/** Whether a name belongs to the system, or is hidden: `.DS_Store`, `._photo.jpg`, `__MACOSX`. */
export const isSystemName = (name: string): boolean =>
  name.startsWith('.') || systemNames.has(name.toLowerCase());

/** Sorts by code point, as Python and torchvision do. */
export function sorted(names: readonly string[]): string[] {
  // JavaScript compares UTF-16 units, which differ only for characters outside the basic plane.
  if (!names.some((name) => /[\ud800-\udfff]/.test(name))) return [...names].sort();
  const keyed = names.map((name) => ({
    name,
    key: Array.from(name, (character) => character.codePointAt(0)!),
  }));
  return keyed.sort((a, b) => compared(a.key, b.key)).map(({ name }) => name);
}

function compared(a: readonly number[], b: readonly number[]): number {
  const at = a.findIndex((code, i) => code !== b[i]);
  // The end of a name comes before everything.
  return at < 0 ? a.length - b.length : a[at]! - (b[at] ?? -1);
}

/** The first ten of a list, and how many follow. */
export function firstTen(items: readonly string[], separator = ', '): string {
  const rest = items.length - 10;
  return items.slice(0, 10).join(separator) + (rest > 0 ? `${separator.trimEnd()} and ${rest} more` : '');
}

/** Line breaks, tabs and other characters that are not shown, by which names would break lists and tables. */
const control = /[\p{Cc}\u2028\u2029]/u;

/**
 * Refuses class names that some systems or people cannot tell apart, or that are more than a line.
 * @throws DataError that names them.
 */
export function checkClassNames(where: string, names: readonly string[], what: string): void {
  const broken = names.find((name) => control.test(name));
  if (broken !== undefined) {
    throw new DataError(
      `${where}: one of the ${what}, ${JSON.stringify(broken)}, has a line break or another control character; ` +
        'use other names',
    );
  }
  const known = new Map<string, string>();
  for (const name of names) {
    const key = name.normalize('NFC').toLowerCase();
    const other = known.get(key);
    if (other !== undefined) {
      const how = other.normalize('NFC') === name.normalize('NFC') ? 'form of Unicode' : 'case';
      throw new DataError(
        `${where}: the ${what} "${other}" and "${name}" differ only in ${how}; give them one name, or clearly different ones`,
      );
    }
    known.set(key, name);
  }
  if (names.length > mostClasses) {
    throw new DataError(`${where} has ${names.length} classes, above the limit of ${mostClasses}`);
  }
}

/**
 * Holds out test images: a share of each class, chosen by a fixed seed, so that all runs test on the same images. A
 * class of one image keeps it for training.
 * @throws DataError if no class has two images.
 */
export function holdOut(
  where: string,
  all: FoundSplit,
  classes: readonly string[],
): { readonly train: FoundSplit; readonly test: FoundSplit; readonly notices: readonly string[] } {
  const members = classes.map((): number[] => []);
  for (const [i, label] of all.labels.entries()) members[label]!.push(i);
  const held = new Uint8Array(all.labels.length);
  for (const [label, images] of members.entries()) {
    const count = images.length < 2 ? 0 : Math.max(1, Math.round(heldOutShare * images.length));
    const order = permutation(images.length, random(0, streams.heldOut, label));
    for (const place of order.subarray(0, count)) held[images[place]!] = 1;
  }
  const part = (of: 0 | 1): FoundSplit => ({
    paths: all.paths.filter((_, i) => held[i] === of),
    labels: all.labels.filter((_, i) => held[i] === of),
  });
  const [train, test] = [part(0), part(1)];
  if (test.paths.length === 0) {
    throw new DataError(
      `${where} has no test images, and none can be held out, because each class has one image; add images`,
    );
  }
  const single = classes.filter((_, label) => members[label]!.length === 1);
  return {
    train,
    test,
    notices: [
      `${where} has no separate test images: ${100 * heldOutShare} % of each class are held out, ${counted(test.paths.length, 'image')} of ${all.paths.length}, the same in each run.`,
      ...(single.length > 0
        ? [`Classes with one image have it for training, and none to test: ${firstTen(single)}.`]
        : []),
    ],
  };
}

/** @throws DataError unless there are two classes, all with training images. */
export function checkClasses(where: string, classes: readonly string[], train: FoundSplit): void {
  if (classes.length < 2) {
    throw new DataError(
      `${where} has ${classes.length === 0 ? 'no class' : `only the class "${classes[0]}"`}; a network needs two classes or more to learn`,
    );
  }
  const found = new Uint8Array(classes.length);
  for (const label of train.labels) found[label] = 1;
  const empty = classes.filter((_, label) => found[label] === 0);
  if (empty.length === 0) return;
  throw new DataError(
    `${where}: the training images have none of ${empty.length === 1 ? 'class' : 'the classes'} ${firstTen(empty)}; add images, or remove the class`,
  );
}
