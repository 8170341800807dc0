/** Runs as zip archives, which `vgg train --resume RUN.zip` and `vgg report RUN.zip` read. */
import type { Store } from './store.ts';

export interface ImportOptions {
  /** Of the run in the store; by default the name in the archive, with a number if it is taken. */
  readonly name?: string;
}

/** A run as a zip archive. @throws DataError if there is no such run. */
export declare function exportRun(store: Store, name: string): Promise<Blob>;

/** Adds a run from a zip archive to the store; returns its name. @throws DataError if it is no run or not safe. */
export declare function importRun(store: Store, zip: Blob, options?: ImportOptions): Promise<string>;
