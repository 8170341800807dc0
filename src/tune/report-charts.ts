/** The charts of a study's report. Complete trials are blue, pruned ones gray, the best one orange. */
import { colorOf, type Drawing, drawingSvg } from '../report/charts.ts';
import { type Content, html, type Markup, percent } from '../report/markup.ts';
import { barX, dot, line, ruleY } from '../report/plot.ts';
import { type Distribution, type ParamValue, sizeOf, toInternal } from './distributions.ts';
import { type Importance, shortValue, spokenName } from './importance.ts';
import type { Parameter } from './search-space.ts';

/** A configuration with its latest trial, as the report sees it. */
export interface Point {
  readonly number: number;
  readonly state: 'complete' | 'pruned';
  readonly value: number;
  readonly params: Readonly<Record<string, ParamValue>>;
  readonly curve: readonly { readonly x: number; readonly y: number }[];
}

/** When a worker ran a trial, in minutes since the first trial started. */
export interface Span {
  readonly trial: number;
  readonly state: string;
  readonly worker: string;
  readonly from: number;
  readonly to: number;
}

const blue = colorOf(0);
const orange = colorOf(1);
const gray = colorOf(5);
const ink = (point: Point, best: Point): string =>
  point === best ? orange : point.state === 'pruned' ? gray : blue;
const strength = ({ state }: Point): number => (state === 'pruned' ? 0.4 : 0.8);

function figure(id: string, title: string, description: string, drawing: Drawing, note?: Content): Markup {
  return html`<figure class="chart"><figcaption id="${id}">${title}</figcaption>
${drawingSvg(id, description, drawing)}${note === undefined ? undefined : html`<p class="note">${note}</p>`}</figure>`;
}

/** A chart that fills the width of a section. */
const wide = { width: 960, height: 340 } as const;
const accuracy = { label: 'accuracy, %', labelArrow: 'none', percent: true, grid: true, nice: true } as const;

export function historyChart(points: readonly Point[], best: Point): Markup {
  let top = Number.NEGATIVE_INFINITY;
  const bests = points
    .filter(({ state }) => state === 'complete')
    .map(({ number, value }) => {
      top = Math.max(top, value);
      return { number, value: top };
    });
  return figure(
    'history-chart',
    'Each trial, and the best so far',
    `${points.length} trials; the best accuracy of complete ones rises from ${percent(bests[0]?.value ?? best.value)} ` +
      `at trial ${bests[0]?.number ?? best.number} to ${percent(best.value)} at trial ${best.number}.`,
    {
      ...wide,
      x: { label: 'trial', labelArrow: 'none', tickFormat: wholeTick },
      y: accuracy,
      marks: [
        line(bests, { x: 'number', y: 'value', stroke: orange, strokeWidth: 2, curve: 'step-after' }),
        dot(points, {
          x: 'number',
          y: 'value',
          r: 4,
          stroke: (point: Point) => ink(point, best),
          fill: (point: Point) => (point.state === 'pruned' ? 'none' : ink(point, best)),
        }),
      ],
      color: { type: 'identity' },
    },
    'Filled: complete; hollow: pruned, with its last accuracy; orange: the best.',
  );
}

const wholeTick = (value: number): string => (Number.isInteger(value) ? String(value) : '');

export function importanceChart(found: readonly Importance[]): Markup {
  const rows = found.map(({ name, share }) => ({ name: spokenName(name), share }));
  return figure(
    'importance-chart',
    'Share of the variance that each parameter explains',
    rows.map(({ name, share }) => `${name}: ${percent(share, 0)}`).join('; '),
    {
      width: 960,
      height: 60 + 30 * rows.length,
      marginLeft: 130,
      x: { label: 'share, %', labelArrow: 'none', percent: true, grid: true, domain: [0, 100] },
      y: { label: null, domain: rows.map(({ name }) => name) },
      marks: [barX(rows, { x: 'share', y: 'name', fill: blue, insetTop: 3, insetBottom: 3 })],
    },
  );
}

export function curvesChart(points: readonly Point[], best: Point): Markup {
  const ordered = points.toSorted((a, b) => rank(a, best) - rank(b, best));
  return figure(
    'curves-chart',
    'Accuracy after each epoch',
    `${points.length} curves. The best one, trial ${best.number}: ` +
      best.curve.map(({ x, y }) => `epoch ${x} ${percent(y, 1)}`).join(', '),
    {
      ...wide,
      x: { label: 'epoch', labelArrow: 'none', tickFormat: wholeTick },
      y: accuracy,
      marks: ordered.flatMap((point) => [
        line(point.curve, {
          x: 'x',
          y: 'y',
          stroke: ink(point, best),
          strokeOpacity: point === best ? 1 : strength(point),
          strokeWidth: point === best ? 3 : 1.5,
          marker: 'circle',
        }),
      ]),
    },
    'Gray: pruned; blue: complete; orange: the best.',
  );
}

/** Drawing order; the last one is on top. */
const rank = (point: Point, best: Point): number => (point === best ? 2 : point.state === 'complete' ? 1 : 0);

/** A value's position in its range, 0–1. */
function positionOf(distribution: Distribution, value: ParamValue): number {
  const internal = toInternal(distribution, value) ?? 0;
  if (distribution.kind === 'categorical') return internal / Math.max(1, distribution.choices.length - 1);
  const scale = distribution.log ? Math.log : (x: number): number => x;
  const [low, high] = [scale(distribution.low), scale(distribution.high)];
  return high > low ? (scale(internal) - low) / (high - low) : 0.5;
}

