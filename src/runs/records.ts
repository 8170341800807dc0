/**
 * What a run folder holds, as types: `config.json` is a `TrainConfig`, `env.json` a `RunEnvironment`, a row of
 * `metrics.csv` a `StepRecord` or an `EpochRecord`. Losses are mean cross-entropies, accuracies lie between 0 and 1,
 * epochs and steps count from 1, steps are those of the whole run.
 */
import type { TrainConfig } from '../train/config.ts';

/** Where a run was made. */
export interface RunEnvironment {
  readonly vggnet: string;
  readonly node: string;
  readonly v8: string;
  readonly platform: string;
  readonly processor: string;
  readonly cores: number;
  readonly memoryBytes: number;
  readonly hostname: string;
  /** For instance `native`, and in words `native (AVX-512), 2 threads`. */
  readonly device: string;
  readonly description: string;
  readonly threads: number;
  /** The kernels that computed, in order, each with the steps of the run that were done before. */
  readonly kernels?: readonly { readonly after: number; readonly name: string }[];
  /** Commit of the user's project, where there is one; `dirty` when files differ from it. */
  readonly git?: { readonly commit: string; readonly dirty: boolean };
  /** The command line, and the folder it was given in. */
  readonly command: readonly string[];
  readonly folder: string;
  /** ISO 8601, UTC. */
  readonly started: string;
  /** One entry for each time that the run was resumed. */
  readonly resumed?: readonly {
    readonly at: string;
    readonly epoch: number;
    readonly step: number;
    readonly description: string;
    /** Why the bits may differ from those of an uninterrupted run, where they may. */
    readonly differs?: string;
    /** Learning rates of the last step before and of the first one now, if another length of the training changed the schedule. */
    readonly rates?: { readonly before: number; readonly now: number };
  }[];
}

/** The kernels in a device's description: `native (AVX-512)` of `native (AVX-512), 2 threads`. */
export const kernelsIn = (description: string): string => description.replace(/, \d+ threads?$/, '');

/**
 * What computed the first `steps` steps of a run, in words: `native (AVX2), 2 threads`, or, where it was taken up again
 * on other kernels, `native (AVX2), then wasm`.
 */
export function computedBy({ kernels = [], description }: RunEnvironment, steps: number): string {
  const names = kernels.filter(({ after }) => after < steps).map(({ name }) => name);
  const words = names.join(', then ');
  return words === '' || words === kernelsIn(description) ? description : words;
}

/** One training step. */
export interface StepRecord {
  readonly epoch: number;
  readonly step: number;
  readonly lr: number;
  readonly trainLoss: number;
}

/** The end of an epoch. */
export interface EpochRecord {
  readonly epoch: number;
  readonly step: number;
  /** Of the epoch's last step. */
  readonly lr: number;
  /** Over the epoch's images as they were seen, random transforms and dropout included. */
  readonly trainLoss: number;
  readonly trainAccuracy: number;
  /** Only if images are held out for validation. */
  readonly validationLoss?: number;
  readonly validationAccuracy?: number;
  readonly testLoss: number;
  readonly testAccuracy: number;
  /** Share of images whose label is among the five likeliest. */
  readonly testTopFive: number;
  readonly trainSeconds: number;
  readonly testSeconds: number;
  readonly imagesPerSecond: number;
}

/** Which accuracy chooses the best epoch, and its value: that of the validation images, if any are held out. */
export function choosingMetric({ validationAccuracy, testAccuracy }: ChoosingRecord): ChoosingMetric {
  return validationAccuracy === undefined
    ? { metric: 'testAccuracy', words: 'test accuracy', value: testAccuracy }
    : { metric: 'validationAccuracy', words: 'validation accuracy', value: validationAccuracy };
}

type ChoosingRecord = Pick<EpochRecord, 'testAccuracy' | 'validationAccuracy'>;

export interface ChoosingMetric {
  readonly metric: 'testAccuracy' | 'validationAccuracy';
  readonly words: string;
  readonly value: number;
}

/**
 * The epoch whose weights `fit` keeps as the best ones (`choosingMetric`). The first of equals. A last epoch that the
 * training ended inside counts only where it is the only one.
 */
export function bestEpoch(epochs: readonly EpochRecord[]): EpochRecord | undefined {
  const value = (record: EpochRecord): number => choosingMetric(record).value;
  const [first, last] = [epochs[0], epochs.at(-1)];
  if (!first || !last) return undefined;
  const whole = last.step * first.epoch >= first.step * last.epoch ? epochs : epochs.slice(0, -1);
  return whole.reduce((a, b) => (value(b) > value(a) ? b : a));
}

/** A warning if runs are of different data sets or labels, whose results cannot be compared. */
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

/** Columns of `metrics.csv`. `kind` is `step` or `epoch`; cells that a row has no value for are empty. */
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

/** How a run stands. */
export type RunState = 'running' | 'finished' | 'interrupted' | 'failed';
