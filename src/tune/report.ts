/**
 * The report of a study (Node only): one HTML file with the result first, then the best trials and how to repeat them,
 * then how the search went and what mattered. All data comes from the study's folder. A configuration is shown once, with
 * its latest trial, even if it was promoted or retried several times.
 */
import { existsSync } from 'node:fs';
import { dirname, join, relative, sep } from 'node:path';
import { DataError } from '../errors.ts';
import { writeWhole } from '../files/files.ts';
import { localCommands } from '../invocation-node.ts';
import { modelName } from '../model/models.ts';
import { shellWord, trainCommand } from '../report/command.ts';
import { commandText, page, type Section, scroller } from '../report/document.ts';
import { type Content, duration, html, type Markup, percent } from '../report/markup.ts';
import { pageScript } from '../report/page-script.ts';
import { type Cell, table } from '../report/table.ts';
import { runFiles } from '../runs/folder.ts';
import { trainOptions } from '../train/config-table.ts';
import { counted } from '../words.ts';
import type { ParamValue } from './distributions.ts';
import { isRepeatable, type PrunerSettings, type StudyFolder } from './folder.ts';
import { type Importance, importances, shortValue, spokenName } from './importance.ts';
import { allFailed, attributes, lastStep, latestTrials } from './lineage.ts';
import { parseTime } from './records.ts';
import type { FrozenTrial } from './replay.ts';
import {
  curvesChart,
  historyChart,
  importanceChart,
  type Point,
  parallelChart,
  type Span,
  sliceChart,
  timelineChart,
} from './report-charts.ts';

/** Rows in the table of the best trials. */
const bestShown = 10;
/** How many parameters get a slice chart, the most important first. */
const slicesShown = 8;

/** Writes the report and returns its path. @throws DataError if no trial has ended yet. */
export async function reportStudy(folder: StudyFolder, out?: string): Promise<string> {
  const path = out ?? folder.path('report');
  using study = await folder.open();
  await writeWhole(path, await studyReport(folder, study.trials, dirname(path)));
  return path;
}

/** The report as HTML, for a file in the folder `place`. @throws DataError if no trial has ended yet. */
export async function studyReport(
  folder: StudyFolder,
  trials: readonly FrozenTrial[],
  place: string = folder.folder,
): Promise<string> {
  const points = latestTrials(trials)
    .filter(({ params }) => isRepeatable(folder, params))
    .flatMap(pointOf);
  const best = points.toSorted(better)[0];
  if (best === undefined) {
    const hint =
      allFailed(trials) === undefined
        ? 'no trial has ended yet; try again after the first one'
        : `every trial failed; after a change, vgg tune --study ${shellWord(folder.folder)} --retry-failed runs them again`;
    throw new DataError(`${folder.folder}: ${hint}`);
  }
  const measured = comparable(points);
  const names = folder.space.parameters.map(({ name }) => name);
  const found = importances(measured.trials, names);
  const byImportance = folder.space.parameters.toSorted(
    (a, b) => positionIn(found, a.name) - positionIn(found, b.name),
  );
  const sections: Section[] = [
    { id: 'summary', title: titleOf(folder), body: summary(folder, trials, points, best, found) },
    { id: 'best', title: 'The best trials', body: bestTrials(folder, points, place) },
    { id: 'history', title: 'History', body: scroller('History', historyChart(points, best)) },
    { id: 'importance', title: 'What mattered', body: importanceBody(found, measured.what) },
    {
      id: 'curves',
      title: 'Learning curves',
      body: scroller('Learning curves', curvesChart(points, best)),
    },
    {
      id: 'parallel',
      title: 'Parallel coordinates',
      body: scroller('Parallel coordinates', parallelChart(points, folder.space.parameters, best)),
    },
    {
      id: 'slices',
      title: 'Slices',
      body: html`<p>Accuracy by one parameter at a time, the most important first.</p>
<div class="charts">${byImportance.slice(0, slicesShown).map((parameter, i) => sliceChart(parameter, i, points, best))}</div>`,
    },
    ...(found.length >= 2 ? [pairSection(found[0]!, found[1]!, measured)] : []),
    ...timelineSection(trials),
    { id: 'trials', title: 'All trials', body: allTrials(folder, trials, names, place) },
  ];
  const script = await pageScript('plain');
  return page({ title: titleOf(folder), sections, script, command: 'vgg tune report' });
}

