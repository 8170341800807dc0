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

/** Least speed of a training step against PyTorch's, both at their best. */
export const leastStep = { simplified: 2, vgg7: 0.9 } as const;
export const leastTwoThreads = 1.8;
export const leastEpoch = 4.5;
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
