/**
 * Records a training (Node only): a `Callback` of `fit` that writes a run folder's metrics, events and checkpoints.
 * Rows reach the disk before the checkpoint that follows them, so a run that resumes from it has every row once.
 */
import * as z from 'zod';
import type { DataLoader } from '../data/loader.ts';
import { type MomentName, momentNames, type TrainingState } from '../engine/backend.ts';
import { DataError } from '../errors.ts';
import { filterRaster, firstFilters } from '../images/rasters.ts';
import type { ModelInfo } from '../model/info.ts';
import type { Weight, Weights } from '../model/layer.ts';
import type { ReadOptions } from '../model/tensor-files.ts';
import { checkArgument, checkOptions } from '../options.ts';
import type { Callback } from '../train/fit.ts';
import type { LoopState, Snapshot } from '../train/loop-state.ts';
import type { Model } from '../train/model.ts';
import { fixed, percent } from '../words.ts';
import { type Checkpoint, lastGoodCheckpoint, lastGoodWeights, writeCheckpoint } from './checkpoint.ts';
import { type PartTime, type Run, type RunStatus, readStatus } from './folder.ts';
import type { RunState } from './records.ts';
import { digestOf, hasRows, type MetricsRow, openMetrics, truncateAfter } from './table.ts';
import { openEvents } from './tensorboard.ts';

const filterColumns = 8;

export interface RecorderOptions {
  /** Writes a row for every n-th step of an epoch. */
  readonly stepInterval: number;
  readonly model: Model;
  readonly trainLoader: DataLoader;
  /** Whether the run existed before. */
  readonly resumed: boolean;
  /** Whether steps are left to do. */
  readonly left: boolean;
  /** The checkpoint that a resumed run continues from, if one was written. */
  readonly from?: Snapshot;
}

export interface Recorder {
  readonly callback: Callback;
  /** Writes the remaining rows and how the run ended. */
  readonly close: (state: RunState, reason?: string) => Promise<void>;
}

