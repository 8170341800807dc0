/**
 * Curves that grow while a network trains, drawn by Observable Plot as SVG. Colors are the page's variables, so charts
 * follow its theme; lines also differ by dashes. A chart is drawn anew at most a few times a second.
 */
import { useSignal } from '@preact/signals';
import type { JSX } from 'preact';
import { useEffect, useLayoutEffect, useRef } from 'preact/hooks';
import { text } from '../state/settings.ts';
import type * as PlotModule from './plot.ts';
import { short } from './words.ts';

export interface Point {
  readonly x: number;
  readonly y: number;
}

export interface Curve {
  readonly name: string;
  readonly points: readonly Point[];
  /** Index into the page's palette, from 1. */
  readonly color: number;
  readonly dash?: string;
  /** Points are marked as dots. */
  readonly dots?: boolean;
  /** Not in the legend: another curve's name stands for it. */
  readonly unnamed?: boolean;
  /** Drawn as a band from the lowest to the highest value around each x. */
  readonly band?: boolean;
}

export interface Mark {
  readonly x: number;
  readonly label: string;
}

export interface ChartProps {
  readonly title: string;
  readonly help: string;
  readonly xLabel: string;
  readonly curves: readonly Curve[];
  readonly marks?: readonly Mark[];
  /** The end of the x axis. */
  readonly xEnd: number;
  readonly percent?: boolean;
}

/** Milliseconds between two drawings. */
const rest = 160;
const height = 240;

let module: Promise<typeof PlotModule> | undefined;
/** Loads Plot once. */
export const loadPlot = (): Promise<typeof PlotModule> => (module ??= import('./plot.ts'));

export function Chart(props: ChartProps): JSX.Element {
  const { title, help, curves } = props;
  const place = useRef<HTMLDivElement>(null);
  const plot = useSignal<typeof PlotModule | undefined>(undefined);
  const width = useSignal(0);
  const drawn = useRef(0);
  const empty = curves.every(({ points }) => points.length === 0);
  // Plot is the largest file. It is loaded with the first point, when the training already runs.
  useEffect(() => {
    if (empty || plot.value) return;
    void loadPlot().then((loaded) => {
      plot.value = loaded;
    });
  }, [empty]);
  useEffect(() => {
    const observer = new ResizeObserver(([entry]) => {
      width.value = Math.round(entry?.contentRect.width ?? 0);
    });
    observer.observe(place.current!);
    return () => observer.disconnect();
  }, []);
  useLayoutEffect(() => {
    if (empty) place.current?.replaceChildren();
    if (empty || !plot.value || width.value === 0) return undefined;
    const draw = (): void => {
      drawn.current = performance.now();
      place.current?.replaceChildren(drawing(plot.value!, props, width.value));
    };
    const wait = drawn.current + rest - performance.now();
    if (wait <= 0) {
      draw();
      return undefined;
    }
    const timer = setTimeout(draw, wait);
    return () => clearTimeout(timer);
  });
  const named = curves.filter(({ band, unnamed }) => !band && !unnamed);
  return (
    <figure class="chart">
      <figcaption>
        <strong>{title}</strong>
        <span class="note">{help}</span>
      </figcaption>
      <div class="chart-area">
        <div class="chart-place" ref={place} />
        {empty && <p class="chart-empty note">{text.value.learn.noLoss}</p>}
      </div>
      <ul class="legend">
        {named.map(({ name, color, dash, dots }) => (
          <li key={name}>
            <svg width="26" height="10" aria-hidden="true">
              <line
                x1="1"
                x2="25"
                y1="5"
                y2="5"
                stroke={`var(--series-${color})`}
                stroke-width="2.5"
                stroke-dasharray={dash}
              />
              {dots && <circle cx="13" cy="5" r="3.5" fill={`var(--series-${color})`} />}
            </svg>
            {name}
          </li>
        ))}
      </ul>
    </figure>
  );
}

