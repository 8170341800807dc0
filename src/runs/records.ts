/**
 * Types of a run folder's files: `config.json` is a `TrainConfig`, `env.json` a `RunEnvironment`, a row of
 * `metrics.csv` a `StepRecord` or an `EpochRecord`. Losses are mean cross-entropies, accuracies lie between 0 and 1,
 * epochs and steps count from 1, and steps count over the whole run.
 */
import type { TrainConfig } from '../train/config.ts';
import type { EpochRecord } from '../train/reporters.ts';

/** The environment of a run. */
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
  /** The kernels used, in order, each with the number of steps done before. */
  readonly kernels?: readonly { readonly after: number; readonly name: string }[];
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

/** One training step. */
export interface StepRecord {
  readonly epoch: number;
  readonly step: number;
  readonly lr: number;
  readonly trainLoss: number;
}

/** The accuracy that selects the best epoch, and its value: on the validation images, if any are held out. */
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
 * The epoch whose weights `fit` keeps as the best ones (`choosingMetric`), the first of equals. A partial last epoch
 * counts only if it is the only one.
 */
export function bestEpoch(epochs: readonly EpochRecord[]): EpochRecord | undefined {
  const value = (record: EpochRecord): number => choosingMetric(record).value;
  const [first, last] = [epochs[0], epochs.at(-1)];
  if (!first || !last) return undefined;
  const whole = last.step * first.epoch >= first.step * last.epoch ? epochs : epochs.slice(0, -1);
  return whole.reduce((a, b) => (value(b) > value(a) ? b : a));
}

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
