/**
 * Reports for programs. The first call loads what draws them (Observable Plot, linkedom, the page's bundle); importing
 * the library does not.
 */
import { UsageError } from '../errors.ts';
import { checkOptions, type KnownKeys, shown } from '../options.ts';
import type { ReportOptions, ReportRun, ReportRunsOptions } from './run.ts';

const reportKeys: KnownKeys<ReportOptions> = {
  device: 'optional',
  threads: 'optional',
  brief: 'optional',
  onProgress: 'optional',
};

function checkList(where: string, list: unknown): void {
  if (!Array.isArray(list)) throw new UsageError(`${where}: ${shown(list)} is not a list of runs`);
}

/**
 * Writes one HTML file on the runs in these folders; several runs are compared. Returns its path.
 * @throws DataError if a run has no tested weights yet or is damaged, VggError if the file cannot be written.
 */
export async function reportRuns(
  folders: readonly string[],
  options: ReportRunsOptions = {},
): Promise<string> {
  checkList('reportRuns', folders);
  checkOptions<ReportRunsOptions>('reportRuns', options, {
    ...reportKeys,
    data: 'optional',
    splits: 'optional',
    out: 'optional',
  });
  return (await import('./from-run.ts')).reportRuns(folders, options);
}

/**
 * The report as HTML, for runs in memory.
 * @throws UsageError without runs, or if a run's weights or data set do not fit its network.
 */
export async function buildReport(runs: readonly ReportRun[], options: ReportOptions = {}): Promise<string> {
  checkList('buildReport', runs);
  checkOptions<ReportOptions>('buildReport', options, reportKeys);
  return (await import('./report.ts')).buildReport(runs, options);
}

/** Writes the report atomically. @throws VggError if the file cannot be written. */
export async function writeReport(
  path: string,
  runs: readonly ReportRun[],
  options: ReportOptions = {},
): Promise<void> {
  checkList('writeReport', runs);
  checkOptions<ReportOptions>('writeReport', options, reportKeys);
  return (await import('./report.ts')).writeReport(path, runs, options);
}
