/**
 * The reports of a study (Node only). Each finished trial gets a short report in its run folder, which its worker makes in
 * seconds. At the end, the study gets its own report, and the best trial a full one that includes the network.
 */
import type { DatasetSplits } from '../data/dataset.ts';
import type { AnyDataset } from '../data/stored.ts';
import { VggError } from '../errors.ts';
import { reportRuns } from '../report/lazy.ts';
import type { StudyFolder } from './folder.ts';
import { goneWorkers } from './heartbeat.ts';
import { attributes } from './lineage.ts';
import { parseTime } from './records.ts';
import type { FrozenTrial } from './replay.ts';
import type { Study } from './study.ts';

export interface TrialReportOptions {
  readonly threads?: number | undefined;
  /** The trial's images, if they are loaded. */
  readonly splits?: DatasetSplits<AnyDataset> | undefined;
  readonly onNotice: (line: string) => void;
}

/** The study's attribute with the number of the trial that has a full report. */
const reportedAttribute = 'vgg:reported';

/** Writes a trial's short report. */
export async function reportTrial(
  folder: StudyFolder,
  trial: FrozenTrial,
  options: TrialReportOptions,
): Promise<void> {
  if (!folder.settings.report) return;
  await attempt(options, async () => void (await reportOn(folder, trial, true, options)));
}

/**
 * Writes the reports of a study with nothing left to do. The worker that ended the last trial does it, or any other if
 * that worker is gone. If several workers find nothing left, only one writes them.
 */
export async function reportEnd(
  folder: StudyFolder,
  study: Study,
  worker: string,
  options: TrialReportOptions,
): Promise<void> {
  if (!folder.settings.report) return;
  const ends = study.trials.map(({ completed }) => parseTime(completed)?.getTime() ?? 0);
  const last = study.trials[ends.lastIndexOf(ends.reduce((latest, end) => Math.max(latest, end), 0))];
  const owner = last?.userAttrs[attributes.worker];
  const isGone = goneWorkers(folder.path('workers'));
  if (owner !== worker && !(typeof owner === 'string' && isGone(owner))) return;
  await attempt(options, async () => {
    const { reportStudy } = await import('./report.ts');
    await reportStudy(folder);
    const best = study.bestTrial;
    if (!best || study.userAttrs[reportedAttribute] === best.number) return;
    await reportOn(folder, best, false, options);
    await study.setUserAttr(reportedAttribute, best.number);
  });
}

function reportOn(
  folder: StudyFolder,
  { number, params }: FrozenTrial,
  brief: boolean,
  { threads, splits, onNotice }: TrialReportOptions,
): Promise<string> {
  const { device } = folder.configOf(params);
  return reportRuns([folder.runOf(number)], {
    device,
    brief,
    onProgress: onNotice,
    ...(threads !== undefined && { threads }),
    ...(splits && { splits }),
  });
}

/** A report that cannot be written is noted; it does not fail the search. */
async function attempt({ onNotice }: TrialReportOptions, make: () => Promise<void>): Promise<void> {
  try {
    await make();
  } catch (error) {
    if (!(error instanceof VggError)) throw error;
    onNotice(`Could not write the report: ${error.message}`);
  }
}
