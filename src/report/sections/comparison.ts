/** Several runs side by side: results, options that differ, and curves in shared charts. */
import { computedBy, dataSetWarning } from '../../runs/records.ts';
import { type TrainConfig, trainOptions } from '../../train/config-table.ts';
import { bestEpoch } from '../../train/records.ts';
import { type Chart, lineChart } from '../charts.ts';
import { type Section, scroller } from '../document.ts';
import { duration, fixed, grouped, html, percent } from '../markup.ts';
import type { ReportRun } from '../run.ts';
import { type Cell, table } from '../table.ts';
import { seriesOf } from './curves.ts';
import { showValue } from './setup.ts';

export function comparisonSections(runs: readonly ReportRun[], best: ReportRun): readonly Section[] {
  const overlaid = (
    id: string,
    title: string,
    y: string,
    key: Parameters<typeof seriesOf>[1],
    percentage = false,
  ): Chart => ({
    id: `compare-${id}`,
    title,
    x: 'epoch',
    y,
    fromZero: true,
    percent: percentage,
    series: runs.map((run, i) => seriesOf(run.epochs, key, run.name, i, i)),
  });
  const charts = [
    overlaid('accuracy', 'Test accuracy', 'accuracy, %', 'testAccuracy', true),
    overlaid('test', 'Test loss', 'loss', 'testLoss'),
    overlaid('train', 'Training loss', 'loss', 'trainLoss'),
    overlaid('lr', 'Learning rate', 'learning rate', 'lr'),
  ];
  const warning = dataSetWarning(runs.map(({ config }) => config));
  return [
    {
      id: 'comparison',
      title: 'Comparison',
      body: html`${warning !== undefined && html`<p><strong>${warning}</strong></p>`}<h3>Results</h3>${scroller('Results of all runs', resultsTable(runs, best))}
<h3>Different options</h3>${differences(runs)}
<h3>Curves</h3><div class="charts">${charts.map(lineChart)}</div>
<p class="note">The rest of this report covers ${best.name}, the run with the highest test accuracy.</p>`,
    },
  ];
}

/** All figures of a run are those of one epoch, its best one. */
function resultsTable(runs: readonly ReportRun[], best: ReportRun) {
  const validated = runs.some(({ epochs }) => bestEpoch(epochs)?.validationAccuracy !== undefined);
  const share = (value: number | undefined): Cell => ({ show: percent(value), value });
  const loss = (value: number | undefined): Cell => ({ show: fixed(value), value });
  const rows = runs.map((run): readonly Cell[] => {
    const [chosen, last] = [bestEpoch(run.epochs), run.epochs.at(-1)];
    const seconds = run.epochs.reduce((sum, { trainSeconds }) => sum + trainSeconds, 0);
    return [
      run === best ? html`<strong>${run.name}</strong> (best)` : run.name,
      { show: chosen?.epoch ?? '–', value: chosen?.epoch },
      ...(validated ? [share(chosen?.validationAccuracy)] : []),
      share(chosen?.testAccuracy),
      share(chosen?.testTopFive),
      loss(chosen?.testLoss),
      { show: last?.epoch ?? 0, value: last?.epoch ?? 0 },
      { show: duration(seconds), value: seconds },
      { show: last ? grouped(last.imagesPerSecond) : '–', value: last?.imagesPerSecond },
      computedBy(run.environment, last?.step ?? 0),
    ];
  });
  const columns = [
    { title: 'Run' },
    { title: 'Best epoch', number: true },
    ...(validated ? [{ title: 'Validation accuracy', number: true }] : []),
    { title: 'Test accuracy', number: true },
    { title: 'Top-5 accuracy', number: true },
    { title: 'Test loss', number: true },
    { title: 'Epochs', number: true },
    { title: 'Training', number: true },
    { title: 'Images/s', number: true },
    { title: 'Device' },
  ];
  return table('Each run at its best epoch, as tested during training', columns, rows, { sortable: true });
}

function differences(runs: readonly ReportRun[]) {
  const keys = (Object.keys(trainOptions) as (keyof TrainConfig)[]).filter(
    (key) => new Set(runs.map(({ config }) => JSON.stringify(config[key]))).size > 1,
  );
  if (keys.length === 0) return html`<p>All runs have the same options.</p>`;
  const rows = keys.map((key): readonly Cell[] => [
    key,
    ...runs.map(({ config }) => showValue(config[key]) || '–'),
  ]);
  const columns = [{ title: 'Option' }, ...runs.map(({ name }) => ({ title: name }))];
  return scroller('Options that differ', table('Options with different values', columns, rows));
}
