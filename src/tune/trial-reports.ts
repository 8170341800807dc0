/**
 * What a study leaves to read (Node only): a brief report in the run folder of each trial that ended, made by its worker
 * in seconds, and at the end the study's own and the best trial's whole one, with the network in it.
 */
import type { DatasetSplits } from '../data/dataset.ts';
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
  /** The trial's pictures, where they are at hand. */
  readonly splits?: DatasetSplits | undefined;
  readonly onNotice: (line: string) => void;
}

/** The study's attribute with the number of the trial that has a whole report. */
const reportedAttribute = 'vgg:reported';

/** A trial's brief report. */
export async function reportTrial(
  folder: StudyFolder,
  trial: FrozenTrial,
  options: TrialReportOptions,
): Promise<void> {
  if (!folder.settings.report) return;
  await attempt(options, async () => void (await reportOn(folder, trial, true, options)));
}

/**
 * The reports of a study of which nothing is left. The worker that ended its last trial makes them, or any where that
 * one is gone: of several that find nothing left, one.
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

/** A report that cannot be made is said, and is no failure of the search. */
async function attempt({ onNotice }: TrialReportOptions, make: () => Promise<void>): Promise<void> {
  try {
    await make();
  } catch (error) {
    if (!(error instanceof VggError)) throw error;
    onNotice(`There is no report: ${error.message}`);
  }
}
