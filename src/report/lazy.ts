/**
 * Reports for programs: what draws them (Observable Plot, linkedom, the bundle of the page) is loaded by the first
 * call, not by an import of the library.
 */
import type { DatasetSplits } from '../data/dataset.ts';
import type { ReportOptions, ReportRun } from './report.ts';

/** A report's place and the data set's, besides `ReportOptions`. */
export interface ReportRunsOptions extends ReportOptions {
  /** Folder or archive with the files of CIFAR, where they are elsewhere than in training. */
  readonly data?: string;
  /** The runs' data set, where it is at hand: it is not read again. */
  readonly splits?: DatasetSplits;
  /** The first run's `report.html` by default. */
  readonly out?: string;
}

/**
 * One HTML file on the runs in these folders; several are compared. Yields its path.
 * @throws DataError where a run has no tested weights yet or is damaged, VggError where the file cannot be written.
 */
export async function reportRuns(
  folders: readonly string[],
  options: ReportRunsOptions = {},
): Promise<string> {
  return (await import('./from-run.ts')).reportRuns(folders, options);
}

/**
 * The report as HTML, for runs that are in memory.
 * @throws UsageError without runs, or where a run's weights and data set do not fit its network.
 */
export async function buildReport(runs: readonly ReportRun[], options: ReportOptions = {}): Promise<string> {
  return (await import('./report.ts')).buildReport(runs, options);
}

/** Writes the report whole or not at all. @throws VggError where the file cannot be written. */
export async function writeReport(
  path: string,
  runs: readonly ReportRun[],
  options: ReportOptions = {},
): Promise<void> {
  return (await import('./report.ts')).writeReport(path, runs, options);
}
