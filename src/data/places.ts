/** Paths of data sets (Node only): absolute where they are stored, short where they are shown. */
import { isAbsolute, relative, resolve } from 'node:path';
import { type DatasetSpec, imageFilesOf } from './named.ts';

/** `options` with the absolute paths of their images, which are then found from any folder. */
export function withAbsolutePaths<
  Options extends { readonly dataset?: DatasetSpec | undefined; readonly data?: string | undefined },
>(options: Options): Options {
  const { dataset, data } = options;
  const files = dataset === undefined ? undefined : imageFilesOf(dataset);
  return {
    ...options,
    ...(files && { dataset: `${files.kind}:${resolve(files.path)}` }),
    ...(data !== undefined && { data: resolve(data) }),
  };
}

/** A path as messages show it: relative if it is in the current folder. */
export function shownPath(path: string): string {
  const near = relative('.', path);
  return near === '' || near.startsWith('..') || isAbsolute(near) ? path : near;
}
