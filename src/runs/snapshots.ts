/** Between a run's checkpoints and the snapshots of `fit`. */
import * as z from 'zod';
import { type MomentName, momentNames, type TrainingState } from '../engine/backend.ts';
import { DataError } from '../errors.ts';
import type { ModelInfo } from '../model/info.ts';
import type { Weight, Weights } from '../model/layer.ts';
import type { ReadOptions } from '../model/tensor-files.ts';
import { checkArgument } from '../options.ts';
import type { LoopState, Snapshot } from '../train/loop-state.ts';
import { type Checkpoint, lastGoodCheckpointIn, lastGoodWeightsIn } from './checkpoint.ts';
import { type PartTime, type Run, type RunStatus, readStatus, runFiles } from './run-folder.ts';
import { hasRowsIn } from './table.ts';

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
  const last = await lastGoodCheckpointIn(run.files, 'last', onNotice, options);
  if (!last) return undefined;
  await checkMetrics(run, last, onNotice);
  const parts = (await statusBefore(run))?.parts;
  const part = parts?.find((one) => isAt(one, last.loop));
  const timed = part && { seconds: part.seconds, images: part.images };
  const { info } = last;
  const snapshot = { ...fromCheckpoint(last), ...(timed && { timed }), ...(info && { info }) };
  if (run.config.earlyStopping === 0) return snapshot;
  const best = await lastGoodWeightsIn(run.files, 'best', onNotice, options).catch((error: unknown) => {
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
  if (await hasRowsIn(run.files, runFiles.metrics, loop.epoch - 1, loop.totalSteps, expected)) return;
  if (expected.rows === 0) return;
  onNotice(
    `${run.path('metrics')} is missing: its rows up to step ${loop.totalSteps} are lost; the run continues without them.`,
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

/** Whether a time belongs to this position. */
export const isAt = (part: PartTime, { epoch, step }: LoopState): boolean =>
  part.epoch === epoch && part.step === step;

/** The last status of the run; undefined if the file is missing or damaged. */
export function statusBefore(run: Run): Promise<RunStatus | undefined> {
  return readStatus(run.files).catch((error: unknown) => {
    if (error instanceof DataError) return undefined;
    throw error;
  });
}
