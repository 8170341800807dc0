/** Performance targets (bars), and whether the medians of this run meet them. */

export interface Bar {
  readonly what: string;
  readonly value: number;
  readonly unit: '×' | ' MB' | ' s';
  /** The smallest value that meets the bar, … */
  readonly least?: number;
  /** … or the largest. */
  readonly most?: number;
}

/** Required speed relative to PyTorch, each with its fastest number of threads. */
export interface Bars {
  readonly step: Readonly<Record<'simplified' | 'vgg7', number>>;
  /** For `vgg7`, by batch size. */
  readonly predict: Readonly<Record<number, number>>;
  readonly epoch: number;
  /** Speed of a `vgg7` step, counted as direct convolution, relative to the peak of its cores. */
  readonly peakShare?: number;
}

export const leastSpeed: Readonly<Record<'native' | 'wasm', Bars>> = {
  native: { step: { simplified: 4, vgg7: 2.5 }, predict: { 100: 3, 1: 2 }, epoch: 10, peakShare: 1.5 },
  wasm: { step: { simplified: 2.5, vgg7: 1.1 }, predict: {}, epoch: 7 },
};
export const leastTwoThreads = 1.8;
export const mostMegabytes = 700;
export const mostSecondsToStep = 1.5;

export function isMet({
  value,
  least = Number.NEGATIVE_INFINITY,
  most = Number.POSITIVE_INFINITY,
}: Bar): boolean {
  return value >= least && value <= most;
}

export function formatBar(bar: Bar): string {
  const { what, value, unit, least, most } = bar;
  const number = (amount: number): string => `${amount.toFixed(unit === ' MB' ? 0 : 2)}${unit}`;
  const limit = least === undefined ? `at most ${number(most!)}` : `at least ${number(least)}`;
  return `${isMet(bar) ? 'met   ' : 'missed'}  ${what.padEnd(44)}${number(value).padStart(9)}   ${limit}`;
}