/** Starts to record a run. @throws VggError if its files cannot be written. */
export async function recordRun(run: Run, options: RecorderOptions): Promise<Recorder> {
  checkOptions<RecorderOptions>('recordRun', options, {
    stepInterval: 'required',
    model: 'required',
    trainLoader: 'required',
    resumed: 'required',
    left: 'required',
    from: 'optional',
  });
  const { stepInterval, model, trainLoader, resumed, left, from } = options;
  const begun = performance.now();
  const { seconds: before = 0, parts: partsBefore = [] } = (await statusBefore(run)) ?? {};
  const metrics = run.path('metrics');
  const done = from?.loop.totalSteps ?? 0;
  // A resumed epoch writes its row at its end; the partial epoch of a finished training keeps its row.
  const { epoch = 1, step = 0 } = from?.loop ?? {};
  if (resumed) await truncateAfter(metrics, !left && step > 0 ? epoch : epoch - 1, done);
  const table = await openMetrics(metrics);
  // Without a checkpoint everything is written again, including the images before the first step.
  const events = await openEvents(run.folder, resumed ? { startStep: from ? done + 1 : 0 } : {}).catch(
    async (error: unknown) => {
      await table.close();
      throw error;
    },
  );
  let rows: MetricsRow[] = [];
  /** Of the rows that a resume from the next checkpoint keeps; the row of a partial epoch is written again. */
  let { digest } = table;
  let parts = from ? partsBefore : [];
  let position = { epoch: from?.loop.epoch ?? 1, step: from?.loop.totalSteps ?? 0 };

  const flush = async (): Promise<void> => {
    const waiting = rows;
    rows = [];
    await table.append(waiting);
    const kept = waiting.filter(({ kind, step }) => kind === 'step' || step % trainLoader.length === 0);
    digest = digestOf(kept, digest);
    await events.flush();
  };
  const writeStatus = (state: RunState, reason?: string): Promise<void> =>
    run.writeStatus({
      state,
      ...(reason !== undefined && { reason }),
      ...position,
      seconds: before + (performance.now() - begun) / 1000,
      ...(parts.length > 0 && { parts }),
    });

  /** Writes a checkpoint after checking that the folder is still this run's. */
  const writeOwn = async (file: 'last' | 'best', checkpoint: Checkpoint): Promise<void> => {
    await run.requireOwn(['config', 'metrics']);
    await writeCheckpoint(run.path(file), checkpoint);
  };

  /** The step of the newest filters. */
  let drawn = from && isDrawn(from.loop) ? done : undefined;
  /** Adds an image of the first layer's filters after `step` steps. */
  const addFilters = (step: number, weights: Weights): void => {
    if (step === drawn) return;
    drawn = step;
    const first = firstFilters(model.network, weights);
    if (first) events.image(step, `filters of ${first.layer}`, filterRaster(first.weight, filterColumns));
  };

  try {
    await writeStatus('running');
    if (!from) {
      await addImages(events, trainLoader);
      addFilters(0, await model.weights());
      await events.flush();
    }
  } catch (error) {
    await Promise.allSettled([table.close(), events.close()]);
    throw error;
  }
  return {
    callback: {
      step({ epoch, step, steps, loss, lr }) {
        position = { epoch, step: (epoch - 1) * steps + step };
        if (step % stepInterval !== 0) return;
        rows.push({ kind: 'step', ...position, lr, trainLoss: loss });
        events.scalars(position.step, { 'step/loss': loss, 'step/lr': lr });
      },
      async epoch({ epochs: _, ...record }) {
        rows.push({ kind: 'epoch', ...record });
        const { trainLoss, trainAccuracy, validationLoss, validationAccuracy, testLoss, testAccuracy } =
          record;
        events.scalars(record.step, {
          'loss/train': trainLoss,
          'loss/test': testLoss,
          'accuracy/train': trainAccuracy,
          'accuracy/test': testAccuracy,
          'accuracy/test top 5': record.testTopFive,
          ...(validationLoss !== undefined && { 'loss/validation': validationLoss }),
          ...(validationAccuracy !== undefined && { 'accuracy/validation': validationAccuracy }),
          'learning rate': record.lr,
          'images per second': record.imagesPerSecond,
        });
        await flush();
        await writeStatus('running');
        await run.log(
          `epoch ${record.epoch}: train loss ${fixed(trainLoss)}, ` +
            (validationLoss === undefined
              ? ''
              : `validation loss ${fixed(validationLoss)}, validation accuracy ${percent(validationAccuracy)}, `) +
            `test loss ${fixed(testLoss)}, test accuracy ${percent(testAccuracy)}`,
        );
      },
      async checkpoint(snapshot) {
        const { loop, state, timed } = snapshot;
        // Only here, where the weights are at hand.
        if (isDrawn(loop)) addFilters(loop.totalSteps, testedWeights(state));
        await flush();
        await table.sync();
        if (loop.step > 0 && timed) {
          const { epoch, step } = loop;
          parts = [...parts.filter((part) => !isAt(part, loop)), { epoch, step, ...timed }].slice(-keptParts);
          // Before the checkpoint, so that the time of every existing checkpoint is known.
          await writeStatus('running');
        }
        await writeOwn('last', { ...toCheckpoint(snapshot, model.info), extra: { metrics: { ...digest } } });
      },
      best: (snapshot) => writeOwn('best', toCheckpoint(snapshot, model.info)),
    },
    async close(state, reason) {
      try {
        await flush();
      } finally {
        await table.close();
        await events.close();
        await writeStatus(state, reason);
      }
      await run.log(reason === undefined ? state : `${state}: ${reason}`);
    },
  };
}

/** A checkpoint to resume from. */
export interface ResumedSnapshot extends Snapshot {
  /** For early stopping: the weights of the best epoch. */
  readonly bestWeights?: Weights;
  readonly info?: ModelInfo;
}

/**
 * The newest undamaged checkpoint of a run and, for early stopping, its best weights; undefined if none was written yet.
 * `onNotice` receives a line for damaged checkpoints and for missing metrics.
 * @throws DataError if all are damaged, or if the rows of metrics do not match the checkpoint.
 */
export async function readSnapshot(
  run: Run,
  onNotice: (line: string) => void,
  options: ReadOptions = {},
): Promise<ResumedSnapshot | undefined> {
  checkArgument('readSnapshot', 'run', run, ['folder', 'config'], 'a run; open one with openRun');
  const last = await lastGoodCheckpoint(run.folder, 'last', onNotice, options);
  if (!last) return undefined;
  await checkMetrics(run, last, onNotice);
  const parts = (await statusBefore(run))?.parts;
  const part = parts?.find((one) => isAt(one, last.loop));
  const timed = part && { seconds: part.seconds, images: part.images };
  const { info } = last;
  const snapshot = { ...fromCheckpoint(last), ...(timed && { timed }), ...(info && { info }) };
  if (run.config.earlyStopping === 0) return snapshot;
  const best = await lastGoodWeights(run.folder, 'best', onNotice, options).catch((error: unknown) => {
    if (!(error instanceof DataError)) throw error;
    onNotice(`${error.message}; only epochs from now on count for the best weights`);
    return undefined;
  });
  return best ? { ...snapshot, bestWeights: best.weights } : snapshot;
}

