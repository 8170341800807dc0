/** What the benchmark writes as JSON. */
import type { Cell } from './part.ts';

export interface PartResult {
  readonly title: string;
  readonly seconds: number;
  /** What ended it early, if anything. */
  readonly failure?: string;
  readonly notes: readonly string[];
  /** By row, then column; only what was measured. */
  readonly cells: Readonly<Record<string, Readonly<Record<string, Cell>>>>;
}

export interface Results {
  readonly version: 1;
  readonly quick: boolean;
  /** ISO 8601. */
  readonly started: string;
  readonly parts: Readonly<Record<string, PartResult>>;
}
