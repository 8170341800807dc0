/** How long a training is, in batches. Everything here is known before the first step. */
import { wholeGroups } from '../engine/step.ts';
import { UsageError } from '../errors.ts';
import { counted } from '../words.ts';

/** The options that end a training. */
export interface Length {
  readonly epochs: number;
  /**
   * Stops after this many batches in total, even mid-epoch, and tests. With `accumulate`, stops after the last full
   * group.
   */
  readonly steps?: number;
  /** Stops after this many epochs without a better accuracy and restores the best weights. 0: never. */
  readonly earlyStopping?: number;
}

/** Everything that decides where a training ends. */
export interface Extent extends Length {
  readonly stepsPerEpoch: number;
  readonly accumulate?: number;
}

/**
 * Batches of the whole training.
 * @throws UsageError if it would end inside the first group of accumulated batches.
 */
export function lastStep({ epochs, stepsPerEpoch, steps = Infinity, accumulate = 1 }: Extent): number {
  const last = wholeGroups(Math.min(steps, epochs * stepsPerEpoch), stepsPerEpoch, accumulate);
  if (last > 0) return last;
  throw new UsageError(
    `steps ${steps} ends the training before its first optimizer step, which needs ${accumulate} batches ` +
      `(accumulate ${accumulate}); use at least ${accumulate} steps`,
  );
}

/**
 * Rejects a warm-up or early stopping that is longer than the training.
 * @throws UsageError that names the option, its value and the length of the training.
 */
export function checkLength({ warmup, ...extent }: Extent & { readonly warmup: number }): void {
  const { stepsPerEpoch, earlyStopping = 0 } = extent;
  const steps = lastStep(extent);
  const epochs = steps / stepsPerEpoch;
  const shown = `${Number.isInteger(epochs) ? '' : 'about '}${counted(Number(epochs.toPrecision(3)), 'epoch')}`;
  const refuse = (name: string, flag: string, value: number): never => {
    throw new UsageError(
      `${name} ${value} is longer than the training of ${shown} (${counted(steps, 'step')}); choose a smaller value ` +
        `(${flag}), or train longer (--epochs, --steps)`,
    );
  };
  if (Math.round(warmup * stepsPerEpoch) > steps) refuse('warmup', '--warmup', warmup);
  if (earlyStopping > Math.ceil(epochs)) refuse('earlyStopping', '--early-stopping', earlyStopping);
}
