/**
 * The channels' histograms before and after normalization (the lecture's equation 5.9, x' = (x − μ) / σ) as one SVG:
 * a row for each channel, pixels scaled to 0–1 on the left, normalized ones on the right, μ and σ marked in both.
 * Plain text made by hand: two kinds of shape do not pay for a chart library and a DOM to run it in. The colors
 * follow the reader's light or dark setting; a title and a description replace the drawing for readers who cannot see it.
 */
import type { ChannelStatistics } from '../data/statistics.ts';
import { DataError, UsageError } from '../errors.ts';

export interface HistogramsOptions {
  /** Name of the data set, for the heading. */
  readonly dataset?: string;
}

const bins = 256;
const width = 800;
const rowHeight = 120;
const rowGap = 22;
const top = 76;
const bottom = 58;
const plotWidth = 318;
const leftEdges = [72, 460] as const; // of the plots before and after

const style = `
.vgg-histograms { --ink: #1f2328; --muted: #59636e; --line: #d1d9e0; --paper: #ffffff; font: 12px system-ui, sans-serif }
@media (prefers-color-scheme: dark) {
  .vgg-histograms { --ink: #f0f6fc; --muted: #9198a1; --line: #3d444d; --paper: #0d1117 }
}
.vgg-histograms text { fill: var(--muted) }
.vgg-histograms .strong { fill: var(--ink); font-weight: 600 }
.vgg-histograms .heading { font-size: 16px }
.vgg-histograms .halo { fill: var(--ink); stroke: var(--paper); stroke-width: 4px; stroke-linejoin: round; paint-order: stroke }
.vgg-histograms .paper { fill: var(--paper) }
.vgg-histograms .tick { stroke: var(--line) }
.vgg-histograms .mark { stroke: var(--ink); stroke-width: 1.5; fill: none }
.vgg-histograms .middle { text-anchor: middle }
.vgg-histograms .end { text-anchor: end }`;

const rgb = [
  { name: 'red', color: '#e5484d' },
  { name: 'green', color: '#2f9e63' },
  { name: 'blue', color: '#3e7bfa' },
] as const;

/** A channel's name and color. */
function appearance(channel: number, count: number): { name: string; color: string } {
  if (count === 3) return rgb[channel]!;
  return { name: count === 1 ? 'gray' : `channel ${channel + 1}`, color: '#8b8d98' };
}

const escapeText = (text: string): string =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
/** Coordinates to a tenth of a pixel. */
const at = (value: number): string => String(Math.round(value * 10) / 10);
/** A number with a real minus sign. */
const signed = (value: number, digits: number): string => value.toFixed(digits).replace('-', '−');

/** A round step (1, 2 or 5 times a power of ten) that cuts `span` into at most `most` parts. */
function tickStep(span: number, most: number): number {
  const power = 10 ** Math.floor(Math.log10(span / most));
  return power * (([1, 2, 5].find((factor) => span / (factor * power) <= most) ?? 10) as number);
}

interface Panel {
  /** Edges of the plot and the domain of its values. */
  readonly left: number;
  readonly domain: readonly [number, number];
  readonly ticks: readonly number[];
  readonly digits: number;
}

const position = ({ left, domain }: Panel, value: number): number =>
  left + ((value - domain[0]) / (domain[1] - domain[0])) * plotWidth;

/** Ticks at multiples of `step` inside the domain. */
function panel(left: number, domain: readonly [number, number], step: number, digits: number): Panel {
  const first = Math.ceil(domain[0] / step);
  const count = Math.floor(domain[1] / step + 1e-9) - first + 1;
  return { left, domain, ticks: Array.from({ length: count }, (_, i) => (first + i) * step), digits };
}

/** The share of pixels (%) at the top of a row's axis: above all bins but 0 and 255, where images are clipped. */
function ceiling(shares: readonly number[]): number {
  const highest = Math.max(...shares.slice(1, -1)) || Math.max(...shares);
  const step = tickStep(highest * 1.2, 3);
  return Math.ceil((highest * 1.2) / step) * step;
}

/** One channel in one panel: grid, histogram, μ and σ. `of` maps a bin's edge (0–1) to the panel's values. */
function plot(
  shares: readonly number[],
  panel: Panel,
  y: number,
  color: string,
  of: (value: number) => number,
  mean: number,
  std: number,
): string {
  const base = y + rowHeight;
  const limit = ceiling(shares);
  const step = tickStep(limit, 3);
  const parts: string[] = [];
  const height = (share: number): number => base - (Math.min(share, limit) / limit) * rowHeight;
  for (let i = 0; i * step <= limit + 1e-9; i++) {
    const tick = height(i * step);
    const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
    parts.push(`<path class="tick" d="M${panel.left} ${at(tick)}h${plotWidth}"/>`);
    parts.push(
      `<text class="end" x="${panel.left - 8}" y="${at(tick + 4)}">${(i * step).toFixed(digits)}</text>`,
    );
  }
  let outline = `M${at(position(panel, of(0)))} ${base}`;
  for (const [bin, share] of shares.entries()) {
    outline += `V${at(height(share))}H${at(position(panel, of((bin + 1) / bins)))}`;
  }
  parts.push(`<path fill="${color}" fill-opacity="0.75" d="${outline}V${base}Z"/>`);
  for (const bin of [0, bins - 1]) {
    if (shares[bin]! < 1.05 * limit) continue;
    const x = at(position(panel, of((bin + 0.5) / bins)) + (bin === 0 ? 6 : -6));
    const share = `↑ ${shares[bin]!.toFixed(1)} %`;
    parts.push(`<text class="halo${bin === 0 ? '' : ' end'}" x="${x}" y="${y + 11}">${share}</text>`);
  }
  const middle = position(panel, mean);
  const low = Math.max(position(panel, mean - std), panel.left);
  const high = Math.min(position(panel, mean + std), panel.left + plotWidth);
  const bar = y + 26;
  parts.push(`<path class="mark" d="M${at(middle)} ${y}V${base}"/>`);
  parts.push(
    `<path class="mark" d="M${at(low)} ${bar}H${at(high)}M${at(low)} ${bar - 4}v8M${at(high)} ${bar - 4}v8"/>`,
  );
  // Labels stand right of the mean's line, or left of it where they would leave the plot.
  const fits = middle < panel.left + plotWidth - 70;
  const label = `<text class="halo${fits ? '' : ' end'}" x="${at(middle + (fits ? 6 : -6))}"`;
  parts.push(`${label} y="${y + 11}">μ = ${signed(mean, panel.digits)}</text>`);
  parts.push(`${label} y="${bar + 17}">σ = ${std.toFixed(panel.digits)}</text>`);
  return parts.join('\n');
}

