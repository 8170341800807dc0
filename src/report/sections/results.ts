/** The results on the test images: confusion matrix, classes, most confused pairs and most confident mistakes. */

import { pngUri } from '../../images/png.ts';
import { sampleRaster } from '../../images/rasters.ts';
import { type Section, scroller } from '../document.ts';
import { grouped, html, type Markup, percent, spoken } from '../markup.ts';
import type { Measured } from '../measure.ts';
import { confusionMatrix, groupMatrix, groupsOf, kept, mostConfident, mostConfused } from '../predictions.ts';
import { type Cell, table } from '../table.ts';

const confusedPairs = 15;
const shownMistakes = 12;

export function resultsSection(measured: Measured): Section {
  const { test } = measured.run.splits;
  const matrix = confusionMatrix(measured.full);
  // A brief report has no script.
  const live = measured.insight !== undefined;
  const groups = groupsOf(test);
  const names = (groups?.names ?? test.classes).map(spoken);
  const shown = groups ? groupMatrix(matrix, groups) : matrix;
  return {
    id: 'results',
    title: 'Results',
    body: html`<h3>Confusion matrix</h3>
<p>Rows are true classes, columns are answers, and numbers count test images. Correct answers are on the diagonal.${live && html` Move with the arrow keys${groups && ', and open a cell with Enter or a click to see its classes'}.`}</p>
<div class="matrices">${scroller('Confusion matrix', matrixTable(names, shown, groups ? 'groups of classes' : 'classes'))}
${live && groups && html`<div id="matrix-detail" aria-live="polite"></div>`}</div>
<h3>Classes</h3>
${scroller('Accuracy of each class', classTable(measured, matrix))}
<h3>Most confused classes</h3>
${scroller('Most confused classes', confusedTable(measured, matrix))}
<h3>Most confident mistakes</h3>
${mistakes(measured)}`,
  };
}

function matrixTable(names: readonly string[], matrix: Uint32Array, what: string): Markup {
  const n = names.length;
  const rows = names.map((name, row) => {
    const counts = matrix.subarray(row * n, (row + 1) * n);
    const total = counts.reduce((sum, count) => sum + count, 0) || 1;
    const cells = Array.from(counts, (count, column) => {
      const share = count / total;
      const strength = row === column ? share : Math.sqrt(share);
      const title = `${name} answered as ${names[column]}: ${count}`;
      return html`<td class="${row === column ? 'right' : 'wrong'}" style="--v:${strength.toFixed(3)}" data-value="${count}" title="${title}">${count > 0 && count}</td>`;
    });
    return html`<tr><th scope="row">${name}</th>${cells}</tr>`;
  });
  return html`<table id="matrix" class="matrix"><caption>Test images by true ${what} (rows) and answers (columns)</caption>
<thead><tr><th scope="col">true ↓ answer →</th>${names.map((name) => html`<th scope="col"><span>${name}</span></th>`)}</tr></thead>
<tbody>${rows}</tbody></table>`;
}

function classTable({ run }: Measured, matrix: Uint32Array): Markup {
  const { classes, superclasses } = run.splits.test;
  const n = classes.length;
  const rows = classes.map((name, label): readonly Cell[] => {
    const counts = matrix.subarray(label * n, (label + 1) * n);
    const total = counts.reduce((sum, count) => sum + count, 0);
    const right = counts[label]!;
    const answered = classes.reduce((sum, _, other) => sum + matrix[other * n + label]!, 0);
    const accuracy = total > 0 ? right / total : undefined;
    const precision = answered > 0 ? right / answered : undefined;
    const wrong = counts.reduce(
      (best, count, other) => (other !== label && count > (counts[best] ?? 0) ? other : best),
      -1,
    );
    return [
      spoken(name),
      ...(superclasses ? [spoken(superclasses.names[superclasses.of[label]!]!)] : []),
      {
        show:
          accuracy === undefined
            ? percent(accuracy)
            : html`<span class="meter" style="--v:${accuracy.toFixed(3)}">${percent(accuracy, 1)}</span>`,
        value: accuracy,
      },
      { show: percent(precision, 1), value: precision },
      { show: total, value: total },
      mostTaken(wrong, counts, classes),
    ];
  });
  const columns = [
    { title: 'Class' },
    ...(superclasses ? [{ title: 'Superclass' }] : []),
    { title: 'Accuracy', number: true },
    { title: 'Precision', number: true },
    { title: 'Images', number: true },
    { title: 'Most often mistaken for' },
  ];
  const caption =
    'Accuracy: share of the images of this class that are answered correctly. Precision: share of the answers with this class that are correct. –: there are none.';
  return table(caption, columns, rows, { sortable: true });
}

function mostTaken(wrong: number, counts: Uint32Array, classes: readonly string[]): string {
  return wrong < 0 || counts[wrong] === 0 ? '' : `${spoken(classes[wrong]!)} (${counts[wrong]})`;
}

function confusedTable({ run }: Measured, matrix: Uint32Array): Markup {
  const { classes } = run.splits.test;
  const rows = mostConfused(matrix, classes.length, confusedPairs).map(
    ({ label, answer, count }): readonly Cell[] => {
      const total = matrix
        .subarray(label * classes.length, (label + 1) * classes.length)
        .reduce((a, b) => a + b, 0);
      return [
        spoken(classes[label]!),
        spoken(classes[answer]!),
        { show: grouped(count), value: count },
        percent(count / total, 1),
      ];
    },
  );
  return table(
    'The most frequent wrong answers',
    [
      { title: 'True class' },
      { title: 'Answer' },
      { title: 'Images', number: true },
      { title: 'Share of the class', number: true },
    ],
    rows,
  );
}

function mistakes({ full }: Measured): Markup {
  const { dataset, classes, probabilities } = full;
  const chosen = mostConfident(full, false).slice(0, shownMistakes);
  if (chosen.length === 0) return html`<p>None: every test image is classified correctly.</p>`;
  const name = (label: number): string => spoken(dataset.classes[label]!);
  const cards = chosen.map((index) => {
    const label = dataset.labels[index]!;
    const top = [0, 1, 2].filter((rank) => classes[index * kept + rank]! >= 0);
    return html`<li><figure class="card"><img class="pixels" width="96" height="96" alt="test image ${index + 1} of class ${name(label)}" src="${pngUri(sampleRaster(dataset, index))}">
<figcaption>true class: <strong>${name(label)}</strong></figcaption>
<ol class="bars">${top.map((rank) => {
      const probability = probabilities[index * kept + rank]!;
      return html`<li class="bar" style="--v:${probability.toFixed(3)}"><span class="name">${name(classes[index * kept + rank]!)}</span> <span class="value">${percent(probability, 1)}</span></li>`;
    })}</ol></figure></li>`;
  });
  return html`<p>The wrong answers with the highest probabilities, each with the top three classes.</p><ul class="gallery">${cards}</ul>`;
}
