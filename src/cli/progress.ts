/**
 * How `vgg train` shows its progress: a bar on a terminal, the lecture's lines elsewhere, one JSON object per line
 * with --json. All three receive the same events.
 */
import type { DatasetSplits } from '../data/dataset.ts';
import type { DataLoader } from '../data/loader.ts';
import type { AnyDataset } from '../data/stored.ts';
import { type Change, settingsText } from '../train/changes.ts';
import type { TrainConfig } from '../train/config-table.ts';
import type { FitResult } from '../train/fit.ts';
import { lastStep } from '../train/length.ts';
import { type LoopState, placeOf } from '../train/loop-state.ts';
import type { Model } from '../train/model.ts';
import { choosingMetric } from '../train/records.ts';
import {
  accuracyLine,
  type EpochEvent,
  epochLine,
  lectureLines,
  type Reporter,
  type StepEvent,
} from '../train/reporters.ts';
import { grouped, percent } from '../words.ts';
import { note, print, printJson, secondsLeft, wrap } from './output.ts';

export interface StartEvent {
  readonly model: Model;
  readonly splits: DatasetSplits<AnyDataset>;
  readonly trainLoader: DataLoader;
  readonly config: TrainConfig;
  /** The run's folder. */
  readonly run: string | undefined;
  /** Where a resumed run continues. */
  readonly from: LoopState | undefined;
}

export interface EndEvent {
  readonly last: EpochEvent;
  readonly reason: FitResult['reason'];
  readonly best: FitResult['best'];
  readonly saved: string | undefined;
  readonly run: string | undefined;
}

/** A reporter of a whole run. */
export interface Progress extends Reporter {
  start(event: StartEvent): void;
  /** Settings changed. */
  change(change: Change): void;
  /** A pause took effect, or ended, after so many steps of the whole training. */
  pause(event: { readonly paused: boolean; readonly step: number }): void;
  end(event: EndEvent): void;
  /** Tidies up the screen when a run is interrupted. */
  interrupt(event: {
    readonly epoch: number;
    readonly step: number;
    readonly saved: string | undefined;
    readonly run: string | undefined;
  }): void;
}

export function progressFor(json: boolean): Progress {
  if (json) return jsonStream();
  return process.stdout.isTTY ? bar(process.stdout) : lines();
}

function jsonStream(): Progress {
  let logEvery = 1;
  return {
    start({ model, splits, trainLoader, config, run = null, from }) {
      ({ logEvery } = config);
      printJson({
        event: 'start',
        model: model.network.name,
        dataset: splits.train.name,
        trainImages: trainLoader.dataset.length,
        testImages: splits.test.length,
        parameters: model.network.parameterCount,
        device: model.device,
        description: model.description,
        threads: model.threads,
        seed: config.seed,
        run,
        ...(from && { from: { epoch: from.epoch, step: from.step } }),
      });
    },
    step({ epoch, step, loss }) {
      if (step % logEvery === 0) printJson({ event: 'step', epoch, step, loss });
    },
    epoch({ epochs: _, ...event }) {
      printJson({ event: 'epoch', ...event });
    },
    change: (change) => printJson({ event: 'change', ...change }),
    pause: (event) => printJson({ event: 'pause', ...event }),
    end({ last, reason, best: chosen, saved = null, run = null }) {
      const { validationLoss, validationAccuracy, testLoss, testAccuracy, testTopFive } = last;
      const best = chosen && { ...chosen, metric: choosingMetric(last).metric };
      printJson({
        ...{ event: 'end', reason, validationLoss, validationAccuracy },
        ...{ testLoss, testAccuracy, testTopFive, best, saved, run },
      });
    },
    interrupt({ epoch, step, saved = null, run = null }) {
      printJson({ event: 'end', reason: 'interrupted', epoch, step, saved, run });
    },
  };
}

function lines(): Progress {
  let reporter: Reporter = lectureLines({ print });
  return {
    start(event) {
      note(startLine(event));
      reporter = lectureLines({ print, logEvery: event.config.logEvery });
    },
    step: (event) => reporter.step(event),
    epoch: (event) => reporter.epoch(event),
    change: (change) => note(changeLine(change)),
    pause: (event) => note(pauseLine(event)),
    end: printEnd,
    interrupt: () => undefined,
  };
}

/** The part of a terminal that a bar uses. */
export interface Terminal {
  readonly columns?: number;
  write(text: string): unknown;
}