/**
 * The histograms of a data set's channels before and after normalization as an SVG document.
 * @param histograms 256 bins for each channel (`channelHistograms`).
 * @param statistics Mean and deviation of each channel, of pixels scaled to 0–1 (`channelStatistics`).
 * @throws UsageError where the lengths do not fit together, DataError where a channel is constant (σ = 0).
 */
export function histogramsSvg(
  histograms: readonly Uint32Array[],
  statistics: ChannelStatistics,
  options: HistogramsOptions = {},
): string {
  const { mean, std } = statistics;
  const count = histograms.length;
  if (count === 0 || mean.length !== count || std.length !== count) {
    throw new UsageError(
      `histogramsSvg: ${count} histograms for ${mean.length} means and ${std.length} deviations; give one of each per channel`,
    );
  }
  const channels = histograms.map((histogram, channel) => {
    const look = appearance(channel, count);
    if (histogram.length !== bins) {
      throw new UsageError(
        `histogramsSvg: ${histogram.length} bins in ${look.name}; a byte has ${bins} values`,
      );
    }
    if (!(std[channel]! > 0)) {
      throw new DataError(
        `histogramsSvg: every pixel of ${look.name} has the same value (σ = ${std[channel]}), so it cannot be normalized; ` +
          'leave the channel out or look at the data',
      );
    }
    const total = histogram.reduce((sum, n) => sum + n, 0);
    return {
      ...look,
      mean: mean[channel]!,
      std: std[channel]!,
      shares: Array.from(histogram, (n) => (100 * n) / total),
    };
  });

  const before = panel(leftEdges[0], [0, 1], 0.2, 3);
  const lowest = Math.min(...channels.map((channel) => -channel.mean / channel.std));
  const highest = Math.max(...channels.map((channel) => (1 - channel.mean) / channel.std));
  const after = panel(leftEdges[1], [lowest, highest], Math.max(1, tickStep(highest - lowest, 8)), 0);

  const height = top + count * (rowHeight + rowGap) - rowGap + bottom;
  const of = options.dataset === undefined ? '' : ` of ${escapeText(options.dataset)}`;
  const figures = channels.map(
    (c) => `${c.name}: mean ${c.mean.toFixed(4)}, standard deviation ${c.std.toFixed(4)}`,
  );
  const parts = [
    `<svg xmlns="http://www.w3.org/2000/svg" class="vgg-histograms" role="img" aria-labelledby="vgg-histograms-title vgg-histograms-desc" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}">`,
    `<title id="vgg-histograms-title">Pixel histograms${of} before and after normalization</title>`,
    `<desc id="vgg-histograms-desc">Share of pixels by value for each channel, scaled to 0–1 and after (x − μ) / σ. ${figures.join('; ')}. After normalization each channel has mean 0 and standard deviation 1.</desc>`,
    `<style>${style}\n</style>`,
    `<rect class="paper" width="${width}" height="${height}"/>`,
    `<text class="strong heading" x="${before.left}" y="28">Pixel values${of}</text>`,
    `<text class="strong" x="${before.left}" y="56">Before: x, scaled to 0–1</text>`,
    `<text class="strong" x="${after.left}" y="56">After: (x − μ) / σ</text>`,
  ];
  for (const [row, { name, color, shares, mean, std }] of channels.entries()) {
    const y = top + row * (rowHeight + rowGap);
    const label = y + rowHeight / 2;
    parts.push(
      `<text class="middle" transform="translate(26 ${label}) rotate(-90)"><tspan class="strong">${name}</tspan>, % of pixels</text>`,
      plot(shares, before, y, color, (value) => value, mean, std),
      plot(shares, after, y, color, (value) => (value - mean) / std, 0, 1),
    );
  }
  const base = top + count * (rowHeight + rowGap) - rowGap;
  for (const { left, ticks, ...rest } of [before, after]) {
    const digits = left === before.left ? 1 : 0;
    for (const tick of ticks) {
      const x = at(position({ left, ticks, ...rest }, tick));
      parts.push(`<path class="tick" d="M${x} ${base}v5"/>`);
      parts.push(`<text class="middle" x="${x}" y="${base + 18}">${signed(tick, digits)}</text>`);
    }
    const caption =
      left === before.left ? 'pixel value, 0 = black, 1 = full' : 'normalized value, in standard deviations';
    parts.push(`<text class="middle" x="${left + plotWidth / 2}" y="${base + 40}">${caption}</text>`);
  }
  return `${parts.join('\n')}\n</svg>\n`;
}
