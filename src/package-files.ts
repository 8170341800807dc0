/**
 * Locates this package's own files. A bundled program has no files beside its code, so separate programs such as
 * workers are embedded as text.
 */
declare const __filename: string;

/** URL of the file that contains this code. A bundle may be CommonJS or a script, which have no `import.meta`. */
export function codeUrl(): string {
  const url = import.meta.url as string | undefined;
  if (url !== undefined) return url;
  return typeof __filename === 'string'
    ? process.getBuiltinModule('node:url').pathToFileURL(__filename).href
    : 'script:';
}

/** URL of a module of this package, given its path in `src` without extension; undefined if the program is bundled. */
export function moduleFile(path: string): URL | undefined {
  // The published package contains .js files, and the compiler does not rewrite names in URLs.
  const [, extension] = /\/package-files\.([jt]s)$/.exec(codeUrl()) ?? [];
  return extension === undefined ? undefined : new URL(`./${path}.${extension}`, codeUrl());
}
