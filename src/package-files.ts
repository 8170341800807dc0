/**
 * Where this package's own files are. Nothing lies beside the code of a program that was bundled: what has to be a
 * program of its own, such as a worker, is then carried along as text.
 */
declare const __filename: string;

/** URL of the file that this code is in. CommonJS, into which a program may have been bundled, has no `import.meta`. */
export function codeUrl(): string {
  const url = import.meta.url as string | undefined;
  return url ?? process.getBuiltinModule('node:url').pathToFileURL(__filename).href;
}

/** A module of this package, by its path in `src` without the ending; none where the program was bundled. */
export function moduleFile(path: string): URL | undefined {
  // The published package holds .js files, and nothing rewrites the name in a URL.
  const [, extension] = /\/package-files\.([jt]s)$/.exec(codeUrl()) ?? [];
  return extension === undefined ? undefined : new URL(`./${path}.${extension}`, codeUrl());
}