const titleOf = ({ space }: StudyFolder): string =>
  `Search: ${modelName(space.fixed.model ?? 'simplified')} on ${space.fixed.dataset ?? trainOptions.dataset.default}`;

const better = (a: Point, b: Point): number =>
  Number(b.state === 'complete') - Number(a.state === 'complete') || b.value - a.value;

const positionIn = (found: readonly Importance[], name: string): number => {
  const index = found.findIndex((one) => one.name === name);
  return index < 0 ? Number.POSITIVE_INFINITY : index;
};

/** A trial that ended with a value; others are not in the charts. */
function pointOf({ number, state, value, params, intermediateValues }: FrozenTrial): readonly Point[] {
  if ((state !== 'complete' && state !== 'pruned') || value === undefined || !Number.isFinite(value))
    return [];
  const curve = [...intermediateValues].map(([x, y]) => ({ x, y })).toSorted((a, b) => a.x - b.x);
  return [{ number, state, value, params, curve }];
}

interface Comparable {
  readonly trials: readonly { readonly params: Point['params']; readonly value: number }[];
  /** A description of these values. */
  readonly what: string;
}

/** Comparable values: final ones if at least half of the trials are complete, otherwise those after the first epoch. */
function comparable(points: readonly Point[]): Comparable {
  const complete = points.filter(({ state }) => state === 'complete');
  if (complete.length >= points.length / 2) {
    return { trials: complete, what: `the accuracies of the ${complete.length} complete trials` };
  }
  const first = points.flatMap(({ params, curve }) => (curve[0] ? [{ params, value: curve[0].y }] : []));
  return {
    trials: first,
    what: `the accuracies of all ${first.length} trials after their first epoch (most were pruned)`,
  };
}

const paramsText = (params: Point['params']): string =>
  Object.entries(params)
    .map(([name, value]) => `${spokenName(name)} ${shortValue(value)}`)
    .join(', ');

function summary(
  folder: StudyFolder,
  trials: readonly FrozenTrial[],
  points: readonly Point[],
  best: Point,
  found: readonly Importance[],
): Markup {
  const { sampler, pruner, trials: wanted } = folder.settings;
  const epochs = trials.reduce((sum, trial) => sum + ownEpochs(trial, trials), 0);
  const count = (state: string): number => points.filter((point) => point.state === state).length;
  const top = found[0];
  const mattered =
    top && top.share > 0
      ? `; ${spokenName(top.name)} mattered most (${percent(top.share, 0)} of the variance)`
      : '';
  const where = (folder.space.fixed.validation ?? 0) > 0 ? 'on the validation images' : 'on the test images';
  const facts: readonly (readonly [string, Content])[] = [
    ['Best accuracy', percent(best.value)],
    ['Configurations', `${points.length} of ${wanted}`],
    ['Complete', count('complete')],
    ['Pruned', count('pruned')],
    ['Epochs trained', epochs],
    ['Training time', duration(60 * spansOf(trials).reduce((sum, { from, to }) => sum + to - from, 0))],
    ['Sampler', sampler],
    ['Pruner', prunerText(pruner)],
  ];
  return html`<p class="lead">The best of ${points.length} configurations, trial ${best.number}, reaches ${percent(best.value)}
${where} after ${counted(best.curve.at(-1)?.x ?? 0, 'epoch')} with ${paramsText(best.params)}${mattered}.</p>
<dl class="facts">${facts.map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>
${
  where.includes('test')
    ? html`<p class="note">The best trial was selected on the test set, so this is slightly optimistic. With
<code>"validation": 0.1</code> in the space, trials are judged on held-out images.</p>`
    : undefined
}`;
}

const prunerText = (pruner: PrunerSettings): string =>
  pruner.name === 'asha'
    ? `asha, η\u00a0=\u00a0${pruner.reductionFactor}, r\u00a0=\u00a0${pruner.minResource}`
    : pruner.name;

