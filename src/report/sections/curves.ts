/** The course of training: curves over epochs, and their numbers as a table. */
import { type Change, settingsText } from '../../train/changes.ts';
import type { EpochRecord } from '../../train/records.ts';
import { type Chart, lineChart, type Series } from '../charts.ts';
import { type Section, scroller } from '../document.ts';
import { fixed, grouped, html, percent } from '../markup.ts';
import type { ReportRun } from '../run.ts';
import { type Cell, type Column, table } from '../table.ts';

/** Maximum number of points in a line; more are averaged. */
const mostPoints = 400;

/** One column of the records as a line; no points if no record has it. */
export function seriesOf(
  epochs: readonly EpochRecord[],
  key: keyof EpochRecord,
  name: string,
  color: number,
  dash: number,
): Series {
  const points = epochs.flatMap((record) => {
    const y = record[key];
    return y === undefined ? [] : [{ x: record.epoch, y }];
  });
  return { name, points, color, dash };
}

export function curvesSection({ config, epochs, steps }: ReportRun): Section {
  const { changes = [] } = config;
  const perEpoch = (epochs[0]?.step ?? 0) / (epochs[0]?.epoch ?? 1);
  const marksBy = (unit: number): Chart['marks'] & {} =>
    changes.map((change) => ({ x: change.step / unit, words: settingsText(change) }));
  const line = (key: keyof EpochRecord, name: string, place: number): Series =>
    seriesOf(epochs, key, name, place, place);
  const charts: readonly Chart[] = [
    {
      id: 'chart-loss',
      title: 'Loss (cross-entropy)',
      x: 'epoch',
      y: 'loss',
      fromZero: true,
      series: [
        line('trainLoss', 'training', 0),
        line('validationLoss', 'validation', 2),
        line('testLoss', 'test', 1),
      ],
    },
    {
      id: 'chart-accuracy',
      title: 'Accuracy',
      x: 'epoch',
      y: 'accuracy, %',
      percent: true,
      fromZero: true,
      series: [
        line('trainAccuracy', 'training', 0),
        line('validationAccuracy', 'validation', 2),
        line('testAccuracy', 'test', 1),
        line('testTopFive', 'test, top-5', 3),
      ],
    },
    {
      id: 'chart-steps',
      title: 'Training loss by step',
      x: 'step',
      y: 'loss',
      fromZero: true,
      series: [{ name: 'training', color: 0, dash: 0, points: thinned(steps) }],
    },
    {
      id: 'chart-lr',
      title: 'Learning rate',
      x: 'epoch',
      y: 'learning rate',
      fromZero: true,
      series: [line('lr', 'learning rate', 0)],
    },
    {
      id: 'chart-speed',
      title: 'Speed',
      x: 'epoch',
      y: 'images/s',
      fromZero: true,
      series: [line('imagesPerSecond', 'training', 0)],
    },
  ];
  const marked = charts.map((chart) => ({ ...chart, marks: marksBy(chart.x === 'step' ? 1 : perEpoch) }));
  return {
    id: 'curves',
    title: 'Training',
    body: html`<div class="charts">${marked.map(lineChart)}</div>
${changes.length > 0 && changesNote(changes)}
<p class="note">Training figures are measured on randomly transformed images while the weights change. Test figures are
measured with the weights at the end of the epoch.</p>
<details><summary>Numbers for each epoch</summary>${scroller('Numbers of each epoch', epochTable(epochs))}</details>`,
  };
}

/** What was changed while the run trained. */
const changesNote = (changes: readonly Change[]) =>
  html`<p class="note">Dotted lines mark where settings were changed: ${changes
    .map((change) => `after step ${grouped(change.step)}, ${settingsText(change)}`)
    .join('; ')}.</p>`;

function epochTable(epochs: readonly EpochRecord[]) {
  const validated = epochs.some(({ validationLoss }) => validationLoss !== undefined);
  const columns: readonly Column[] = [
    'Epoch',
    'Learning rate',
    'Training loss',
    'Training accuracy',
    ...(validated ? ['Validation loss', 'Validation accuracy'] : []),
    'Test loss',
    'Test accuracy',
    'Top-5 accuracy',
    'Images/s',
  ].map((title) => ({ title, number: true }));
  const rows = epochs.map((e): readonly Cell[] => [
    e.epoch,
    String(Number(e.lr.toPrecision(4))),
    fixed(e.trainLoss),
    percent(e.trainAccuracy),
    ...(validated ? [fixed(e.validationLoss), percent(e.validationAccuracy)] : []),
    fixed(e.testLoss),
    percent(e.testAccuracy),
    percent(e.testTopFive),
    grouped(e.imagesPerSecond),
  ]);
  return table('Results of each epoch', columns, rows);
}

/** Step losses, averaged down to at most `mostPoints` points. */
function thinned(steps: ReportRun['steps']): Series['points'] {
  const size = Math.max(1, Math.ceil(steps.length / mostPoints));
  return Array.from({ length: Math.ceil(steps.length / size) }, (_, i) => {
    const part = steps.slice(i * size, (i + 1) * size);
    return { x: part.at(-1)!.step, y: part.reduce((sum, { trainLoss }) => sum + trainLoss, 0) / part.length };
  });
}
