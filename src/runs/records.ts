/**
 * Types of a run folder's files: `config.json` is a `TrainConfig`, `env.json` a `RunEnvironment`, a row of
 * `metrics.csv` a `StepRecord` or an `EpochRecord` (`train/records.ts`).
 */
import type { Session } from '../engine/backend.ts';
import type { TrainConfig } from '../train/config-table.ts';
import { bestEpoch, type EpochRecord } from '../train/records.ts';

/** The environment of a run. */
export interface RunEnvironment {
  readonly vggnet: string;
  /** In Node: its version, and that of V8. */
  readonly node?: string;
  readonly v8?: string;
  /** In a page: the browser's name and version. */
  readonly browser?: string;
  readonly platform: string;
  readonly processor: string;
  readonly cores: number;
  readonly memoryBytes: number;
  readonly hostname: string;
  /** For instance `native`, and in words `native (AVX-512), 2 threads`. */
  readonly device: string;
  readonly description: string;
  readonly threads: number;
  /** The kernels used, in order, each with the number of steps done before. */
  readonly kernels?: readonly { readonly after: number; readonly name: string }[];
  /** Of the device that has such a table, as `Session.tiles`: the run keeps it while it is on this adapter. */
  readonly tiles?: Session['tiles'];
  /** As `Session.cacheBytes`, on the processor: the run keeps it on other machines. */
  readonly cacheBytes?: number;
  /** Identifies the image files of the data set, in which order and with which labels; absent for built-in data sets. */
  readonly images?: string;
  /** Commit of the user's project, if it has one; `dirty` if files differ from it. */
  readonly git?: { readonly commit: string; readonly dirty: boolean };
  /** The command line, and the folder it was run in. */
  readonly command: readonly string[];
  readonly folder: string;
  /** ISO 8601, UTC. */
  readonly started: string;
  /** One entry for each time the run was resumed. */
  readonly resumed?: readonly {
    readonly at: string;
    readonly epoch: number;
    readonly step: number;
    readonly description: string;
    /** Why the bits may differ from those of an uninterrupted run; absent if they may not. */
    readonly differs?: string;
    /** Learning rates of the last step before and the first step now, if new `epochs` or `steps` changed the schedule. */
    readonly rates?: { readonly before: number; readonly now: number };
  }[];
}

/** The kernels in a device's description: `native (AVX-512)` of `native (AVX-512), 2 threads`. */
export const kernelsIn = (description: string): string => description.replace(/, \d+ threads?$/, '');

/**
 * The kernels of the first `steps` steps of a run, in words: `native (AVX2), 2 threads`, or, if it was resumed on other
 * kernels, `native (AVX2), then wasm`.
 */
export function computedBy({ kernels = [], description }: RunEnvironment, steps: number): string {
  const names = kernels.filter(({ after }) => after < steps).map(({ name }) => name);
  const words = names.join(', then ');
  return words === '' || words === kernelsIn(description) ? description : words;
}

/**
 * The final test accuracy of a finished run; after early stopping, that of the restored weights. Undefined if its
 * metrics are missing.
 */
export function finalAccuracy({
  epochs,
  status,
}: {
  readonly epochs: readonly EpochRecord[];
  readonly status?: { readonly reason?: string | undefined };
}): number | undefined {
  const last = status?.reason === stoppedEarly ? bestEpoch(epochs) : epochs.at(-1);
  return last?.testAccuracy;
}

/** The reason in the state of a run that stopped early. */
export const stoppedEarly = 'no progress';

/** A warning if runs have different data sets or labels, because their results cannot be compared. */
export function dataSetWarning(
  configs: readonly Pick<TrainConfig, 'dataset' | 'labels'>[],
): string | undefined {
  const names = new Set(
    configs.map(({ dataset, labels = 'fine' }) =>
      dataset === 'cifar100' ? `${dataset} with ${labels} labels` : dataset,
    ),
  );
  return names.size < 2
    ? undefined
    : `These runs are on different data sets (${[...names].join(', ')}): their accuracies and losses cannot be compared.`;
}

/** Columns of `metrics.csv`. `kind` is `step` or `epoch`; a cell without a value is empty. */
export const metricsColumns = [
  'kind',
  'epoch',
  'step',
  'lr',
  'trainLoss',
  'trainAccuracy',
  'validationLoss',
  'validationAccuracy',
  'testLoss',
  'testAccuracy',
  'testTopFive',
  'trainSeconds',
  'testSeconds',
  'imagesPerSecond',
] as const;

/** The state of a run. */
export type RunState = 'running' | 'finished' | 'interrupted' | 'failed';
