/**
 * The report of a training: one HTML file that needs nothing else, with curves, network, results, explanations and the
 * network itself, which classifies images in the page (Node only). Several runs are compared, and the best one is
 * reported in full.
 */

import type { DatasetSplits } from '../data/dataset.ts';
import type { DeviceName } from '../engine/backend.ts';
import { UsageError } from '../errors.ts';
import { writeWhole } from '../files/files.ts';
import { packHalves } from '../model/half.ts';
import type { Weights } from '../model/layer.ts';
import { checkPath } from '../paths.ts';
import type { RunEnvironment } from '../runs/records.ts';
import type { TrainConfig } from '../train/config-table.ts';
import { bestEpoch, type EpochRecord, type StepRecord } from '../train/records.ts';
import { page, type Section } from './document.ts';
import { spoken } from './markup.ts';
import { measure } from './measure.ts';
import type { PageData } from './page-data.ts';
import { pageScript } from './page-script.ts';
import { confusionMatrix, groupsOf } from './predictions.ts';
import { comparisonSections } from './sections/comparison.ts';
import { curvesSection } from './sections/curves.ts';
import { dataSection } from './sections/data.ts';
import { explanationSection } from './sections/explanations.ts';
import { networkSection } from './sections/network.ts';
import { resultsSection } from './sections/results.ts';
import { setupSection } from './sections/setup.ts';
import { summarySection } from './sections/summary.ts';
import { trySection } from './sections/try.ts';

/** One training, as its run folder and its data set tell it. */
export interface ReportRun {
  readonly name: string;
  readonly config: TrainConfig;
  readonly environment: RunEnvironment;
  readonly epochs: readonly EpochRecord[];
  readonly steps: readonly StepRecord[];
  /** The best ones: those that are reported. */
  readonly weights: Weights;
  readonly splits: DatasetSplits;
  /** Where a training step's time goes, where it was measured. The rest is no layer's. */
  readonly timeShares?: readonly TimeShare[];
}

/** Layers that are computed together, and their share of a training step's time, 0–1. */
export interface TimeShare {
  readonly layers: readonly string[];
  readonly share: number;
}

export interface ReportOptions {
  /** What evaluates the network for the report; the fastest by default. */
  readonly device?: DeviceName;
  /** Its threads; all by default. */
  readonly threads?: number;
  /** Leaves out the network itself, what it sees, and the data: small, and made in seconds. */
  readonly brief?: boolean;
  /** Told what is being done, a line each. */
  readonly onProgress?: (line: string) => void;
}

/** Test accuracy of a run's best epoch, selected as `fit` does; undefined before the first epoch. */
export function bestAccuracy({ epochs }: ReportRun): number | undefined {
  return bestEpoch(epochs)?.testAccuracy;
}

/**
 * The report as HTML.
 * @throws UsageError without runs, or if a run's weights or data set do not fit its network.
 */
export async function buildReport(runs: readonly ReportRun[], options: ReportOptions = {}): Promise<string> {
  if (runs.length === 0) throw new UsageError('a report needs at least one run; name a run folder');
  const script = pageScript(options.brief ? 'plain' : 'main');
  const run = runs.reduce((a, b) => ((bestAccuracy(b) ?? -1) > (bestAccuracy(a) ?? -1) ? b : a));
  const measured = await measure(run, options);
  const sections: Section[] = [
    summarySection(measured, runs.length),
    ...(runs.length > 1 ? comparisonSections(runs, run) : []),
    curvesSection(run),
    networkSection(measured),
    resultsSection(measured),
    ...(measured.insight
      ? [trySection(measured), explanationSection(measured, measured.insight), dataSection(run)]
      : []),
    setupSection(run),
  ];
  const names = runs.map(({ name }) => name).join(', ');
  const content = {
    title: `${names}: ${run.config.model} on ${run.config.dataset}`,
    sections,
    script: await script,
  };
  if (options.brief) return page(content);
  const { test } = run.splits;
  const { tensors, bytes } = packHalves(run.weights);
  const groups = groupsOf(test);
  const data: PageData = {
    network: measured.model,
    input: test.shape,
    classes: test.classes.map(spoken),
    ...(measured.normalization && { normalization: measured.normalization }),
    tensors,
    ...(groups && {
      groups: { names: groups.names.map(spoken), of: groups.of },
      confusion: [...confusionMatrix(measured.full)],
    }),
  };
  return page({
    ...content,
    live: { data, weights: Buffer.from(bytes).toString('base64') },
  });
}

/** Writes the report atomically. @throws VggError if the file cannot be written. */
export async function writeReport(
  path: string,
  runs: readonly ReportRun[],
  options: ReportOptions = {},
): Promise<void> {
  checkPath('writeReport: the file', path);
  await writeWhole(path, await buildReport(runs, options));
}
