/**
 * What `vgg train` shows and keeps of one training: its progress, the file of --save, the report, and what an interrupt
 * leaves behind.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { stepsPerEpoch } from '../data/facts.ts';
import { VggError } from '../errors.ts';
import type { SeedCallbacks } from '../runs/series.ts';
import type { TrainingResult } from '../runs/training.ts';
import type { TrainConfig } from '../train/config-table.ts';
import { shellWord } from '../words.ts';
import type { Interruption } from './interrupt.ts';
import { continueWithoutOutput, doing, note } from './output.ts';
import { preparing } from './preparing.ts';
import { progressFor } from './progress.ts';
import { weightSaver } from './weight-saver.ts';

export interface Followed {
  /** The run's folder; undefined with --no-run. */
  readonly folder: string | undefined;
  /** The series that the run belongs to. */
  readonly series?: string | undefined;
  readonly save: string | undefined;
  readonly report: boolean;
  readonly json: boolean;
}

export interface Follower extends Required<Omit<SeedCallbacks, 'control'>> {
  /** The training was interrupted. */
  readonly interrupted: () => void;
}

/** Milliseconds that a start may take to stop. */
const startGrace = 10_000;

/** Follows a training that is about to start. */
export function follow(followed: Followed, interruption: Interruption): Follower {
  const { folder, series, save } = followed;
  const progress = progressFor(followed.json);
  const preparation = preparing();
  const saver = weightSaver({ save, run: folder, resume: series ?? folder }, interruption);
  let position = { epoch: 1, step: 0 };
  if (folder !== undefined || save !== undefined)
    continueWithoutOutput(`Training continues, and ${folder ?? save} keeps its results.`);
  // Until the first step, an interrupt has to remove the new folder.
  interruption.stopsItself = true;
  interruption.graceMilliseconds = startGrace;
  return {
    onPrepare: preparation.progress,
    onStart(training, from) {
      preparation.end();
      saver.begin(training.model);
      if (from) position = from.loop;
      progress.start({ ...training, run: folder, from: from?.loop });
    },
    callbacks: [
      {
        step(event) {
          position = event;
          progress.step(event);
        },
        epoch: (event) => progress.epoch(event),
      },
      saver.callback,
    ],
    async onEnd(result) {
      const { last, reason, best, training } = result;
      await saver.finish(training.model);
      if (!last) {
        note(nothingLeft(result));
        // If only the report was interrupted, write it now.
        const { runFiles } = await import('../runs/folder.ts');
        if (folder === undefined || existsSync(join(folder, runFiles.report))) return;
      } else {
        progress.end({ last, reason, best, saved: save, run: folder });
        interruption.stopsItself = false;
        interruption.kept = whatIsLeft(String(folder), series);
      }
      if (followed.report && folder !== undefined) await writeReport(folder, result);
    },
    interrupted() {
      preparation.end();
      saver.interrupted(position);
      progress.interrupt({ ...position, saved: save, run: folder });
    },
  };
}

/** What a finished run says if nothing was left to do. */
function nothingLeft({ folder, reason, training: { config } }: TrainingResult): string {
  const wayOut =
    reason === 'earlyStopped'
      ? `It stopped early; --init ${shellWord(`${folder}/best.safetensors`)} starts a new run from its best weights`
      : `Raise ${bindingLimits(config)} to train it further`;
  return `${folder} is a finished run. ${wayOut}.`;
}

/** The options that limit the length of a training. */
function bindingLimits(config: TrainConfig): string {
  const { steps = Infinity, epochs } = config;
  const whole = epochs * stepsPerEpoch(config);
  return steps < whole ? '--steps' : steps > whole ? '--epochs' : '--epochs or --steps';
}

/** What an interrupt leaves to do once the training is finished. */
function whatIsLeft(folder: string, series: string | undefined): string {
  const others =
    series === undefined ? '' : `\nContinue the other seeds:\n  vgg train --resume ${shellWord(series)}`;
  return `The run in ${folder} is finished. Write its report:\n  vgg report ${shellWord(folder)}${others}`;
}

/** Writes the report. The run is finished and saved, so a failing report does not fail the training. */
async function writeReport(folder: string, { training }: TrainingResult): Promise<void> {
  const { model, splits, config } = training;
  // Free the workers' memory before the report allocates its own.
  await model.close();
  const progress = doing('Report');
  progress.now('reading the run');
  try {
    const { reportRuns } = await import('../report/from-run.ts');
    const path = await reportRuns([folder], { device: config.device, splits, onProgress: progress.now });
    progress.end();
    note(`Report: ${path}`);
  } catch (error) {
    progress.end();
    if (!(error instanceof VggError)) throw error;
    note(`No report: ${error.message}. Try again:\n  vgg report ${shellWord(folder)}`);
  }
}
