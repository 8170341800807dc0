/** The images: how many, and their channels before and after normalization. */
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
  const apart = validationCount(train.length, config.validation);
  const statistics = channelStatistics(train);
  const channel = (index: number): string =>
    train.shape[0] === 3 ? ['red', 'green', 'blue'][index]! : `channel ${index + 1}`;
  const rows = statistics.mean.map((mean, i) => [channel(i), mean.toFixed(4), statistics.std[i]!.toFixed(4)]);
  const [channels, height, width] = train.shape;
  const constant = statistics.std.some((std) => !(std > 0));
  return {
    id: 'data',
    title: 'Data',
    body: html`<p>${config.dataset}: ${grouped(train.length)} training images${apart > 0 && `, of which ${grouped(apart)} are held out for validation,`} and ${grouped(test.length)} test images of
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
