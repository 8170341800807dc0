import { describe, expect, test } from 'vitest';
import { DataError, UsageError } from '../errors.ts';
import { histogramsSvg } from './histograms.ts';

/** All pixels at the given byte values, equally often. */
const histogram = (...values: number[]): Uint32Array => {
  const bins = new Uint32Array(256);
  for (const value of values) bins[value]!++;
  return bins;
};
const statistics = { mean: [0.5, 0.4, 0.2], std: [0.25, 0.2, 0.1] };
const histograms = [histogram(10, 128, 245), histogram(90, 100, 110), histogram(0, 51, 102)];

/** Throws unless tags are balanced and text holds no bare markup. */
function checkWellFormed(svg: string): void {
  const open: string[] = [];
  for (const [, close, name, selfClosed] of svg.matchAll(/<(\/?)([a-z]+)(?:\s[^<>]*?)?(\/?)>/g)) {
    if (selfClosed === '/') continue;
    if (close === '') open.push(name!);
    else if (open.pop() !== name) throw new Error(`unexpected </${name}>`);
  }
  if (open.length > 0) throw new Error(`not closed: ${open.join(', ')}`);
  if (/&(?!amp;|lt;|gt;)/.test(svg)) throw new Error('bare &');
}

describe('histogramsSvg', () => {
  const svg = histogramsSvg(histograms, statistics, { dataset: 'a <b> & c' });

  test('is one well-formed image with a title and a description', () => {
    checkWellFormed(svg);
    expect(svg.match(/<svg /g)).toHaveLength(1);
    expect(svg).toContain('role="img"');
    expect(svg).toMatch(/<title id="vgg-histograms-title">[^<]*a &lt;b&gt; &amp; c/);
    expect(svg).toMatch(/<desc[^>]*>[^<]*red: mean 0\.5000, standard deviation 0\.2500/);
    expect(svg).not.toMatch(/NaN|Infinity|undefined/);
  });

  test('marks mean and deviation of each channel before, 0 and 1 after', () => {
    const marks = [...svg.matchAll(/>([μσ] = [^<]*)</g)].map((match) => match[1]);
    expect(marks).toEqual(
      [
        ['μ = 0.500', 'σ = 0.250', 'μ = 0', 'σ = 1'],
        ['μ = 0.400', 'σ = 0.200', 'μ = 0', 'σ = 1'],
        ['μ = 0.200', 'σ = 0.100', 'μ = 0', 'σ = 1'],
      ].flat(),
    );
    // On the left the line of red's mean, 0.5, stands in the middle of its plot: 72 + 318 / 2.
    expect(svg).toContain('<path class="mark" d="M231 76V196"/>');
    // After normalization all means stand one below the other.
    const lines = [...svg.matchAll(/class="mark" d="M([\d.]+) \d+V\d+"/g)].map((match) => match[1]);
    expect(new Set([lines[1], lines[3], lines[5]]).size).toBe(1);
    expect(new Set([lines[0], lines[2], lines[4]]).size).toBe(3);
  });

  test('cuts off a clipped white, and says how high it is', () => {
    const bins = new Uint32Array(256).fill(10);
    bins[255] = 1000;
    const clipped = histogramsSvg([bins], { mean: [0.6], std: [0.3] });
    expect(clipped).toContain('↑ 28.2 %');
    expect(clipped).toContain('>gray</tspan>');
  });

  test('refuses what does not fit together or cannot be normalized', () => {
    expect(() => histogramsSvg(histograms, { mean: [0.5], std: [0.1] })).toThrow(UsageError);
    expect(() => histogramsSvg([], { mean: [], std: [] })).toThrow(UsageError);
    expect(() => histogramsSvg([new Uint32Array(10)], { mean: [0.5], std: [0.1] })).toThrow(/10 bins/);
    expect(() => histogramsSvg([histogram(3)], { mean: [3 / 255], std: [0] })).toThrow(DataError);
  });
});
