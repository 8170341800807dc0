/**
 * `metrics.csv`: one row per logged step and per epoch, appended in whole lines. Numbers are read back as
 * the same doubles. A killed process may leave a torn last line, which is cut off before the next row.
 * `table-files.ts` takes paths.
 */
import { crc32 } from '../crc32.ts';
import { DamagedRunError } from '../errors.ts';
import { type Folder, readWholeIn, writeWholeIn } from '../files/folder.ts';
import { cannotRead, isMissing } from '../files/problems.ts';
import type { EpochRecord, StepRecord } from '../train/records.ts';
import { counted } from '../words.ts';
import { metricsColumns } from './records.ts';

export type MetricsRow =
  | ({ readonly kind: 'step' } & StepRecord)
  | ({ readonly kind: 'epoch' } & EpochRecord);

export interface Metrics {
  readonly steps: readonly StepRecord[];
  readonly epochs: readonly EpochRecord[];
}

/**
 * A checkpoint's record of the rows before it: their number and the CRC-32 of their values. The checksum leaves out
 * times, so that equal trainings have equal checkpoints.
 */
export interface RowsDigest {
  readonly rows: number;
  readonly checksum: number;
}

export interface MetricsTable {
  /** Of the rows that existed when the table was opened. */
  readonly digest: RowsDigest;
  /**
   * Appends all rows in one write.
   * @throws VggError if they do not fit; the table then ends with the rows before them.
   */
  readonly append: (rows: readonly MetricsRow[]) => Promise<void>;
  /** Forces the rows to disk, for instance before a checkpoint of the same step. */
  readonly sync: () => Promise<void>;
  readonly close: () => Promise<void>;
}

const header = `${metricsColumns.join(',')}\n`;
/** A million steps take about 60 MB. */
const mostBytes = 1 << 28;
/** Three times the length of a row with the longest numbers. */
const longestLine = 1000;
const linesAtOnce = 20_000;

/** Opens a table for appending; creates it if needed and cuts off a torn end. */
export async function openMetricsIn(folder: Folder, name: string): Promise<MetricsTable> {
  const found = await read(folder, name);
  if (found === undefined) await writeWholeIn(folder, name, header);
  else if (found.goodText.length < found.length) await writeWholeIn(folder, name, found.goodText);
  const file = await folder.append(name);
  return {
    digest: digestOf(found?.rows ?? []),
    append: (rows) =>
      rows.length === 0 ? Promise.resolve() : file.append(rows.map((row) => formatRow(row)).join('')),
    sync: file.sync,
    close: file.close,
  };
}

/** The digest after `rows` were appended to rows with the digest `before`. */
export function digestOf(
  rows: readonly MetricsRow[],
  before: RowsDigest = { rows: 0, checksum: 0 },
): RowsDigest {
  const text = rows.map((row) => formatRow(row, untimed)).join('');
  return { rows: before.rows + rows.length, checksum: crc32(text, before.checksum) };
}

/**
 * Whether a table has exactly the rows of the first `step` steps and `epochs` epochs that a checkpoint expects; false if
 * the table does not exist.
 * @throws DamagedRunError that says what is wrong with the rows.
 */
export async function hasRowsIn(
  folder: Folder,
  name: string,
  epochs: number,
  step: number,
  expected: RowsDigest,
): Promise<boolean> {
  const found = await read(folder, name);
  if (found === undefined) return false;
  const rows = found.rows.filter(upTo(epochs, step));
  const digest = digestOf(rows);
  if (digest.rows === expected.rows && digest.checksum === expected.checksum) return true;
  const seen = new Set<string>();
  const repeated = rows.find((row) => seen.size === seen.add(`${row.kind} ${row.step}`).size);
  const fault = repeated
    ? `has two rows for ${repeated.kind} ${repeated[repeated.kind]}`
    : digest.rows !== expected.rows
      ? `has ${counted(digest.rows, 'row')} up to step ${step}, but the checkpoint expects ${expected.rows}`
      : `was changed: its rows up to step ${step} do not match the checkpoint`;
  throw new DamagedRunError(`${folder.pathOf(name)} ${fault}; ${wayOut}`);
}

const wayOut = 'restore the file, or delete it to continue without the rows so far';

/** Rows of the first `step` steps and the first `epochs` epochs. */
const upTo =
  (epochs: number, step: number) =>
  (row: MetricsRow): boolean =>
    row.step <= step && (row.kind === 'step' || row.epoch <= epochs);

/**
 * Keeps the rows of the first `step` steps and the first `epochs` whole epochs: a run that resumes from there writes
 * the other rows again. The table must not be open.
 */
export async function truncateAfterIn(
  folder: Folder,
  name: string,
  epochs: number,
  step: number,
): Promise<void> {
  const found = await read(folder, name);
  if (found === undefined) return;
  const kept = found.rows.filter(upTo(epochs, step));
  const text = header + kept.map((row) => formatRow(row)).join('');
  if (text.length < found.length) await writeWholeIn(folder, name, text);
}

