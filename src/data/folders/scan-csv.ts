/**
 * Finds the images that a CSV file lists with their labels, as Kaggle's CIFAR-10 has them: `trainLabels.csv` with the
 * columns `id,label`, and `train/1.png` next to it (Node only).
 */
import { closeSync, fstatSync, readdirSync, readSync, realpathSync, statSync } from 'node:fs';
import { basename, dirname, join, posix } from 'node:path';
import { DataError } from '../../errors.ts';
import { cannotRead, openRegularSync } from '../../files/files.ts';
import { shellWord } from '../../words.ts';
import {
  checkClasses,
  checkClassNames,
  extensionOf,
  type FoundImages,
  holdOut,
  imageExtensions,
  isSystemName,
  mostImages,
  sorted,
} from './found.ts';

/** Bytes of a table with millions of rows. */
const mostBytes = 2 ** 28;

const fileColumns = ['id', 'file', 'filename', 'file_name', 'image', 'image_id', 'imageid', 'path', 'name'];
const labelColumns = ['label', 'labels', 'class', 'class_name', 'category', 'target'];

interface Row {
  readonly line: number;
  /** Relative to the folder of the images, with `/`. */
  readonly file: string;
  readonly label: string;
}

/** @throws DataError if the table or the folder cannot be read, or they are not a data set. */
export function scanCsv(file: string, folder?: string): FoundImages {
  const rows = readRows(file);
  const root = folder === undefined ? folderBeside(file, rows) : folderAt(folder);
  const labels = [...new Set(rows.map(({ label }) => label))];
  checkClassNames(file, labels, 'labels');
  const classes = labels.every((label) => /^\d{1,9}$/.test(label)) ? inOrder(file, labels) : sorted(labels);
  const label = new Map(classes.map((name, i) => [name, i]));
  const find = finder(root);
  const lines = new Map<string, number>();
  const paths = rows.map((row) => {
    const path = find(row, file);
    const before = lines.get(path);
    if (before !== undefined) {
      throw new DataError(`${file}: lines ${before} and ${row.line} both name ${path}; keep one of them`);
    }
    lines.set(path, row.line);
    return path;
  });
  const all = { paths, labels: Uint16Array.from(rows, (row) => label.get(row.label)!) };
  checkClasses(file, classes, all);
  const { notices, ...splits } = holdOut(file, all, classes);
  return { root, classes, splits, notices };
}

/** Labels that are numbers, in their own order: 2 before 10. @throws DataError if a number is written in two ways. */
function inOrder(file: string, labels: readonly string[]): readonly string[] {
  const classes = labels.toSorted((a, b) => Number(a) - Number(b));
  const twice = classes.findIndex((name, i) => i > 0 && Number(name) === Number(classes[i - 1]));
  if (twice < 0) return classes;
  throw new DataError(
    `${file}: the labels "${classes[twice - 1]}" and "${classes[twice]}" are the same number; write it in one way, or ` +
      'use names',
  );
}

function readRows(file: string): readonly Row[] {
  const [header, ...records] = parse(file, readText(file));
  const names = header?.cells.map((cell) => cell.trim().toLowerCase()) ?? [];
  const column = (known: readonly string[]): number => names.findIndex((name) => known.includes(name));
  const [fileAt, labelAt] = [column(fileColumns), column(labelColumns)];
  if (fileAt < 0 || labelAt < 0) {
    throw new DataError(
      `${file}: the first line ${JSON.stringify(header?.cells.join(',').slice(0, 80) ?? '')} does not name the columns; it needs a column of files (${fileColumns.slice(0, 3).join(', ')}) and one of labels (${labelColumns.slice(0, 3).join(', ')}), for example "filename,label"`,
    );
  }
  const rows = records.map(({ line, cells }): Row => {
    if (cells.slice(names.length).some((cell) => cell.trim() !== '')) {
      throw new DataError(
        `${file}, line ${line}: ${cells.length} values for ${names.length} columns; put a value that contains the separator into quotes`,
      );
    }
    const [name, label] = [cells[fileAt]?.trim() ?? '', cells[labelAt]?.trim().normalize('NFC') ?? ''];
    if (name === '' || label === '') {
      throw new DataError(
        `${file}, line ${line}: the ${name === '' ? 'file' : 'label'} is missing; complete or delete the line`,
      );
    }
    return { line, file: insidePath(file, line, name), label };
  });
  if (rows.length === 0) throw new DataError(`${file} lists no images; add a line for each image`);
  if (rows.length > mostImages)
    throw new DataError(`${file} lists ${rows.length} images, above the limit of ${mostImages}`);
  return rows;
}

/** A path below the folder of the images, with `/`. @throws DataError if it leads out of it. */
function insidePath(table: string, line: number, given: string): string {
  const path = posix.normalize(given.replaceAll('\\', '/'));
  const isAbsolute = path.startsWith('/') || /^[a-z]:\//i.test(path);
  if (!isAbsolute && !path.startsWith('../') && path !== '..' && !path.includes('\0')) return path;
  const problem = isAbsolute ? 'is an absolute path' : 'is not in the folder of the images';
  throw new DataError(
    `${table}, line ${line}: ${JSON.stringify(given)} ${problem}; give paths relative to the folder of the images`,
  );
}