const rangeOf = (distribution: Distribution): string =>
  distribution.kind === 'categorical'
    ? distribution.choices.map(shortValue).join(', ')
    : `${shortValue(distribution.low)} to ${shortValue(distribution.high)}${distribution.log ? ', logarithmic' : ''}`;

export function parallelChart(
  points: readonly Point[],
  parameters: readonly Parameter[],
  best: Point,
): Markup {
  const values = points.map(({ value }) => value);
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const names = [...parameters.map(({ name }) => spokenName(name)), 'accuracy'];
  const linesOf = (point: Point) => [
    ...parameters.flatMap(({ name, distribution }) =>
      Object.hasOwn(point.params, name)
        ? [{ x: spokenName(name), y: positionOf(distribution, point.params[name]!) }]
        : [],
    ),
    { x: 'accuracy', y: high > low ? (point.value - low) / (high - low) : 0.5 },
  ];
  return figure(
    'parallel-chart',
    'All parameters at once',
    `One line for each trial through its parameters and its accuracy. The best: ${parameters
      .filter(({ name }) => Object.hasOwn(best.params, name))
      .map(({ name }) => `${spokenName(name)} ${shortValue(best.params[name]!)}`)
      .join(', ')}.`,
    {
      width: 960,
      height: 320,
      marginLeft: 70,
      marginRight: 70,
      marginBottom: 60,
      x: { type: 'point', domain: names, label: null, tickRotate: names.length > 6 ? -20 : 0 },
      y: {
        domain: [0, 1],
        ticks: [0, 1],
        tickFormat: (y: number) => (y === 0 ? 'lowest' : 'highest'),
        label: null,
      },
      marks: points
        .toSorted((a, b) => rank(a, best) - rank(b, best))
        .map((point) =>
          line(linesOf(point), {
            x: 'x',
            y: 'y',
            stroke: ink(point, best),
            strokeOpacity: point === best ? 1 : 0.25 + (0.5 * (point.value - low)) / (high - low || 1),
            strokeWidth: point === best ? 3 : 1.5,
          }),
        ),
    },
    parameters.map(({ name, distribution }) => `${spokenName(name)}: ${rangeOf(distribution)}`).join('; '),
  );
}

export function sliceChart(
  { name, distribution }: Parameter,
  index: number,
  points: readonly Point[],
  best: Point,
): Markup {
  const own = points.filter(({ params }) => Object.hasOwn(params, name));
  const ordinal = distribution.kind === 'categorical' || sizeOf(distribution) <= 8;
  const at = (point: Point): number | string =>
    ordinal ? shortValue(point.params[name]!) : (point.params[name] as number);
  const values = [...new Set(own.map(({ params }) => params[name]!))].toSorted(
    (a, b) => (toInternal(distribution, a) ?? 0) - (toInternal(distribution, b) ?? 0),
  );
  return figure(
    `slice-${index}`,
    spokenName(name),
    `Accuracy of ${own.length} trials by ${spokenName(name)}; the best has ${shortValue(best.params[name] ?? 'none')}.`,
    {
      x: {
        label: spokenName(name),
        labelArrow: 'none',
        ...(ordinal
          ? { type: 'point' as const, domain: values.map(shortValue) }
          : {
              type: distribution.log ? ('log' as const) : ('linear' as const),
              ticks: 3,
              // As they are written in a config: 0.002, and not 2m.
              tickFormat: (value: number) => shortValue(value),
            }),
      },
      y: accuracy,
      color: { type: 'identity' },
      marks: [
        dot(own, {
          x: at,
          y: 'value',
          r: 4,
          stroke: (point: Point) => ink(point, best),
          fill: (point: Point) => (point.state === 'pruned' ? 'none' : ink(point, best)),
        }),
      ],
    },
  );
}

export function timelineChart(spans: readonly Span[]): Markup {
  const workers = [...new Set(spans.map(({ worker }) => worker))];
  const nameOf = (worker: string): string => `worker ${workers.indexOf(worker) + 1}`;
  const busy = (worker: string): number =>
    spans.filter((span) => span.worker === worker).reduce((sum, { from, to }) => sum + to - from, 0);
  const paint: Readonly<Record<string, string>> = { complete: blue, pruned: gray, fail: orange };
  return figure(
    'timeline-chart',
    'What each worker did',
    workers.map((worker) => `${nameOf(worker)}: ${busy(worker).toFixed(1)} minutes of training`).join('; '),
    {
      width: 960,
      height: 60 + 30 * workers.length,
      marginLeft: 80,
      x: { label: 'minutes', labelArrow: 'none', grid: true },
      y: { label: null, domain: workers.map(nameOf) },
      color: { type: 'identity' },
      marks: [
        ruleY([]),
        barX(spans, {
          x1: 'from',
          x2: 'to',
          y: (span: Span) => nameOf(span.worker),
          fill: (span: Span) => paint[span.state] ?? colorOf(2),
          insetLeft: 0.5,
          insetRight: 0.5,
          insetTop: 3,
          insetBottom: 3,
        }),
      ],
    },
    'Blue: complete; gray: pruned; orange: failed or handed on; green: running.',
  );
}
