/**
 * Finds the images of a folder with one folder per class, as torchvision's `ImageFolder` does, or of one with `train/`
 * and `val/` or `test/`, each with such folders. The folder is on disk (`scan-folder.ts`), or a list of files that a user
 * chose in a page. Hidden and system files are left out.
 */
import { DataError } from '../../errors.ts';
import {
  checkClasses,
  checkClassNames,
  extensionOf,
  type FoundImages,
  type FoundSplit,
  firstTen,
  holdOut,
  isImageName,
  mostImages,
  sorted,
} from './found.ts';

/** The names of the splits' folders, in lower case. */
const splitNames = {
  train: ['train', 'training'],
  validation: ['val', 'valid', 'validation'],
  test: ['test', 'testing'],
} as const;
type SplitName = keyof typeof splitNames;

/** Folders in folders; more are a mistake. */
const deepest = 64;

/** What a scan has seen besides the images. */
interface Tally {
  /** Files and folders, counted against links that multiply them. */
  entries: number;
  /** Other files, by extension. */
  readonly others: Map<string, number>;
  readonly ignored: string[];
}

/** Folders and files in a folder, in order, without hidden and system ones. */
export interface Entries {
  readonly folders: readonly string[];
  readonly files: readonly string[];
}

/** A folder with all that is in it. */
export interface Tree {
  /** Where paths begin. */
  readonly root: string;
  /** What is in the folder `path`, relative to the root. */
  readonly entries: (path: string) => Entries;
  /** Identifies a folder, whatever links lead to it. */
  readonly id: (path: string) => string;
}

/** `folder` is the tree's name in messages. @throws DataError if its images are not a data set. */
export function scanTree(folder: string, tree: Tree): FoundImages {
  const { root } = tree;
  const tally: Tally = { entries: 0, others: new Map(), ignored: [] };
  const top = tree.entries('');
  const splits = splitsIn(folder, top.folders);
  // A class may be called "train", too; then it contains images.
  if (splits.train === undefined || tree.entries(splits.train).folders.length === 0)
    return ofClasses(folder, tree, top, tally);
  const classNames = classesOf(folder, tree, splits.train);
  const classes = sorted([...classNames.keys()]);
  const split = (name: string): FoundSplit => splitOf(folder, tree, name, classes, tally);
  const train = split(splits.train);
  checkClasses(`${folder}/${splits.train}`, classes, train);
  const used = new Set<string | undefined>(Object.values(splits));
  const unused = top.folders.filter((name) => !used.has(name));
  tally.ignored.push(...unused.map((name) => `${name}/`), ...top.files.filter(isImageName));
  const testName = splits.test ?? splits.validation;
  if (testName === undefined) {
    const { notices, ...held } = holdOut(folder, train, classes);
    return { root, classes, splits: held, notices: [...notices, ...noticesOf(folder, tally)] };
  }
  const test = split(testName);
  if (test.paths.length === 0) {
    throw new DataError(`${folder}/${testName} contains no images; add test images, or remove the folder`);
  }
  const validation =
    splits.test !== undefined && splits.validation !== undefined ? split(splits.validation) : undefined;
  if (validation?.paths.length === 0) {
    throw new DataError(`${folder}/${splits.validation} contains no images; add some, or remove the folder`);
  }
  return {
    root,
    classes,
    splits: { train, ...(validation && { validation }), test },
    notices: [
      ...untested(`${folder}/${testName}`, classes, test),
      ...(validation ? untested(`${folder}/${splits.validation}`, classes, validation) : []),
      ...noticesOf(folder, tally),
    ],
  };
}

/** A folder of classes without splits. */
function ofClasses(folder: string, tree: Tree, top: Entries, tally: Tally): FoundImages {
  const loose = top.files.filter(isImageName);
  if (top.folders.length === 0) {
    throw new DataError(
      loose.length > 0
        ? `${folder} contains ${loose.length === 1 ? 'an image' : `${loose.length} images`}, but no folders; put the images of each class into a folder of its own, named like the class`
        : `${folder} contains no images; it needs one folder per class, or train/ and test/`,
    );
  }
  const { root } = tree;
  const names = classesOf(folder, tree, '');
  const classes = sorted([...names.keys()]);
  const splits = splitsIn(folder, top.folders);
  if (Object.values(splits).length === top.folders.length) {
    const names = firstTen(top.folders.map((name) => `${name}/`));
    throw new DataError(
      splits.train === undefined
        ? `${folder} has ${names}, but no train/; name the folder of the training images train/`
        : `${folder} has ${names}, but ${splits.train}/ has no folders; put the images of each class into a folder of its own in ${splits.train}/`,
    );
  }
  if (classes.length === 1 && tree.entries(top.folders[0]!).folders.length > 0) {
    const inner = `${folder.replace(/\/+$/, '')}/${top.folders[0]!}`;
    throw new DataError(
      `${folder} has only the folder ${top.folders[0]}, which contains folders; did you mean folder:${inner}?`,
    );
  }
  const all = splitOf(folder, tree, '', classes, tally);
  checkClasses(folder, classes, all);
  tally.ignored.push(...loose);
  const { notices, ...held } = holdOut(folder, all, classes);
  return { root, classes, splits: held, notices: [...notices, ...noticesOf(folder, tally)] };
}