function readText(path: string): string {
  try {
    const file = openRegularSync(path);
    try {
      const { size } = fstatSync(file);
      if (size > mostBytes) throw new DataError(`${path} has ${size} bytes, above the limit of ${mostBytes}`);
      const bytes = Buffer.alloc(size);
      let length = 0;
      for (let read = -1; read !== 0 && length < size; length += read)
        read = readSync(file, bytes, length, size - length, length);
      return new TextDecoder('utf-8', { fatal: true }).decode(bytes.subarray(0, length));
    } finally {
      closeSync(file);
    }
  } catch (error) {
    if (error instanceof TypeError)
      throw new DataError(`${path} is not UTF-8 text; save it as CSV in UTF-8`, { cause: error });
    throw cannotRead(path, error);
  }
}

/**
 * Records of RFC 4180, with the line on which each starts; separated by commas, semicolons or tabs. Empty lines are left
 * out. @throws DataError for a quote without an end, which would take in all that follows.
 */
export function parse(
  file: string,
  text: string,
): readonly { readonly line: number; readonly cells: readonly string[] }[] {
  const [head = ''] = /^[^\r\n]*/.exec(text) ?? [];
  const separator = [',', ';', '\t'].find((known) => head.includes(known)) ?? ',';
  const records: { line: number; cells: string[] }[] = [];
  let line = 1;
  let at = 0;
  while (at < text.length) {
    const record = { line, cells: [] as string[] };
    for (;;) {
      let cell = '';
      if (text[at] === '"') {
        const started = line;
        for (at++; at < text.length; at++) {
          if (text[at] === '\n') line++;
          if (text[at] !== '"') cell += text[at];
          else if (text[at + 1] === '"') cell += text[++at];
          else break;
        }
        if (at++ >= text.length) {
          throw new DataError(`${file}, line ${started}: a quote has no end; close it, or delete it`);
        }
      }
      const start = at;
      while (at < text.length && text[at] !== separator && text[at] !== '\n' && text[at] !== '\r') at++;
      record.cells.push(cell + text.slice(start, at));
      if (text[at] !== separator) break;
      at++;
    }
    if (text[at] === '\r') at++;
    if (text[at] === '\n') at++;
    line++;
    if (record.cells.some((cell) => cell.trim() !== '')) records.push(record);
  }
  return records;
}

function folderAt(path: string): string {
  try {
    const root = realpathSync(path);
    if (statSync(root).isDirectory()) return root;
  } catch (error) {
    throw cannotRead(path, error);
  }
  throw new DataError(`${path} is a file, not the folder of the images; name the folder`);
}

/** The folder that has the first listed images: the table's own, or one in it. */
function folderBeside(file: string, rows: readonly Row[]): string {
  const own = folderAt(dirname(file));
  const stem = basename(file).replace(/\.[^.]*$/, '');
  const inside = readdirSync(own, { withFileTypes: true })
    .filter((entry) => !isSystemName(entry.name) && (entry.isDirectory() || entry.isSymbolicLink()))
    .map(({ name }) => name);
  const usual = ['train', 'images', stem].filter((name) => inside.includes(name));
  const others = sorted(inside.filter((name) => !usual.includes(name)));
  const sample = rows.slice(0, 10);
  const has = (name: string): boolean => {
    const root = join(own, name);
    const find = finder(root);
    return sample.some((row) => {
      try {
        return statSync(join(root, find(row, file)), { throwIfNoEntry: false })?.isFile() === true;
      } catch {
        return false;
      }
    });
  };
  const first = ['', ...usual].find(has);
  if (first !== undefined) return join(own, first);
  const found = others.filter(has);
  if (found.length === 1) return join(own, found[0]!);
  const hint = `name the folder of the images with --data ${shellWord(join(dirname(file), 'images'))}`;
  throw new DataError(
    found.length === 0
      ? `${file}: its images, for example ${sample[0]!.file}, are neither next to it nor in a folder next to it; ${hint}`
      : `${file}: images are in ${found.map((name) => `${name}/`).join(' and ')}; ${hint}`,
  );
}

/** Finds the file of a row in a folder; its extension may be missing. A file that is missing keeps its name. */
function finder(root: string): (row: Row, table: string) => string {
  const listings = new Map<string, ReadonlyMap<string, readonly string[]>>();
  const listing = (folder: string): ReadonlyMap<string, readonly string[]> => {
    const known = listings.get(folder);
    if (known) return known;
    const names = new Map<string, string[]>();
    const add = (key: string, name: string): void => {
      const list = names.get(key);
      if (list) list.push(name);
      else names.set(key, [name]);
    };
    let entries: readonly string[] = [];
    try {
      entries = readdirSync(join(root, folder));
    } catch {
      // The row's file is listed as missing.
    }
    for (const name of entries) {
      const key = name.normalize('NFC');
      add(key, name);
      if (imageExtensions.includes(extensionOf(name))) add(key.replace(/\.[^.]+$/, ''), name);
    }
    listings.set(folder, names);
    return names;
  };
  return ({ file, line }, table) => {
    const folder = posix.dirname(file);
    const names = listing(folder).get(posix.basename(file).normalize('NFC')) ?? [];
    const exact = names.find((name) => name === posix.basename(file));
    if (exact === undefined && names.length > 1) {
      throw new DataError(
        `${table}, line ${line}: ${JSON.stringify(file)} may be ${names.join(' or ')}; add the extension`,
      );
    }
    const name = exact ?? names[0];
    return name === undefined ? file : posix.join(folder, name);
  };
}