const redrawMilliseconds = 80;
/** The bar's largest width in columns. */
const barWidth = 24;
const clearLine = '\r\x1b[2K';

/** Redraws one line: epoch, step, loss, images/s, time left. Finished epochs stay above it. */
export function bar(terminal: Terminal, now: () => number = () => performance.now()): Progress {
  let batchSize = 0;
  let begun = 0;
  let epochBegun = 0;
  /** Steps of the whole training, and those done before this process started, in total and in the epoch. */
  let totalSteps = 0;
  let before = 0;
  let beforeInEpoch = 0;
  let drawn = -Infinity;
  let paused = 0;
  const clear = (): unknown => terminal.write(clearLine);
  return {
    start(event) {
      note(startLine(event));
      begun = now();
      epochBegun = begun;
      ({ batchSize } = event.config);
      totalSteps = lastStep({ ...event.config, stepsPerEpoch: event.trainLoader.length });
      before = event.from?.totalSteps ?? 0;
      beforeInEpoch = event.from?.step ?? 0;
    },
    step(event) {
      const time = now();
      if (time - drawn < redrawMilliseconds && event.step < event.steps) return;
      drawn = time;
      const done = (event.epoch - 1) * event.steps + event.step;
      const figures = {
        imagesPerSecond: ((event.step - beforeInEpoch) * batchSize * 1000) / (time - epochBegun),
        left: secondsLeft(done - before, totalSteps - done, time - begun),
      };
      // The last column stays free: some terminals would wrap.
      terminal.write(clearLine + barLine(event, figures, (terminal.columns ?? 80) - 1));
    },
    epoch(event: EpochEvent) {
      clear();
      terminal.write(`${wrap(epochLine(event), terminal.columns ?? 80)}\n`);
      epochBegun = now();
      beforeInEpoch = 0;
    },
    change(change) {
      clear();
      note(changeLine(change));
    },
    pause(event) {
      clear();
      note(pauseLine(event));
      if (event.paused) paused = now();
      else {
        // Speed and time left are those of training.
        begun += now() - paused;
        epochBegun += now() - paused;
      }
    },
    end: printEnd,
    interrupt: clear,
  };
}

/** The bar takes the columns that the figures leave; without room for all figures, the last ones are left out. */
function barLine(
  { epoch, epochs, step, steps, loss }: StepEvent,
  { imagesPerSecond, left }: { readonly imagesPerSecond: number; readonly left: number | undefined },
  columns: number,
): string {
  const before = `Epoch [${epoch}/${epochs}] `;
  const figures = [
    ` step [${step}/${steps}]`,
    `  Loss: ${loss.toFixed(4)}`,
    `  ${grouped(imagesPerSecond)} images/s`,
    ...(left === undefined ? [] : [`  ${clock(left)} left`]),
  ];
  while (figures.length > 1 && before.length + figures.join('').length > columns) figures.pop();
  const after = figures.join('');
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

function startLine({ model, splits, trainLoader, config, run, from }: StartEvent): string {
  const { train, test } = splits;
  const line =
    `${model.network.name}, ${grouped(model.network.parameterCount)} parameters, on ${train.name}: ` +
    `${grouped(trainLoader.dataset.length)} training and ${grouped(test.length)} test images; ` +
    `${model.description}; seed ${config.seed}`;
  if (run === undefined) return line;
  return `${line}\nRun: ${run}${from ? `, resumed ${placeOf(from)}` : ''}`;
}

const changeLine = (change: Change): string => `After step ${grouped(change.step)}: ${settingsText(change)}`;

const pauseLine = ({ paused, step }: { readonly paused: boolean; readonly step: number }): string =>
  `${paused ? 'Paused' : 'Continued'} after step ${grouped(step)}`;

function printEnd({ last, reason, best, saved, run }: EndEvent): void {
  if (saved !== undefined) note(`The weights are in ${saved}.`);
  if (reason === 'earlyStopped') {
    note(`Stopped early: no improvement since epoch ${best?.epoch}. Its weights were restored.`);
  }
  if (run !== undefined && best) {
    const { words } = choosingMetric(last);
    note(`Best epoch: ${best.epoch}, ${words} ${percent(best.value)}, in ${run}/best.safetensors`);
  }
  print(accuracyLine(last.testAccuracy));
}
