/**
 * The program of a worker, for bundled programs, which do not have its file among those of this package: its text, or the
 * URL of a file beside the bundle. A build replaces this module (`src/build/`); the source tree uses the file.
 */
export const workerText: string | undefined = undefined as string | undefined;
export const workerFile: URL | undefined = undefined as URL | undefined;