/** Reads the rows of a table, without a torn end. @throws DamagedRunError that names the file, the line and the rule. */
export async function readMetricsIn(folder: Folder, name: string): Promise<Metrics> {
  const found = await read(folder, name);
  if (found === undefined) throw cannotRead(folder.pathOf(name), { code: 'ENOENT' });
  const steps: StepRecord[] = [];
  const epochs: EpochRecord[] = [];
  for (const { kind, ...row } of found.rows) {
    if (kind === 'step') steps.push(row as StepRecord);
    else epochs.push(row as EpochRecord);
  }
  return { steps, epochs };
}

/** The rows in whole lines of a table, for instance those that were appended; what is no row is left out. */
export const rowsIn = (text: string): readonly MetricsRow[] =>
  text.split('\n').flatMap((line) => {
    const row = parseRow(line);
    return typeof row === 'string' ? [] : [row];
  });

interface Found {
  readonly rows: readonly MetricsRow[];
  /** Header and rows as in the file. */
  readonly goodText: string;
  /** Length of the file in characters. */
  readonly length: number;
}

/** Undefined if the file does not exist. */
async function read(folder: Folder, name: string): Promise<Found | undefined> {
  const path = folder.pathOf(name);
  let text: string;
  try {
    text = new TextDecoder().decode(await readWholeIn(folder, name, mostBytes));
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
  if (header.startsWith(text))
    return { rows: [], goodText: header, length: text === header ? text.length : Infinity };
  if (text.startsWith(`${header.trimEnd()}\r\n`)) {
    throw new DamagedRunError(`${path} was changed: its lines end with CR and LF instead of LF; ${wayOut}`);
  }
  if (!text.startsWith(header)) {
    const [first = ''] = text.split('\n', 1);
    throw new DamagedRunError(
      `${path} starts with ${JSON.stringify(first.slice(0, 60))}, not with the columns ` +
        `${metricsColumns.join(',')}; move it away, and the run writes a new one`,
    );
  }
  const lines = text.slice(header.length).split('\n');
  // The last newline is followed by nothing or by a torn line.
  lines.pop();
  const rows: MetricsRow[] = [];
  let end = header.length;
  for (const [i, line] of lines.entries()) {
    // A large table takes seconds: let signals be handled in between.
    if (i % linesAtOnce === linesAtOnce - 1) await new Promise((resolve) => setTimeout(resolve, 0));
    const row = parseRow(line);
    if (typeof row === 'string') {
      if (i === lines.length - 1) break;
      throw new DamagedRunError(`${path}, line ${i + 2}: ${row}; correct that line, ${wayOut}`);
    }
    rows.push(row);
    end += line.length + 1;
  }
  return { rows, goodText: text.slice(0, end), length: text.length };
}

type Column = (typeof metricsColumns)[number];
const numberColumns = metricsColumns.slice(1) as Exclude<Column, 'kind'>[];
const counts: readonly Column[] = ['epoch', 'step'];
const optional: readonly Column[] = ['validationLoss', 'validationAccuracy'];
const ofSteps: readonly Column[] = ['epoch', 'step', 'lr', 'trainLoss'];

/** Columns that do not depend on when and where a run is trained. */
const untimed = metricsColumns.filter(
  (column) => !['trainSeconds', 'testSeconds', 'imagesPerSecond'].includes(column),
);

function formatRow(row: MetricsRow, columns: readonly Column[] = metricsColumns): string {
  const cells: Readonly<Partial<Record<Column, string | number>>> = row;
  return `${columns.map((column) => cells[column] ?? '').join(',')}\n`;
}

/** Returns the row, or what is wrong with it. */
function parseRow(line: string): MetricsRow | string {
  if (line.length > longestLine) return `its ${line.length} characters are above the limit of ${longestLine}`;
  const [kind, ...cells] = line.split(',');
  if (cells.length !== numberColumns.length) {
    return `${cells.length + 1} cells, expected ${metricsColumns.length}`;
  }
  if (kind !== 'step' && kind !== 'epoch') return `kind ${show(kind)} is neither step nor epoch`;
  const row: Partial<Record<Column, string | number>> = { kind };
  for (const [i, column] of numberColumns.entries()) {
    const cell = cells[i]!;
    const needed = kind === 'epoch' ? !optional.includes(column) : ofSteps.includes(column);
    if (cell === '' && !needed) continue;
    if (!/^(?:-?(?:\d+(?:\.\d+)?(?:e[+-]?\d+)?|Infinity)|NaN)$/.test(cell))
      return `${column} ${show(cell)} is not a number`;
    const value = Number(cell);
    if (counts.includes(column) && !(Number.isSafeInteger(value) && value >= 0)) {
      return `${column} ${show(cell)} is not a whole number ≥ 0`;
    }
    row[column] = value;
  }
  return row as unknown as MetricsRow;
}

const show = (cell: string | undefined): string => JSON.stringify((cell ?? '').slice(0, 40));
