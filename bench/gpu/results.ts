/** What the benchmark writes as JSON, and how it prints it. */
import { formatTable } from '../../src/words.ts';
import type { Cell, Part } from './part.ts';

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

const absent = 'not measured';

function shown(cell: Cell | undefined): string {
  if (cell === undefined) return absent;
  if (typeof cell === 'string') return cell;
  return Number.isInteger(cell) ? String(cell) : cell.toPrecision(3);
}

/** A part's table, with a row and a column for everything that was to be measured. */
export function printResult(
  part: Part,
  { failure, notes, cells, seconds }: PartResult,
  quick: boolean,
): void {
  const columns = part.columns(quick);
  console.log(`\n${part.title}\n`);
  const rows = part
    .rows(quick)
    .map((row) => [
      row,
      ...columns.map((column) =>
        part.applies && !part.applies(row, column) ? '' : shown(cells[row]?.[column]),
      ),
    ]);
  console.log(formatTable([['', ...columns], ...rows], columns.length === 1 ? 2 : 1));
  for (const line of notes) console.log(`  ${line}`);
  if (failure !== undefined) console.log(`  ${failure}`);
  console.log(`  ${seconds.toFixed(1)} s`);
}
