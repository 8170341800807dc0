/** A whole training in the browser's store: the run folder of `vgg train`, written to OPFS. */
import type { PrepareProgress } from '../data/folders/prepare.ts';
import type { Training } from '../runs/prepare.ts';
import type { TrainConfigInput } from '../train/config-table.ts';
import type { Callback, FitResult } from '../train/fit.ts';
import type { Snapshot } from '../train/loop-state.ts';
import type { UserDataset } from './datasets.ts';
import type { Store } from './store.ts';

export interface RunOptions {
  /** The data set, if it is neither built in nor in the store. */
  readonly dataset?: UserDataset;
  /** Called when everything is ready, before the first step. */
  readonly onStart?: (training: Training, from: Snapshot | undefined) => void;
  readonly callbacks?: readonly Callback[];
  /** Receives notes, one line each; `console.warn` by default. */
  readonly onNotice?: (line: string) => void;
  /** Told how many photos are decoded and resized. */
  readonly onPrepare?: (progress: PrepareProgress) => void;
  /** Stops after the current step, writes a checkpoint and throws the signal's reason. */
  readonly signal?: AbortSignal;
}

export interface TrainRunOptions extends RunOptions {
  readonly store: Store;
  /** Of the run; by default its model, data set and time. */
  readonly name?: string;
}

export interface ResumeRunOptions extends RunOptions {
  /** Options that change: `epochs`, `steps`, `device`, `threads`, `checkpointEvery`, `logEvery`. */
  readonly changes?: TrainConfigInput;
}

export interface RunResult extends FitResult {
  readonly training: Training;
  /** In the store. */
  readonly name: string;
  /** Of the final weights; undefined if nothing was left to do in a run whose metrics are missing. */
  readonly testAccuracy: number | undefined;
}

/**
 * Trains according to `config` in a new run of the store. The caller closes `training.model`.
 * @throws UsageError if options contradict each other; what `fit` throws.
 */
export declare function trainRun(config: TrainConfigInput, options: TrainRunOptions): Promise<RunResult>;

/**
 * Continues a run from its last checkpoint, with the same bits. The caller closes `training.model`.
 * @throws as `trainRun`; InUseError if another tab or worker trains it.
 */
export declare function resumeRun(store: Store, name: string, options?: ResumeRunOptions): Promise<RunResult>;
