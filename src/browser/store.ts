/** Runs and data sets in the browser's private files (OPFS). */
import type { DatasetSpec } from '../data/named.ts';
import type { DamagedRun, RunRecord } from '../runs/folder.ts';
import type { Metrics } from '../runs/table.ts';
import type { DatasetCounts, UserDataset } from './datasets.ts';

/** A data set in the store. */
export interface KeptDataset {
  readonly dataset: DatasetSpec;
  readonly classes: readonly string[];
  readonly images: DatasetCounts;
  readonly bytes: number;
}

/** Bytes of all files of this site, and how many it may have. */
export interface StoreUsage {
  readonly bytes: number;
  readonly quota: number;
}

export interface Store {
  /** All runs, sorted by name. */
  readonly runs: () => Promise<readonly (RunRecord | DamagedRun)[]>;
  /** One run. @throws DataError if it is missing or damaged. */
  readonly run: (name: string) => Promise<RunRecord>;
  /** The rows of a run's `metrics.csv`. */
  readonly metrics: (name: string) => Promise<Metrics>;
  /** A file of a run, such as `best.safetensors`; undefined if there is none. */
  readonly file: (run: string, name: string) => Promise<Blob | undefined>;
  /** @throws InUseError while the run is being trained. */
  readonly removeRun: (name: string) => Promise<void>;
  readonly datasets: () => Promise<readonly KeptDataset[]>;
  /** A data set that was added; undefined if there is none. */
  readonly dataset: (name: DatasetSpec) => Promise<UserDataset | undefined>;
  /** Keeps a data set's files, so that it is found after a reload; replaces one of the same name. */
  readonly addDataset: (dataset: UserDataset) => Promise<KeptDataset>;
  readonly removeDataset: (name: DatasetSpec) => Promise<void>;
  readonly usage: () => Promise<StoreUsage>;
  /** Asks the browser to keep the files when space is short; returns whether it will. */
  readonly persist: () => Promise<boolean>;
}

/**
 * Opens the store of this site. `folder` separates stores, `vggnet` by default.
 * @throws VggError if the browser has no private files, as in private windows of some browsers.
 */
export declare function openStore(folder?: string): Promise<Store>;