/** The folders of the splits. @throws DataError if two have the same purpose. */
function splitsIn(folder: string, names: readonly string[]): Partial<Record<SplitName, string>> {
  const found: Partial<Record<SplitName, string>> = {};
  for (const split of Object.keys(splitNames) as SplitName[]) {
    const own = names.filter((name) => (splitNames[split] as readonly string[]).includes(name.toLowerCase()));
    if (own.length > 1) {
      throw new DataError(
        `${folder} has ${own.map((name) => `${name}/`).join(' and ')}, both for ${split} images; keep one of them`,
      );
    }
    if (own[0] !== undefined) found[split] = own[0];
  }
  return found;
}

/** The classes of a split: names in NFC, and their folders. Images that are in none of them go to `ignored`. */
function classesOf(
  folder: string,
  tree: Tree,
  split: string,
  ignored: string[] = [],
): ReadonlyMap<string, string> {
  const { folders, files } = tree.entries(split);
  if (split !== '') ignored.push(...files.filter(isImageName).map((name) => `${split}/${name}`));
  checkClassNames(split === '' ? folder : `${folder}/${split}`, folders, 'folders');
  return new Map(folders.map((name) => [name.normalize('NFC'), name]));
}

/** The images of a split. @throws DataError for a folder that is no class. */
function splitOf(
  folder: string,
  tree: Tree,
  split: string,
  classes: readonly string[],
  tally: Tally,
): FoundSplit {
  const own = classesOf(folder, tree, split, tally.ignored);
  const known = new Set(classes);
  const unknown = [...own.keys()].filter((name) => !known.has(name));
  if (unknown.length > 0) {
    const close = classes.find((name) => name.toLowerCase() === unknown[0]!.toLowerCase());
    throw new DataError(
      `${folder}/${split} has ${firstTen(unknown.map((name) => `${name}/`))}, which the training images do not have; ` +
        (close === undefined ? 'add training images, or remove the folder' : `rename it to ${close}/`),
    );
  }
  const paths: string[] = [];
  const labels: number[] = [];
  for (const [label, name] of classes.entries()) {
    const at = own.get(name);
    if (at === undefined) continue;
    for (const path of imagesBelow(tree, split === '' ? at : `${split}/${at}`, tally)) {
      paths.push(path);
      labels.push(label);
    }
  }
  return { paths, labels: Uint16Array.from(labels) };
}

/** All images of a class, also in folders in it: in the order of `os.walk`, folder by folder. */
function imagesBelow(tree: Tree, top: string, tally: Tally): readonly string[] {
  const { root } = tree;
  const folders: { readonly path: string; readonly files: readonly string[] }[] = [];
  const visit = (path: string, above: readonly string[]): void => {
    const id = tree.id(path);
    // A link to a folder above it: everything in it has its place already.
    if (above.includes(id)) return;
    if (above.length >= deepest) {
      throw new DataError(`${root}/${path} is more than ${deepest} folders deep; move its images up`);
    }
    const entries = tree.entries(path);
    folders.push({ path, files: entries.files });
    tally.entries += entries.files.length + 1;
    if (tally.entries > mostImages) {
      throw new DataError(
        `${root} has more than ${mostImages} files and folders; leave out folders, or remove links that repeat them`,
      );
    }
    for (const name of entries.folders) visit(`${path}/${name}`, [...above, id]);
  };
  // The data set's folder and that of a split are above, too: a link to one would give the class all other classes.
  visit(top, [...new Set(['', top.split('/').slice(0, -1).join('/')])].map(tree.id));
  const byPath = new Map(folders.map(({ path, files }) => [path, files]));
  return sorted([...byPath.keys()]).flatMap((path) => {
    const names = byPath.get(path)!;
    for (const name of names) {
      if (isImageName(name)) continue;
      const extension = extensionOf(name);
      const kind = extension === '' ? 'without extension' : `.${extension}`;
      tally.others.set(kind, (tally.others.get(kind) ?? 0) + 1);
    }
    return names.filter(isImageName).map((name) => `${path}/${name}`);
  });
}

/** Says which classes a split has no images of. */
function untested(where: string, classes: readonly string[], { labels }: FoundSplit): readonly string[] {
  const seen = new Set(labels);
  const missing = classes.filter((_, label) => !seen.has(label));
  return missing.length === 0 ? [] : [`${where} has no images of ${firstTen(missing)}.`];
}

/** Says what was left out. */
function noticesOf(folder: string, { others, ignored }: Tally): readonly string[] {
  const count = [...others.values()].reduce((sum, n) => sum + n, 0);
  const kinds = [...others]
    .sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1))
    .map(([kind, n]) => `${n} ${kind}`);
  return [
    ...(count === 0 ? [] : [`${folder}: files that are no images are left out: ${firstTen(kinds)}.`]),
    ...(ignored.length === 0
      ? []
      : [`${folder}: left out, because they are in no class: ${firstTen(ignored)}.`]),
  ];
}