function drawing(plot: typeof PlotModule, props: ChartProps, width: number): SVGElement | HTMLElement {
  const { curves, marks = [], xEnd, xLabel, title } = props;
  const most = Math.max(
    0,
    ...curves.flatMap(({ points }) => points.map(({ y }) => y).filter(Number.isFinite)),
  );
  const element = plot.plot({
    width,
    height,
    marginLeft: 48,
    marginRight: 14,
    marginTop: 16,
    marginBottom: 36,
    className: 'plot',
    x: {
      label: xLabel,
      labelArrow: 'none',
      domain: [0, xEnd],
      ticks: Math.min(8, Math.max(2, Math.floor(width / 90))),
    },
    y: { label: null, grid: true, ...yAxis(most, props.percent ?? false) },
    marks: [
      plot.ruleY([0]),
      ...marks.flatMap(({ x, label }) => [
        plot.ruleX([x], { stroke: 'var(--soft)', strokeDasharray: '3 3' }),
        plot.text([label], {
          x,
          frameAnchor: 'top',
          dy: -10,
          textAnchor: x > xEnd * 0.8 ? 'end' : 'start',
          fill: 'var(--soft)',
        }),
      ]),
      ...curves.map((curve) => markOf(plot, curve)),
      ...curves
        .filter(({ dots }) => dots)
        .map(({ points, color }) =>
          plot.dot(points, { x: 'x', y: 'y', r: 3.5, fill: `var(--series-${color})`, stroke: 'var(--card)' }),
        ),
    ],
  }) as SVGElement;
  // The policy of the page forbids styles inside it; the style sheet has them.
  for (const style of element.querySelectorAll('style')) style.remove();
  // It is one image with one description.
  for (const part of element.querySelectorAll('[aria-label]')) part.removeAttribute('aria-label');
  element.setAttribute('role', 'img');
  element.setAttribute('aria-label', `${title}. ${described(curves, props.percent)}`);
  return element;
}

/** Above this, values are of different orders of magnitude: a training that explodes. */
const explosive = 50;

function yAxis(most: number, percent: boolean): PlotModule.ScaleOptions {
  if (percent) return { percent, domain: [0, 100], ticks: 5, tickFormat: (value: number) => `${value} %` };
  if (most <= explosive) return { domain: [0, most || 1], ticks: 5, nice: true };
  const powers = Math.ceil(Math.log10(most));
  const every = Math.ceil(powers / 5);
  const ticks = Array.from({ length: Math.floor(powers / every) + 1 }, (_, i) =>
    i === 0 ? 0 : 10 ** (i * every),
  );
  return { type: 'symlog', constant: 1, domain: [0, most], ticks, tickFormat: short };
}

function markOf(plot: typeof PlotModule, { points, color, dash, band }: Curve): PlotModule.RenderableMark {
  if (band) {
    return plot.areaY(banded(points), {
      x: 'x',
      y1: 'low',
      y2: 'high',
      fill: `var(--series-${color})`,
      fillOpacity: 0.18,
    });
  }
  return plot.line(thinned(points), {
    x: 'x',
    y: 'y',
    stroke: `var(--series-${color})`,
    strokeWidth: 2.25,
    strokeLinejoin: 'round',
    ...(dash !== undefined && { strokeDasharray: dash }),
  });
}

/** More points than a screen shows cost time only. */
const columns = 240;

function thinned(points: readonly Point[]): readonly Point[] {
  const every = Math.ceil(points.length / (2 * columns));
  return every <= 1 ? points : points.filter((_, i) => i % every === 0 || i === points.length - 1);
}

/** The lowest and the highest value of each group of neighbors. */
function banded(points: readonly Point[]): readonly { x: number; low: number; high: number }[] {
  const size = Math.max(4, Math.ceil(points.length / columns));
  const groups: { x: number; low: number; high: number }[] = [];
  for (let from = 0; from < points.length; from += size) {
    const group = points.slice(from, from + size);
    const values = group.map(({ y }) => y);
    groups.push({ x: group.at(-1)!.x, low: Math.min(...values), high: Math.max(...values) });
  }
  return groups;
}

/** The mean of each point and its neighbors on both sides, fewer at the ends, so that the curve does not lag behind. */
export function smooth(points: readonly Point[], radius = 6): readonly Point[] {
  const sums = new Float64Array(points.length + 1);
  for (const [i, { y }] of points.entries()) sums[i + 1] = sums[i]! + y;
  return points.map(({ x }, i) => {
    const reach = Math.min(radius, i, points.length - 1 - i);
    return { x, y: (sums[i + reach + 1]! - sums[i - reach]!) / (2 * reach + 1) };
  });
}

/** The end of the x axis: some way ahead of what was reached, so that a long training is seen from its beginning. */
export function axisEnd(reached: number, epochs: number): number {
  let end = 1;
  for (let i = 0; end < 1.1 * reached; i++) end = [1, 2, 5][i % 3]! * 10 ** Math.floor(i / 3);
  return Math.min(end, Math.max(1, epochs));
}

/** A text alternative: where each curve begins and ends. */
function described(curves: readonly Curve[], percent = false): string {
  const shown = (value: number): string => (percent ? `${(100 * value).toFixed(0)} %` : value.toPrecision(3));
  return curves
    .filter(({ points, band }) => points.length > 0 && !band)
    .map(({ name, points }) => `${name}: ${shown(points[0]!.y)} → ${shown(points.at(-1)!.y)}`)
    .join('; ');
}
