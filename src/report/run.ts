/** What a report is made from: trainings and options. */
import type { DatasetSplits } from '../data/dataset.ts';
import type { AnyDataset } from '../data/stored.ts';
import type { DeviceName } from '../engine/backend.ts';
import type { Weights } from '../model/layer.ts';
import type { RunEnvironment } from '../runs/records.ts';
import type { TrainConfig } from '../train/config-table.ts';
import { bestEpoch, type EpochRecord, type StepRecord } from '../train/records.ts';

/** One training, as its run folder and its data set tell it. */
export interface ReportRun {
  readonly name: string;
  readonly config: TrainConfig;
  readonly environment: RunEnvironment;
  readonly epochs: readonly EpochRecord[];
  readonly steps: readonly StepRecord[];
  /** The best ones: those that are reported. */
  readonly weights: Weights;
  readonly splits: DatasetSplits<AnyDataset>;
  /** Where a training step's time goes, where it was measured. The rest is no layer's. */
  readonly timeShares?: readonly TimeShare[];
}

/** Layers that are computed together, and their share of a training step's time, 0–1. */
export interface TimeShare {
  readonly layers: readonly string[];
  readonly share: number;
}

export interface ReportOptions {
  /** What evaluates the network for the report; the fastest by default. */
  readonly device?: DeviceName;
  /** Its threads; all by default. */
  readonly threads?: number;
  /** Leaves out the network itself, what it sees, and the data: small, and made in seconds. */
  readonly brief?: boolean;
  /** Told what is being done, a line each. */
  readonly onProgress?: (line: string) => void;
}

/** Where to write the report and find the data set, besides `ReportOptions`. */
export interface ReportRunsOptions extends ReportOptions {
  /** Folder or archive with the CIFAR files, if not where training found them. */
  readonly data?: string;
  /** The runs' data set, if already loaded. */
  readonly splits?: DatasetSplits<AnyDataset>;
  /** Default: the first run's `report.html`. */
  readonly out?: string;
}

/** Test accuracy of a run's best epoch, selected as `fit` does; undefined before the first epoch. */
export function bestAccuracy({ epochs }: ReportRun): number | undefined {
  return bestEpoch(epochs)?.testAccuracy;
}
