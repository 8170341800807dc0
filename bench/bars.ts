/** What the project wants to reach, and whether this run did: medians against bars. */

export interface Bar {
  readonly what: string;
  readonly value: number;
  readonly unit: '×' | ' MB' | ' s';
  /** The value must be at least this large, … */
  readonly least?: number;
  /** … or at most. */
  readonly most?: number;
}

/** Least speed against PyTorch's, both at their best. */
export interface Bars {
  readonly step: Readonly<Record<'simplified' | 'vgg7', number>>;
  /** Of `vgg7`, by batch. */
  readonly predict: Readonly<Record<number, number>>;
  readonly epoch: number;
  /** Of a step of `vgg7`, counted as direct convolution, of the peak of all its cores. */
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
