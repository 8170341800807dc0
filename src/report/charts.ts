/**
 * Line charts over epochs as inline SVG, drawn by Observable Plot into a linkedom document. Colors are the page's CSS
 * variables, so that charts follow its theme; lines also differ by dashes. Each chart has a title, a description and a
 * legend.
 */
import { escapeHtml, html, type Markup, percent, raw } from './markup.ts';
import { line, parseHTML, plot, ruleX, ruleY } from './plot.ts';

export interface Series {
  readonly name: string;
  readonly points: readonly { readonly x: number; readonly y: number }[];
  /** Index into the page's palette, from 0. */
  readonly color: number;
  /** Index into the dashes, from 0: solid. */
  readonly dash: number;
}

export interface Chart {
  /** Unique in the page. */
  readonly id: string;
  readonly title: string;
  /** Axis labels, with units. */
  readonly x: string;
  readonly y: string;
  readonly series: readonly Series[];
  /** Places on the x axis that are marked by a vertical line, and what happened there. */
  readonly marks?: readonly { readonly x: number; readonly words: string }[];
  /** Whether the y axis starts at 0. */
  readonly fromZero?: boolean;
  readonly percent?: boolean;
  readonly logarithmic?: boolean;
}

/** Number of colors in the page's palette (`--series-1` …). */
export const paletteSize = 6;
const dashes = ['', '6 4', '2 4', '9 3 2 3'];
export const colorOf = (index: number): string => `var(--series-${(index % paletteSize) + 1})`;

/** The chart with its legend as a figure; nothing if no series has a point. */
export function lineChart(chart: Chart): Markup | undefined {
  const series = chart.series
    .map((one) => ({
      ...one,
      points: one.points.filter(({ y }) => Number.isFinite(y) && (!chart.logarithmic || y > 0)),
    }))
    .filter(({ points }) => points.length > 0);
  if (series.length === 0) return undefined;
  return html`<figure class="chart">
    <figcaption id="${chart.id}">${chart.title}</figcaption>
    ${chartSvg(chart, series)}
    ${series.length > 1 && legend(series)}
  </figure>`;
}

/** What Observable Plot draws. */
export type Drawing = NonNullable<Parameters<typeof plot>[0]>;

/** A drawing as inline SVG with a text alternative, labeled by the element `id`, which is unique in the page. */
export function drawingSvg(id: string, description: string, drawing: Drawing): Markup {
  const { document } = parseHTML('<!doctype html><html><body></body></html>');
  const element = plot({
    document: document as unknown as NonNullable<Drawing['document']>,
    width: 480,
    height: 270,
    marginLeft: 56,
    marginTop: 28,
    marginBottom: 40,
    marginRight: 14,
    ...drawing,
  });
  const svg = String((element as unknown as { readonly outerHTML: string }).outerHTML);
  // The page sets style and accessible name, so Plot's own are removed.
  return raw(
    svg
      .replace(/<style>[\s\S]*?<\/style>/, '')
      .replaceAll(/ aria-(?:label|hidden|describedby)="[^"]*"/g, '')
      .replaceAll(/ class="plot-[^"]*"/g, '')
      .replaceAll(/\bid="plot-/g, `id="${id}-`)
      .replaceAll('url(#plot-', `url(#${id}-`)
      .replace('<svg ', `<svg role="img" aria-labelledby="${id} ${id}-desc" `)
      .replace('>', () => `><desc id="${id}-desc">${escapeHtml(description)}</desc>`),
  );
}

function chartSvg(chart: Chart, series: readonly Series[]): Markup {
  const epochs = series.flatMap(({ points }) => points.map(({ x }) => x));
  const [first, last] = [Math.min(...epochs), Math.max(...epochs)];
  const most = Math.max(...series.flatMap(({ points }) => points.map(({ y }) => y)));
  const marks = (chart.marks ?? []).filter(({ x }) => x >= first && x <= last);
  const words = marks.map((mark) => ` Marked at ${Number(mark.x.toPrecision(4))}: ${mark.words}.`);
  return drawingSvg(chart.id, description(series, chart) + words.join(''), {
    x: {
      label: chart.x,
      labelArrow: 'none',
      domain: first === last ? [first - 1, last + 1] : [first, last],
      tickFormat: (value: number) => (Number.isInteger(value) ? String(value) : ''),
      ticks: 6,
    },
    y: {
      label: chart.y,
      labelArrow: 'none',
      grid: true,
      ticks: 5,
      nice: true,
      percent: chart.percent ?? false,
      ...(chart.logarithmic ? { type: 'log' as const } : {}),
      ...(chart.fromZero ? { domain: [0, (most || 1) * (chart.percent ? 100 : 1)] } : {}),
    },
    marks: [
      ...(chart.fromZero ? [ruleY([0])] : []),
      ...(marks.length > 0
        ? [ruleX(marks, { x: 'x', stroke: 'currentColor', strokeOpacity: 0.55, strokeDasharray: '1 3' })]
        : []),
      ...series.map(({ points, color, dash }) =>
        line(points, {
          x: 'x',
          y: 'y',
          stroke: colorOf(color),
          strokeWidth: 2,
          strokeDasharray: dashes[dash % dashes.length]!,
          ...(points.length <= 12 ? { marker: 'circle' as const } : {}),
        }),
      ),
    ],
  });
}

/** A text description: where each line begins and ends, and its extremes. */
function description(series: readonly Series[], chart: Chart): string {
  const show = (value: number): string =>
    chart.percent ? percent(value, 1) : String(Number(value.toPrecision(4)));
  const lines = series.map(({ name, points }) => {
    const values = points.map(({ y }) => y);
    const span = `from ${show(values[0]!)} at ${points[0]!.x} to ${show(values.at(-1)!)} at ${points.at(-1)!.x}`;
    return `${name}: ${span}, lowest ${show(Math.min(...values))}, highest ${show(Math.max(...values))}`;
  });
  return `${chart.y} by ${chart.x}. ${lines.join('; ')}.`;
}

function legend(series: readonly Series[]): Markup {
  return html`<ul class="legend">${series.map(
    ({ name, color, dash }) =>
      html`<li><svg aria-hidden="true" width="28" height="8"><line x1="1" x2="27" y1="4" y2="4" stroke="${colorOf(color)}" stroke-width="2.5" stroke-dasharray="${dashes[dash % dashes.length]!}"/></svg>${name}</li>`,
  )}</ul>`;
}
