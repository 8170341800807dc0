/**
 * How `vgg train` shows its progress: a bar on a terminal, the lecture's lines elsewhere, one JSON object a line
 * with --json. All three hear the same events.
 */
import type { DatasetSplits } from '../data/dataset.ts';
import type { EvaluateResult } from '../engine/backend.ts';
import type { Model } from '../train/model.ts';
import {
  accuracyLine,
  type EpochEvent,
  epochLine,
  lectureLines,
  type Reporter,
  type StepEvent,
} from '../train/reporters.ts';
import { grouped, note, print, printJson } from './output.ts';

export interface StartEvent {
  readonly model: Model;
  readonly splits: DatasetSplits;
  readonly seed: number;
}

export interface EndEvent {
  readonly test: EvaluateResult;
  readonly saved: string | undefined;
}

/** A reporter of a whole run. */
export interface Progress extends Reporter {
  start(event: StartEvent): void;
  end(event: EndEvent): void;
  /** Leaves the screen in order where a run ends before its time. */
  interrupt(event: {
    readonly epoch: number;
    readonly step: number;
    readonly saved: string | undefined;
  }): void;
}

export interface ProgressOptions {
  readonly json: boolean;
  readonly logEvery: number;
  readonly batchSize: number;
  /** Steps of the whole run, for the time left. */
  readonly totalSteps: number;
}

export function progressFor(options: ProgressOptions): Progress {
  if (options.json) return jsonStream(options);
  return process.stdout.isTTY ? bar(options, process.stdout) : lines(options);
}

function jsonStream({ logEvery }: ProgressOptions): Progress {
  return {
    start({ model, splits, seed }) {
      printJson({
        event: 'start',
        model: model.network.name,
        dataset: splits.train.name,
        trainImages: splits.train.length,
        testImages: splits.test.length,
        parameters: model.network.parameterCount,
        device: model.device,
        description: model.description,
        threads: model.threads,
        seed,
      });
    },
    step({ epoch, step, loss }) {
      if (step % logEvery === 0) printJson({ event: 'step', epoch, step, loss });
    },
    epoch({ epochs: _, ...event }) {
      printJson({ event: 'epoch', ...event });
    },
    end({ test, saved = null }) {
      printJson({
        event: 'end',
        reason: 'finished',
        testLoss: test.loss,
        testAccuracy: test.accuracy,
        saved,
      });
    },
    interrupt({ epoch, step, saved = null }) {
      printJson({ event: 'end', reason: 'interrupted', epoch, step, saved });
    },
  };
}

function lines({ logEvery }: ProgressOptions): Progress {
  return {
    ...lectureLines({ print, logEvery }),
    start: (event) => note(startLine(event)),
    end: ({ test, saved }) => printEnd(test, saved),
    interrupt: () => undefined,
  };
}

/** What a bar needs of a terminal. */
export interface Terminal {
  readonly columns?: number;
  write(text: string): unknown;
}

const redrawMilliseconds = 80;
/** The bar's largest width in columns. */
const barWidth = 24;
const clearLine = '\r\x1b[2K';

/** One line that is drawn anew: epoch, step, loss, images/s, time left. Finished epochs stay above it. */
export function bar(
  { batchSize, totalSteps }: Pick<ProgressOptions, 'batchSize' | 'totalSteps'>,
  terminal: Terminal,
  now: () => number = () => performance.now(),
): Progress {
  let begun = 0;
  let epochBegun = 0;
  let drawn = -Infinity;
  const clear = (): unknown => terminal.write(clearLine);
  return {
    start(event) {
      note(startLine(event));
      begun = now();
      epochBegun = begun;
    },
    step(event) {
      const time = now();
      if (time - drawn < redrawMilliseconds && event.step < event.steps) return;
      drawn = time;
      const done = (event.epoch - 1) * event.steps + event.step;
      const figures = {
        imagesPerSecond: (event.step * batchSize * 1000) / (time - epochBegun),
        secondsLeft: ((time - begun) / 1000) * (totalSteps / done - 1),
      };
      // The last column stays free: some terminals would wrap.
      terminal.write(clearLine + barLine(event, figures, (terminal.columns ?? 80) - 1));
    },
    epoch(event: EpochEvent) {
      clear();
      terminal.write(`${epochLine(event)}\n`);
      epochBegun = now();
    },
    end({ test, saved }) {
      printEnd(test, saved);
    },
    interrupt: clear,
  };
}

/** The bar itself takes the room that the figures leave. */
function barLine(
  { epoch, epochs, step, steps, loss }: StepEvent,
  { imagesPerSecond, secondsLeft }: { readonly imagesPerSecond: number; readonly secondsLeft: number },
  columns: number,
): string {
  const before = `Epoch [${epoch}/${epochs}] `;
  const after =
    ` step [${step}/${steps}]  Loss: ${loss.toFixed(4)}  ${grouped(imagesPerSecond)} images/s` +
    `  ${clock(secondsLeft)} left`;
  const width = Math.max(0, Math.min(barWidth, columns - before.length - after.length));
  const filled = Math.round((width * step) / steps);
  return (before + '█'.repeat(filled) + '░'.repeat(width - filled) + after).slice(0, columns);
}

/** Seconds as 0:07, 12:34 or 1:02:03. */
export function clock(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const two = (value: number): string => String(value).padStart(2, '0');
  return hours > 0 ? `${hours}:${two(minutes)}:${two(rest)}` : `${minutes}:${two(rest)}`;
}

function startLine({ model, splits, seed }: StartEvent): string {
  const { train, test } = splits;
  return (
    `${model.network.name}, ${grouped(model.network.parameterCount)} parameters, on ${train.name}: ` +
    `${grouped(train.length)} training and ${grouped(test.length)} test images; ${model.description}; seed ${seed}`
  );
}

function printEnd(test: EvaluateResult, saved: string | undefined): void {
  if (saved !== undefined) note(`The weights are in ${saved}.`);
  print(accuracyLine(test.accuracy));
}
