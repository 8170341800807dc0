/**
 * The data sets of the command line and of config files: their names. Those of image files are named by a kind and a
 * path, such as `folder:photos`.
 */
import { UsageError } from '../errors.ts';
import { unknownName } from '../suggest.ts';

export const datasetNames = ['shapes', 'cifar10', 'cifar100'] as const;
export type DatasetName = (typeof datasetNames)[number];

/** A named data set, or one of image files. */
export type DatasetSpec = DatasetName | `folder:${string}` | `csv:${string}`;

/** How data sets of image files are written. */
export const imageForms = ['folder:DIR', 'csv:FILE'] as const;

/** What a data set is called in a list of choices. */
export type DatasetForm = DatasetName | (typeof imageForms)[number];
export const datasetForms: readonly DatasetForm[] = [...datasetNames, ...imageForms];

/** Which data set to load, and from where. */
export interface DatasetChoice {
  readonly dataset: DatasetSpec;
  /** Folder or archive with CIFAR's files; of image files, the folder, if it is not where `dataset` says. */
  readonly data?: string;
  /** Which classes of CIFAR-100. */
  readonly labels?: 'fine' | 'coarse';
  /** Leaves out broken image files. */
  readonly skipBroken?: boolean;
}

/** Kind and path of a data set of image files; undefined for the named ones. */
export function imageFilesOf(
  dataset: string,
): { readonly kind: 'folder' | 'csv'; readonly path: string } | undefined {
  const [, kind, path] = /^(folder|csv):(.+)$/s.exec(dataset) ?? [];
  return path === undefined || path.trim() === '' ? undefined : { kind: kind as 'folder' | 'csv', path };
}

/** The form of a data set's name. */
export function formOf(dataset: string): string {
  const files = imageFilesOf(dataset);
  return files ? (files.kind === 'folder' ? 'folder:DIR' : 'csv:FILE') : dataset;
}

export const isDatasetSpec = (name: unknown): name is DatasetSpec =>
  typeof name === 'string' && (datasetForms as readonly string[]).includes(formOf(name)) && !isForm(name);

/** A form as the help writes it is no data set. */
const isForm = (name: string): boolean => (imageForms as readonly string[]).includes(name);

/** What is wrong with the name of a data set; undefined if nothing is. */
export function specProblem(name: string): string | undefined {
  if (isDatasetSpec(name)) return undefined;
  if (isForm(name)) return `"${name}" is a pattern; write the path in its place, as in folder:photos`;
  if (/^(folder|csv):\s*$/.test(name)) return `"${name}" lacks a path; write it as in folder:photos`;
  return unknownName('dataset', name, datasetForms);
}

/** @throws UsageError unless it is the name of a data set. */
export function checkSpec(name: string): DatasetSpec {
  const problem = specProblem(name);
  if (problem !== undefined) throw new UsageError(problem);
  return name as DatasetSpec;
}

/** A data set's name without its path's folders: `photos` for `folder:/home/me/photos`. */
export function shortName(dataset: string): string {
  const files = imageFilesOf(dataset);
  if (!files) return dataset;
  const [last = ''] = files.path
    .split(/[/\\]+/)
    .filter((part) => part !== '' && part !== '.')
    .slice(-1);
  const name = files.kind === 'csv' ? last.replace(/\.[^.]*$/, '') : last;
  return name === '' || name === '..' ? files.kind : name;
}
