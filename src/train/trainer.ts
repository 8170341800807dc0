/**
 * The training loop, in the form of the lecture's first exercise:
 *
 *     for (let epoch = 1; epoch <= epochs; epoch++) {
 *       await train(epoch);
 *       await test();
 *     }
 *
 * Learning rate, order and random transforms depend only on the epoch's number, so a loop may start at any epoch.
 */
import type { DataLoader } from '../data/loader.ts';
import type { EvaluateResult, OptimizerOptions } from '../engine/backend.ts';
import { UsageError } from '../errors.ts';
import { checkOptions } from '../options.ts';
import { requireFinite, requireFiniteLoss } from './finite.ts';
import type { Model } from './model.ts';
import type { Reporter } from './reporters.ts';
import { stepSchedule } from './schedules.ts';

export interface TrainerOptions {
  readonly model: Model;
  readonly trainLoader: DataLoader;
  readonly testLoader: DataLoader;
  /** `lr` is the rate of the first epoch. */
  readonly optimizer: OptimizerOptions;
  /** 80 by default, as in the lecture. */
  readonly epochs?: number;
  /** The learning rate is multiplied by `lrGamma` (1/3) after each `lrStep` (20) epochs. */
  readonly lrStep?: number;
  readonly lrGamma?: number;
  /** Stops after this many steps in total, even mid-epoch. */
  readonly steps?: number;
  readonly reporter?: Reporter;
  /** Stops after the current step; `train` and `test` then throw its reason. */
  readonly signal?: AbortSignal;
}

export interface EpochResult {
  /** Mean loss and accuracy over the epoch's images, each measured when its batch was trained. */
  readonly loss: number;
  readonly accuracy: number;
  readonly steps: number;
  readonly images: number;
  /** Seconds of training, without the test. */
  readonly seconds: number;
}

export interface Trainer {
  /** The number of the last epoch; lower than the option if `steps` ends the training earlier. */
  readonly epochs: number;
  readonly train: (epoch: number) => Promise<EpochResult>;
  readonly test: () => Promise<EvaluateResult>;
}

/**
 * Returns `train(epoch)` and `test()` for a model and its data. Epochs count from 1. Both throw a VggError if the
 * training diverged: a loss or a weight is not finite.
 */
export function trainer(options: TrainerOptions): Trainer {
  checkOptions<TrainerOptions>('trainer', options, {
    model: 'required',
    trainLoader: 'required',
    testLoader: 'required',
    optimizer: 'required',
    epochs: 'optional',
    lrStep: 'optional',
    lrGamma: 'optional',
    steps: 'optional',
    reporter: 'optional',
    signal: 'optional',
  });
  const { model, trainLoader, testLoader, optimizer, reporter, signal } = options;
  const { epochs = 80, lrStep = 20, lrGamma = 1 / 3, steps = Infinity } = options;
  const learningRate = stepSchedule(optimizer.lr, lrStep, lrGamma);
  const lastEpoch = Math.min(epochs, Math.ceil(steps / trainLoader.length));
  let last: (EpochResult & { epoch: number }) | undefined;

  async function train(epoch: number): Promise<EpochResult> {
    if (!Number.isInteger(epoch) || epoch < 1) {
      throw new UsageError(`train: epoch ${epoch} is not a whole number ≥ 1; epochs count from 1`);
    }
    signal?.throwIfAborted();
    const stepsPerEpoch = trainLoader.length;
    const totalSteps = Math.min(steps, epochs * stepsPerEpoch);
    optimizer.lr = learningRate({ epoch, step: 0, stepsPerEpoch, epochs, totalSteps, plateaus: 0 });
    const stepsLeft = steps - (epoch - 1) * stepsPerEpoch;
    const result = await model.train(trainLoader, {
      epoch,
      optimizer,
      steps: Math.max(0, Math.min(stepsPerEpoch, stepsLeft)),
      onStep: ({ step, loss }) =>
        reporter?.step({ epoch, epochs, step, steps: stepsPerEpoch, loss, lr: optimizer.lr }),
      ...(signal && { signal }),
    });
    signal?.throwIfAborted();
    const correct = result.correct.reduce((sum, right) => sum + right, 0);
    last = {
      epoch,
      loss: meanLoss(result.losses, trainLoader),
      accuracy: correct / result.images,
      ...result,
    };
    return last;
  }

  async function test(): Promise<EvaluateResult> {
    const result = await model.evaluate(testLoader, signal);
    signal?.throwIfAborted();
    if (last) {
      const place = `after epoch ${last.epoch}, step ${last.steps}`;
      requireFiniteLoss('test', result.loss, place, optimizer.lr);
      requireFinite([await model.weights()], place, optimizer.lr);
      reporter?.epoch({
        epoch: last.epoch,
        epochs,
        step: (last.epoch - 1) * trainLoader.length + last.steps,
        lr: optimizer.lr,
        trainLoss: last.loss,
        trainAccuracy: last.accuracy,
        testLoss: result.loss,
        testAccuracy: result.accuracy,
        testTopFive: result.topFive,
        trainSeconds: last.seconds,
        testSeconds: result.seconds,
        imagesPerSecond: last.images / last.seconds,
      });
    }
    return result;
  }

  return { epochs: lastEpoch, train, test };
}

/** Mean over the images: the last batch of an epoch may be smaller than the others. */
function meanLoss(losses: Float64Array, { batchSize, dataset }: DataLoader): number {
  let sum = 0;
  let images = 0;
  for (const [i, loss] of losses.entries()) {
    const batch = Math.min(batchSize, dataset.length - i * batchSize);
    sum += loss * batch;
    images += batch;
  }
  return sum / images;
}
