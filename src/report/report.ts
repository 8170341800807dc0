/**
 * The report of a training: one HTML file that needs nothing else, with curves, network, results, explanations and the
 * network itself, which classifies images in the page (Node only). Several runs are compared, and the best one is
 * reported in full.
 */

import { shortName } from '../data/named.ts';
import { isStored } from '../data/stored.ts';
import { UsageError } from '../errors.ts';
import { writeWhole } from '../files/files.ts';
import { packHalves } from '../model/half.ts';
import { modelName } from '../model/models.ts';
import { checkPath } from '../paths.ts';
import { page, type Section } from './document.ts';
import { spoken } from './markup.ts';
import { measure } from './measure.ts';
import type { PageData } from './page-data.ts';
import { pageScript } from './page-script.ts';
import { confusionMatrix, groupsOf } from './predictions.ts';
import { bestAccuracy, type ReportOptions, type ReportRun } from './run.ts';
import { comparisonSections } from './sections/comparison.ts';
import { curvesSection } from './sections/curves.ts';
import { dataSection, photosSection } from './sections/data.ts';
import { explanationSection } from './sections/explanations.ts';
import { networkSection } from './sections/network.ts';
import { resultsSection } from './sections/results.ts';
import { setupSection } from './sections/setup.ts';
import { summarySection } from './sections/summary.ts';
import { trySection } from './sections/try.ts';

/**
 * The report as HTML.
 * @throws UsageError without runs, or if a run's weights or data set do not fit its network.
 */
export async function buildReport(runs: readonly ReportRun[], options: ReportOptions = {}): Promise<string> {
  if (runs.length === 0) throw new UsageError('a report needs at least one run; name a run folder');
  const run = runs.reduce((a, b) => ((bestAccuracy(b) ?? -1) > (bestAccuracy(a) ?? -1) ? b : a));
  const { test } = run.splits;
  const isBrief = options.brief || isStored(test);
  const script = pageScript(isBrief ? 'plain' : 'main');
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
    ...(isStored(test) && !options.brief ? [photosSection(run)] : []),
    setupSection(run),
  ];
  const names = runs.map(({ name }) => name).join(', ');
  const content = {
    title: `${names}: ${modelName(run.config.model)} on ${shortName(run.config.dataset)}`,
    sections,
    script: await script,
  };
  if (isBrief || isStored(test)) return page(content);
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
