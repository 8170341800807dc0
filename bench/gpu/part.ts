/** A part of the benchmark: a table whose cells it measures in a process of its own. */

/** A measurement, or words. Numbers are printed with three digits. */
export type Cell = number | string;

export interface PartOptions {
  /** Tiny sizes, to test the benchmark on a software adapter. */
  readonly quick: boolean;
  /** Index of the adapter, or a part of its name; the system's choice by default. */
  readonly adapter: string | undefined;
  /** PyTorch's device: `cuda`, or `cpu` to test the benchmark. */
  readonly torch: string;
  /** Seconds that this part has. */
  readonly seconds: number;
}

export interface Reporter {
  /** Cells of a row by column; may be called several times for one row. */
  cells(row: string, cells: Readonly<Record<string, Cell>>): void;
  /** A line below the table: how something was measured, or why it was not. */
  note(line: string): void;
}

export interface Part {
  readonly title: string;
  /** The most seconds that it may take. */
  readonly seconds: number;
  rows(quick: boolean): readonly string[];
  columns(quick: boolean): readonly string[];
  /** Whether a row has a cell in a column; all have by default. */
  applies?(row: string, column: string): boolean;
  run(options: PartOptions, report: Reporter): Promise<void>;
}

/** What a part's process prints, a line each. */
export type Message =
  | { readonly row: string; readonly cells: Readonly<Record<string, Cell>> }
  | { readonly note: string }
  | { readonly failure: string };