/** Epochs that a trial trained itself, without inherited ones. */
function ownEpochs(trial: FrozenTrial, trials: readonly FrozenTrial[]): number {
  const parent = trial.userAttrs[attributes.parent];
  const inherited = typeof parent === 'number' ? (trials[parent]?.intermediateValues.size ?? 0) : 0;
  return Math.max(0, trial.intermediateValues.size - inherited);
}

/** A trial's number, linked to its report if it has one. */
function trialLink(folder: StudyFolder, number: number, place: string): Content {
  const report = join(folder.runOf(number), runFiles.report);
  if (!existsSync(report)) return number;
  const words = relative(place, report).split(sep);
  return html`<a href="${words.map(encodeURIComponent).join('/')}">${number}</a>`;
}

function bestTrials(folder: StudyFolder, points: readonly Point[], place: string): Markup {
  const shown = points.toSorted(better).slice(0, bestShown);
  const names = folder.space.parameters.map(({ name }) => name);
  const rows = shown.map(({ number, state, value, params, curve }): readonly Cell[] => [
    { show: trialLink(folder, number, place), value: number },
    { show: percent(value), value },
    { show: curve.at(-1)?.x ?? 0, value: curve.at(-1)?.x ?? 0 },
    state,
    ...names.map((name) => (Object.hasOwn(params, name) ? shortValue(params[name]!) : '–')),
  ]);
  const columns = [
    { title: 'Trial', number: true },
    { title: 'Accuracy', number: true },
    { title: 'Epochs', number: true },
    { title: 'State' },
    ...names.map((name) => ({ title: spokenName(name) })),
  ];
  const best = shown[0]!;
  const config = folder.configOf(best.params);
  const { steps: _, ...whole } = config;
  const inside = relative(process.cwd(), folder.runOf(best.number));
  const run = inside.startsWith('..') ? folder.runOf(best.number) : inside;
  const toTheEnd = { ...whole, epochs: Math.max(config.epochs, trainOptions.epochs.default as number) };
  const commands: readonly (readonly [string, string])[] = [
    ['Repeat it', trainCommand(config)],
    [`Train it for ${toTheEnd.epochs} epochs from the start`, trainCommand(toTheEnd)],
    // A limit of steps would end it again immediately.
    ...(config.steps === undefined
      ? [
          [
            'Or continue from where it stopped',
            `vgg train --resume ${shellWord(run)} --epochs ${toTheEnd.epochs}`,
          ] as const,
        ]
      : []),
    ['Its own report', `vgg report ${shellWord(run)}`],
  ];
  return html`${scroller('The best trials', table(`The best ${shown.length}; complete ones first`, columns, rows))}
<h3>Repeat trial ${best.number}</h3>
${commands.map(([what, command]) => html`<p>${what}:</p><pre class="command">${commandText(localCommands(command))}</pre>`)}`;
}

function importanceBody(found: readonly Importance[], what: string): Markup {
  const groups = found.flatMap(({ name, groups }) =>
    groups.map(({ label, mean, count }): readonly Cell[] => [spokenName(name), label, percent(mean), count]),
  );
  const columns = [
    { title: 'Parameter' },
    { title: 'Value' },
    { title: 'Mean accuracy', number: true },
    { title: 'Trials', number: true },
  ];
  if (found.length === 0) return html`<p>No parameter has two values yet.</p>`;
  return html`${scroller('Importance', importanceChart(found))}
<p class="note">The share of the variance of ${what} between groups of equal values (quarters of the trials for numbers
with many values), estimated by ω². It looks at one parameter at a time, and is rough with few trials.</p>
<details><summary>Mean accuracy by value</summary>${scroller('Mean accuracy by value', table('Means', columns, groups))}</details>`;
}

