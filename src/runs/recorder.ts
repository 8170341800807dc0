/**
 * Records a training: a `Callback` of `fit` that writes a run folder's metrics, events and checkpoints.
 * Rows reach the disk before the checkpoint that follows them, so a run that resumes from it has every row once.
 */
import type { DataLoader } from '../data/loader.ts';
import { batchRaster, filterRaster, firstFilters } from '../images/rasters.ts';
import type { Weights } from '../model/layer.ts';
import { checkOptions } from '../options.ts';
import type { Callback } from '../train/fit.ts';
import type { LoopState, Snapshot } from '../train/loop-state.ts';
import type { Model } from '../train/model.ts';
import type { EpochRecord } from '../train/records.ts';
import type { StepEvent } from '../train/reporters.ts';
import { fixed, percent } from '../words.ts';
import { type Checkpoint, writeCheckpointIn } from './checkpoint.ts';
import type { RunState } from './records.ts';
import { type PartTime, type Run, type RunStatus, runFiles } from './run-folder.ts';
import { isAt, statusBefore, testedWeights, toCheckpoint } from './snapshots.ts';
import {
  digestOf,
  type MetricsRow,
  type MetricsTable,
  openMetricsIn,
  type RowsDigest,
  truncateAfterIn,
} from './table.ts';
import { type EventWriter, openEventsIn } from './tensorboard.ts';

const filterColumns = 8;
/** Between two writes of rows. */
const flushMilliseconds = 1000;

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
  const { resumed, left, from } = options;
  const before = await statusBefore(run);
  // A resumed epoch writes its row at its end; the partial epoch of a finished training keeps its row.
  const { epoch = 1, step = 0, totalSteps: done = 0 } = from?.loop ?? {};
  const { files } = run;
  if (resumed) await truncateAfterIn(files, runFiles.metrics, !left && step > 0 ? epoch : epoch - 1, done);
  const table = await openMetricsIn(files, runFiles.metrics);
  // Without a checkpoint everything is written again, including the images before the first step.
  const events = await openEventsIn(files, resumed ? { startStep: from ? done + 1 : 0 } : {}).catch(
    async (error: unknown) => {
      await table.close();
      throw error;
    },
  );
  const recorder = new RunRecorder(run, options, table, events, before);
  try {
    await recorder.start();
  } catch (error) {
    await Promise.allSettled([table.close(), events.close()]);
    throw error;
  }
  return { callback: recorder.callback, close: (state, reason) => recorder.close(state, reason) };
}

class RunRecorder {
  readonly callback: Callback;
  readonly #run: Run;
  readonly #options: RecorderOptions;
  readonly #table: MetricsTable;
  readonly #events: EventWriter;
  readonly #begun = performance.now();
  /** Seconds of the run before this process. */
  readonly #secondsBefore: number;
  #rows: MetricsRow[] = [];
  /** When rows were last written between checkpoints, in `performance.now()` milliseconds. */
  #written = performance.now();
  #writing: Promise<void> = Promise.resolve();
  /** Of the rows that a resume from the next checkpoint keeps; the row of a partial epoch is written again. */
  #digest: RowsDigest;
  #parts: readonly PartTime[];
  #position: { readonly epoch: number; readonly step: number };
  /** The step of the newest filters. */
  #drawn: number | undefined;

  constructor(
    run: Run,
    options: RecorderOptions,
    table: MetricsTable,
    events: EventWriter,
    before: RunStatus | undefined,
  ) {
    const { from } = options;
    this.#run = run;
    this.#options = options;
    this.#table = table;
    this.#events = events;
    this.#secondsBefore = before?.seconds ?? 0;
    this.#digest = table.digest;
    this.#parts = (from && before?.parts) ?? [];
    this.#position = { epoch: from?.loop.epoch ?? 1, step: from?.loop.totalSteps ?? 0 };
    this.#drawn = from && isDrawn(from.loop) ? from.loop.totalSteps : undefined;
    this.callback = {
      step: (event) => this.#step(event),
      epoch: ({ epochs: _, ...record }) => this.#epoch(record),
      checkpoint: (snapshot) => this.#checkpoint(snapshot),
      best: (snapshot) => this.#write('best', toCheckpoint(snapshot, this.#options.model.info)),
    };
  }

  /** Writes what is known before the first step. */
  async start(): Promise<void> {
    const { model, trainLoader, from } = this.#options;
    await this.#writeStatus('running');
    if (from) return;
    for await (const batch of trainLoader.epoch(1)) {
      this.#events.image(0, 'training images', batchRaster(batch, 8, 4));
      break;
    }
    this.#addFilters(0, await model.weights());
    await this.#events.flush();
  }

  async close(state: RunState, reason?: string): Promise<void> {
    try {
      await this.#flush();
    } finally {
      await this.#table.close();
      await this.#events.close();
      await this.#writeStatus(state, reason);
    }
    await this.#run.log(reason === undefined ? state : `${state}: ${reason}`);
  }