/** Detects rows that were lost or changed since the checkpoint. Checkpoints of older versions have no row count. */
async function checkMetrics(
  run: Run,
  { loop, extra }: Checkpoint,
  onNotice: (line: string) => void,
): Promise<void> {
  const { data: expected } = digestSchema.safeParse(extra?.metrics);
  if (!expected) return;
  const path = run.path('metrics');
  if (await hasRows(path, loop.epoch - 1, loop.totalSteps, expected)) return;
  if (expected.rows === 0) return;
  onNotice(
    `${path} is missing: its rows up to step ${loop.totalSteps} are lost; the run continues without them.`,
  );
}

const digestSchema = z.object({ rows: z.int().min(0), checksum: z.int().min(0) });

/** The name of a tensor in a checkpoint: `firstMoment/conv1.weight`. */
const tensorName = (moment: MomentName, parameter: string): string => `${moment}/${parameter}`;

/** `info` is `model.info`: what is needed to use the weights. */
export function toCheckpoint(snapshot: Snapshot, info?: ModelInfo): Checkpoint {
  checkArgument(
    'toCheckpoint',
    'snapshot',
    snapshot,
    ['loop', 'state'],
    'a snapshot, as callbacks receive it',
  );
  const { loop, state } = snapshot;
  const training = new Map<string, Weight>();
  for (const moment of momentNames) {
    for (const [parameter, values] of state.moments[moment] ?? []) {
      training.set(tensorName(moment, parameter), values);
    }
  }
  return { weights: state.weights, training, loop, ...(info && { info }) };
}

export function fromCheckpoint(checkpoint: Checkpoint): Snapshot {
  const what = 'a checkpoint, as readCheckpoint returns it';
  checkArgument('fromCheckpoint', 'checkpoint', checkpoint, ['weights', 'training', 'loop'], what);
  const { weights, training, loop } = checkpoint;
  const moments: Partial<Record<MomentName, Weights>> = {};
  for (const moment of momentNames) {
    const own = [...training].flatMap(([name, values]): [string, Weight][] =>
      name.startsWith(`${moment}/`) ? [[name.slice(moment.length + 1), values]] : [],
    );
    if (own.length > 0) moments[moment] = new Map(own);
  }
  const state: TrainingState = { weights, optimizerSteps: loop.optimizerSteps, moments };
  return { loop, state };
}

/** The weights that a test of this state uses: the moving average, if there is one. */
export function testedWeights({ weights, moments }: TrainingState): Weights {
  return moments.average ? new Map([...weights, ...moments.average]) : weights;
}

/** For the last checkpoint, the previous one, and one that is being written. */
const keptParts = 3;

/** Filters are drawn once per epoch. */
const isDrawn = ({ step, finished }: LoopState): boolean => step === 0 || finished;

const isAt = (part: PartTime, { epoch, step }: LoopState): boolean =>
  part.epoch === epoch && part.step === step;

/** The last status of the run; undefined if the file is missing or damaged. */
export function statusBefore(run: Run): Promise<RunStatus | undefined> {
  return readStatus(run.folder).catch((error: unknown) => {
    if (error instanceof DataError) return undefined;
    throw error;
  });
}

/** Training images of the first batch as the network sees them, for TensorBoard: up to 4 rows of 8. */
async function addImages(events: Awaited<ReturnType<typeof openEvents>>, loader: DataLoader): Promise<void> {
  for await (const { images, shape } of loader.epoch(1)) {
    const [count, channels, height, width] = shape;
    const [across, down] = [Math.min(8, count), Math.min(4, Math.ceil(count / 8))];
    const rgb = new Uint8Array(across * width * down * height * 3);
    const size = channels * height * width;
    for (let i = 0; i < Math.min(across * down, count); i++) {
      const image = images.subarray(i * size, (i + 1) * size);
      // Scale normalized images to what a screen can show.
      const least = image.reduce((a, b) => Math.min(a, b));
      const most = image.reduce((a, b) => Math.max(a, b));
      for (let c = 0; c < 3; c++) {
        for (let y = 0; y < height; y++) {
          for (let x = 0; x < width; x++) {
            const value = image[(Math.min(c, channels - 1) * height + y) * width + x]!;
            const row = Math.floor(i / across) * height + y;
            const column = (i % across) * width + x;
            rgb[(row * across * width + column) * 3 + c] = (255 * (value - least)) / (most - least || 1);
          }
        }
      }
    }
    events.image(0, 'training images', {
      width: across * width,
      height: down * height,
      channels: 3,
      bytes: rgb,
    });
    return;
  }
}
