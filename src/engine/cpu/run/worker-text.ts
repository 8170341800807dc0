/**
 * The program of a worker as text, for bundled programs, which do not have its file. A build replaces this module by the
 * text (`src/report/bundle.ts`); the source tree uses the file.
 */
export const workerText: string | undefined = undefined as string | undefined;
export const workerFile: URL | undefined = undefined as URL | undefined;