  #step({ epoch, step, steps, loss, lr }: StepEvent): void {
    this.#position = { epoch, step: (epoch - 1) * steps + step };
    if (step % this.#options.stepInterval !== 0) return;
    this.#rows.push({ kind: 'step', ...this.#position, lr, trainLoss: loss });
    this.#events.scalars(this.#position.step, { 'step/loss': loss, 'step/lr': lr });
    const now = performance.now();
    if (now - this.#written < flushMilliseconds) return;
    this.#written = now;
    // Who follows the file sees the rows soon. What fails here is tried again, and reported, at the next checkpoint.
    this.#writeRows().catch(() => undefined);
  }

  async #epoch(record: EpochRecord): Promise<void> {
    this.#rows.push({ kind: 'epoch', ...record });
    this.#events.scalars(record.step, scalarsOf(record));
    await this.#flush();
    await this.#writeStatus('running');
    await this.#run.log(logLine(record));
  }

  async #checkpoint(snapshot: Snapshot): Promise<void> {
    const { loop, state, timed } = snapshot;
    // Only here, where the weights are at hand.
    if (isDrawn(loop)) this.#addFilters(loop.totalSteps, testedWeights(state));
    await this.#flush();
    await this.#table.sync();
    if (loop.step > 0 && timed) {
      const part = { epoch: loop.epoch, step: loop.step, ...timed };
      this.#parts = [...this.#parts.filter((known) => !isAt(known, loop)), part].slice(-keptParts);
      // Before the checkpoint, so that the time of every existing checkpoint is known.
      await this.#writeStatus('running');
    }
    const extra = { metrics: { ...this.#digest } };
    await this.#write('last', { ...toCheckpoint(snapshot, this.#options.model.info), extra });
  }

  /** Writes a checkpoint after checking that the folder is still this run's. */
  async #write(file: 'last' | 'best', checkpoint: Checkpoint): Promise<void> {
    await this.#run.requireOwn(['config', 'metrics']);
    await writeCheckpointIn(this.#run.files, runFiles[file], checkpoint);
  }

  async #flush(): Promise<void> {
    await this.#writeRows();
    await this.#events.flush();
  }

  /** Writes the rows that wait, after those that are being written. */
  #writeRows(): Promise<void> {
    this.#writing = this.#writing.catch(() => undefined).then(() => this.#appendRows());
    return this.#writing;
  }

  async #appendRows(): Promise<void> {
    const waiting = this.#rows;
    this.#rows = [];
    try {
      await this.#table.append(waiting);
    } catch (error) {
      this.#rows = [...waiting, ...this.#rows];
      throw error;
    }
    const { length } = this.#options.trainLoader;
    const kept = waiting.filter(({ kind, step }) => kind === 'step' || step % length === 0);
    this.#digest = digestOf(kept, this.#digest);
  }

  #writeStatus(state: RunState, reason?: string): Promise<void> {
    return this.#run.writeStatus({
      state,
      ...(reason !== undefined && { reason }),
      ...this.#position,
      seconds: this.#secondsBefore + (performance.now() - this.#begun) / 1000,
      ...(this.#parts.length > 0 && { parts: this.#parts }),
    });
  }

  /** Adds an image of the first layer's filters after `step` steps. */
  #addFilters(step: number, weights: Weights): void {
    if (step === this.#drawn) return;
    this.#drawn = step;
    const first = firstFilters(this.#options.model.network, weights);
    if (!first) return;
    this.#events.image(step, `filters of ${first.layer}`, filterRaster(first.weight, filterColumns));
  }
}

/** For the last checkpoint, the previous one, and one that is being written. */
const keptParts = 3;

/** Filters are drawn once per epoch. */
const isDrawn = ({ step, finished }: LoopState): boolean => step === 0 || finished;

/** An epoch in TensorBoard. */
function scalarsOf(record: EpochRecord): Readonly<Record<string, number>> {
  const { validationLoss, validationAccuracy } = record;
  return {
    'loss/train': record.trainLoss,
    'loss/test': record.testLoss,
    'accuracy/train': record.trainAccuracy,
    'accuracy/test': record.testAccuracy,
    'accuracy/test top 5': record.testTopFive,
    ...(validationLoss !== undefined && { 'loss/validation': validationLoss }),
    ...(validationAccuracy !== undefined && { 'accuracy/validation': validationAccuracy }),
    'learning rate': record.lr,
    'images per second': record.imagesPerSecond,
  };
}

/** An epoch in `log.txt`. */
function logLine(record: EpochRecord): string {
  const { epoch, trainLoss, validationLoss, validationAccuracy, testLoss, testAccuracy } = record;
  const validation =
    validationLoss === undefined
      ? ''
      : `validation loss ${fixed(validationLoss)}, validation accuracy ${percent(validationAccuracy)}, `;
  return (
    `epoch ${epoch}: train loss ${fixed(trainLoss)}, ${validation}` +
    `test loss ${fixed(testLoss)}, test accuracy ${percent(testAccuracy)}`
  );
}
