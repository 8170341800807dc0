/**
 * The program of a worker as text, for programs that were bundled and have no file of it. A build writes the text in place
 * of this module (`src/report/bundle.ts`); the source tree has the file.
 */
export const workerText: string | undefined = undefined as string | undefined;
