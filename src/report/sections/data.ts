/** The images: how many, and their channels before and after normalization. */
import { inputShape } from '../../data/facts.ts';
import { shortName } from '../../data/named.ts';
import { validationCount } from '../../data/split.ts';
import { channelHistograms, channelStatistics } from '../../data/statistics.ts';
import { type Section, scroller } from '../document.ts';
import { histogramsSvg } from '../histograms.ts';
import { grouped, html, raw } from '../markup.ts';
import type { ReportRun } from '../run.ts';
import { table } from '../table.ts';

export function dataSection(run: ReportRun): Section {
  const { config, splits } = run;
  const { train, test } = splits;
  const [channels, height, width] = inputShape(config, train);
  const apart = validationCount(train.length, config.validation);
  const statistics = channelStatistics(train);
  const channel = (index: number): string =>
    channels === 3 ? ['red', 'green', 'blue'][index]! : `channel ${index + 1}`;
  const rows = statistics.mean.map((mean, i) => [channel(i), mean.toFixed(4), statistics.std[i]!.toFixed(4)]);
  const constant = statistics.std.some((std) => !(std > 0));
  return {
    id: 'data',
    title: 'Data',
    body: html`<p>${shortName(config.dataset)}: ${grouped(train.length)} training images${apart > 0 && `, of which ${grouped(apart)} are held out for validation,`} and ${grouped(test.length)} test images of
${channels}×${height}×${width} in ${test.classes.length} classes. ${
      config.normalize
        ? 'Each channel is normalized with the mean and deviation of all training images: x′ = (x − μ) / σ.'
        : 'The network received values scaled to 0–1, without normalization. The histograms show what normalization would do.'
    }</p>
${scroller(
  'Mean and deviation of each channel',
  table(
    'Mean and standard deviation of each channel over all training images, scaled to 0–1',
    [{ title: 'Channel' }, { title: 'μ', number: true }, { title: 'σ', number: true }],
    rows,
  ),
)}
${!constant && scroller('Histograms', raw(histogramsSvg(channelHistograms(train), statistics, { dataset: config.dataset })))}`,
  };
}

/** What a report on photos leaves out, and where to find it. */
export function photosSection({ config, splits }: ReportRun): Section {
  const { train, validation, test } = splits;
  const apart = validation?.length ?? validationCount(train.length, config.validation);
  const left = validation ? train.length : train.length - apart;
  const [, height, width] = inputShape(config, test);
  return {
    id: 'data',
    title: 'Data',
    body: html`<p>${shortName(config.dataset)}: ${grouped(left)} training images${apart > 0 && `, ${grouped(apart)} validation images`} and ${grouped(test.length)} test images in ${test.classes.length} classes. The network sees ${width}×${height} pixels of each.</p>
<p>This report does not contain the network and its explanations, because photos and the networks for them are too large for a page. To classify photos, use <code>vgg predict</code>; with <code>--cam</code> it shows where the evidence is.</p>`,
  };
}