/** The two most important parameters against each other. */
function pairSection(one: Importance, other: Importance, { trials }: Comparable): Section {
  const names = [one.name, other.name];
  const groupOf = ({ name, groups }: Importance, value: ParamValue): number => {
    const exact = groups.findIndex(({ label }) => label === shortValue(value));
    if (exact >= 0 || typeof value !== 'number') return exact;
    return groups.findIndex(({ label }) => value <= Number(label.split(' – ')[1] ?? name) * (1 + 1e-3));
  };
  const cells = one.groups.map(() => other.groups.map((): number[] => []));
  for (const { params, value } of trials) {
    if (!names.every((name) => Object.hasOwn(params, name))) continue;
    cells[groupOf(one, params[one.name]!)]?.[groupOf(other, params[other.name]!)]?.push(value);
  }
  const means = cells.map((row) =>
    row.map((values) =>
      values.length === 0 ? undefined : values.reduce((sum, value) => sum + value, 0) / values.length,
    ),
  );
  const known = means.flat().filter((value) => value !== undefined);
  const [low, high] = [Math.min(...known), Math.max(...known)];
  const cell = (value: number | undefined): Markup =>
    value === undefined
      ? html`<td>–</td>`
      : html`<td class="right" style="--v: ${((value - low) / (high - low || 1)).toFixed(3)}">${(100 * value).toFixed(1)}</td>`;
  const body = html`<table class="matrix"><caption class="hidden">Mean accuracy by ${spokenName(one.name)} and ${spokenName(other.name)}</caption>
<thead><tr><td></td>${other.groups.map(({ label }) => html`<th scope="col">${label}</th>`)}</tr></thead>
<tbody>${means.map((row, i) => html`<tr><th scope="row">${one.groups[i]!.label}</th>${row.map(cell)}</tr>`)}</tbody></table>`;
  const words = html`<p class="note">Mean accuracy in % by ${spokenName(one.name)} (rows) and ${spokenName(other.name)} (columns);
– means that nothing was tried.</p>`;
  return {
    id: 'pair',
    title: 'A pair',
    body: html`${words}${scroller('Mean accuracy of a pair of parameters', body)}`,
  };
}

/** Which worker ran which trial when. */
function spansOf(trials: readonly FrozenTrial[]): readonly Span[] {
  const timed = trials.flatMap(({ number, state, started, completed, userAttrs }) => {
    const from = parseTime(started)?.getTime();
    if (from === undefined || state === 'waiting') return [];
    const to = parseTime(completed)?.getTime() ?? Date.now();
    return [{ trial: number, state, worker: String(userAttrs[attributes.worker] ?? 'unknown'), from, to }];
  });
  const zero = timed.reduce((least, { from }) => Math.min(least, from), Number.POSITIVE_INFINITY);
  return timed.map((span) => ({ ...span, from: (span.from - zero) / 60_000, to: (span.to - zero) / 60_000 }));
}

function timelineSection(trials: readonly FrozenTrial[]): readonly Section[] {
  const spans = spansOf(trials);
  if (spans.length === 0) return [];
  return [
    { id: 'timeline', title: 'Workers', body: scroller('Timeline of the workers', timelineChart(spans)) },
  ];
}

function allTrials(
  folder: StudyFolder,
  trials: readonly FrozenTrial[],
  names: readonly string[],
  place: string,
): Markup {
  const rows = trials.map(
    ({ number, state, value, params, intermediateValues, userAttrs }): readonly Cell[] => [
      trialLink(folder, number, place),
      state,
      value === undefined ? '–' : percent(value),
      lastStep({ intermediateValues }) ?? 0,
      ...names.map((name) => (Object.hasOwn(params, name) ? shortValue(params[name]!) : '–')),
      noteOf(userAttrs),
    ],
  );
  const columns = [
    { title: 'Trial', number: true },
    { title: 'State' },
    { title: 'Accuracy', number: true },
    { title: 'Epochs', number: true },
    ...names.map((name) => ({ title: spokenName(name) })),
    { title: 'Note' },
  ];
  return html`<details><summary>${trials.length} trials, including promotions and retries</summary>
${scroller('All trials', table('All trials', columns, rows))}</details>`;
}

function noteOf(userAttrs: FrozenTrial['userAttrs']): string {
  const parent = userAttrs[attributes.parent];
  const reason = userAttrs[attributes.reason];
  return [
    typeof parent === 'number' ? `continues trial ${parent}` : '',
    typeof reason === 'string' ? reason : '',
  ]
    .filter((part) => part !== '')
    .join('; ');
}
