/**
 * What a training measures at a step and at the end of an epoch, and which epoch is the best one. Losses are mean
 * cross-entropies, accuracies lie between 0 and 1, epochs and steps count from 1, and steps count over the whole
 * training.
 */

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
  /** Over the epoch's images as they were trained, with random transforms and dropout. */
  readonly trainLoss: number;
  readonly trainAccuracy: number;
  /** Only if images are held out for validation. */
  readonly validationLoss?: number;
  readonly validationAccuracy?: number;
  readonly testLoss: number;
  readonly testAccuracy: number;
  /** Top-5 accuracy: share of images whose label is among the five most likely classes. */
  readonly testTopFive: number;
  readonly trainSeconds: number;
  readonly testSeconds: number;
  readonly imagesPerSecond: number;
}

type ChoosingRecord = Pick<EpochRecord, 'testAccuracy' | 'validationAccuracy'>;

export interface ChoosingMetric {
  readonly metric: 'testAccuracy' | 'validationAccuracy';
  readonly words: string;
  readonly value: number;
}

/** The accuracy that selects the best epoch, and its value: on the validation images, if any are held out. */
export function choosingMetric({ validationAccuracy, testAccuracy }: ChoosingRecord): ChoosingMetric {
  return validationAccuracy === undefined
    ? { metric: 'testAccuracy', words: 'test accuracy', value: testAccuracy }
    : { metric: 'validationAccuracy', words: 'validation accuracy', value: validationAccuracy };
}

/**
 * Whether an epoch is better than the best one before it, whose value is `best` (`choosingMetric`): the first epoch is,
 * and a later one only if it is `whole`, since a resumed training repeats the test of a partial epoch.
 */
export const isBetter = (record: ChoosingRecord, whole: boolean, best: number | undefined): boolean =>
  best === undefined || (whole && choosingMetric(record).value > best);

/** The epoch whose weights `fit` keeps as the best ones. */
export function bestEpoch(epochs: readonly EpochRecord[]): EpochRecord | undefined {
  const [first] = epochs;
  let best: EpochRecord | undefined;
  for (const record of epochs) {
    const whole = record.step * first!.epoch >= first!.step * record.epoch;
    if (isBetter(record, whole, best && choosingMetric(best).value)) best = record;
  }
  return best;
}
