/**
 * Where the command line writes: results to standard output, notes and hints to standard error. Lines of text fit the
 * terminal, and name commands as they are called here (`invocation-node.ts`).
 */

import { localCommands, program } from '../invocation-node.ts';
import { parseWhole } from '../numbers.ts';
import { reason } from '../reason.ts';
import type { SampleFigures } from '../runs/series-folder.ts';
import { formatTable, percent } from '../words.ts';

/** A line of the result. */
export function print(line: string): void {
  printVerbatim(laidOut(line, widthOf(process.stdout)));
}

/** A text of the result as it is, code or JSON for instance. */
export function printVerbatim(text: string): void {
  process.stdout.write(`${text}\n`);
}

/** One compact object on a line of its own. */
export function printJson(value: unknown): void {
  // Optuna's journals can have integers that no number holds.
  printVerbatim(
    JSON.stringify(value, (_, part: unknown) => (typeof part === 'bigint' ? String(part) : part)),
  );
}

/** Rows of cells under a header, as `formatTable`; in as many parts, one below the other, as the width needs. */
export function printTable(cells: readonly (readonly string[])[], texts: number, total = false): void {
  printVerbatim(harmless(tableText(cells, texts, widthOf(process.stdout), total)));
}

/** A note or hint, which is no part of the result. */
export function note(line: string): void {
  process.stderr.write(`${laidOut(line, widthOf(process.stderr))}\n`);
}

const outputNames = { stdout: 'standard output', stderr: 'standard error' } as const;
const lost = new Set<keyof typeof outputNames>();
let continuation: string | undefined;

/** From now on the command has something to keep, so it runs to its end without its output, too. `what` says so. */
export function continueWithoutOutput(what: string): void {
  continuation = what;
}

/**
 * Outlives output that cannot be written: a full disk, a reader or a terminal that is gone. A command with something to
 * keep continues and says so once, where that can still be read. Any other command ends: quietly with exit code 0 where
 * its reader has seen enough, as in `vgg runs | head`, else with 1. Lost notes alone end nothing.
 */
export function guardOutput(): void {
  for (const name of ['stdout', 'stderr'] as const) {
    process[name].on('error', (error: NodeJS.ErrnoException) => {
      if (lost.has(name)) return;
      lost.add(name);
      const other = process[name === 'stdout' ? 'stderr' : 'stdout'];
      const problem = `${outputNames[name]} cannot be written: ${reason(error)}`;
      if (continuation !== undefined) {
        // Standard output may be JSON, in which a note has no place.
        if (name === 'stdout') other.write(`${problem}. ${continuation}\n`);
        return;
      }
      if (name === 'stderr') return;
      if (error.code === 'EPIPE') process.exit(0);
      other.write(`error: ${problem}\n`);
      process.exit(1);
    });
  }
}

/** Columns of a stream: a terminal's own, else those of $COLUMNS, else no limit. */
export function widthOf({ isTTY, columns }: { readonly isTTY?: boolean; readonly columns?: number }): number {
  const width = isTTY === true ? columns : parseWhole(process.env.COLUMNS ?? '');
  return width !== undefined && width >= narrowest ? width : isTTY === true ? 80 : Infinity;
}

/** Below this nothing can be laid out. */
const narrowest = 20;

const laidOut = (text: string, width: number): string => wrap(localCommands(harmless(text)), width);

/** `text` with the control characters replaced by which names in other people's files could command a terminal. */
export function harmless(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is looked for.
  return text.replaceAll(/[\0-\x08\x0b-\x1f\x7f-\x9f]/g, '\ufffd');
}

/**
 * `text` with its lines broken between words where they are longer than `width`; what follows is indented as the line
 * is. A unit stays with its number. A command keeps working when it is copied: its lines end with a backslash.
 */
export function wrap(text: string, width: number): string {
  return text
    .split('\n')
    .map((line) => (line.length <= width ? line : wrapLine(line, width)))
    .join('\n');
}

/** Where a line may break: at a space, but not between a number and its unit (2.6 s, 98.4 %, 1.2 GiB). */
const betweenWords = /(?<=\S)(?<!\d(?= (?:s|%|[KMGT]i?B|B)(?![\w/]))) /;

function wrapLine(line: string, width: number): string {
  const [indent = ''] = /^ */.exec(line) ?? [];
  const isCommand = indent !== '' && new RegExp(`^(\\$ )?${program()} `).test(line.trimStart());
  const room = isCommand ? width - 2 : width;
  const further = isCommand ? `${indent}    ` : indent;
  const lines: string[] = [];
  let current = indent;
  for (const word of line.trim().split(betweenWords)) {
    const isFirst = current.trim() === '';
    if (!isFirst && current.length + 1 + word.length > room) {
      lines.push(current);
      current = further + word.trimStart();
    } else current += isFirst ? word : ` ${word}`;
  }
  return [...lines, current].join(isCommand ? ' \\\n' : '\n');
}

/** A table whose columns beyond `width` follow in further tables below, each with the first column again. */
export function tableText(
  cells: readonly (readonly string[])[],
  texts: number,
  width: number,
  total = false,
): string {
  const widths = cells[0]!.map((_, column) => Math.max(...cells.map((row) => row[column]!.length)));
  const parts: number[][] = [[0]];
  let used = widths[0]!;
  for (let column = 1; column < widths.length; column++) {
    used += 2 + widths[column]!;
    if (used > width && parts.at(-1)!.length > 1) {
      parts.push([0]);
      used = widths[0]! + 2 + widths[column]!;
    }
    parts.at(-1)!.push(column);
  }
  const tables = parts.map((columns) => {
    const own = cells.map((row) => columns.map((column) => row[column]!));
    return formatTable(own, columns.filter((column) => column < texts).length, total);
  });
  return tables.join('\n\n');
}

/** The part of standard error that a notice of longer work uses. */
export interface NoteStream {
  readonly isTTY?: boolean;
  readonly columns?: number;
  write(text: string): unknown;
}

/** Shows what longer work is doing. */
export interface Doing {
  /** Names what is done from now on. */
  readonly now: (what: string) => void;
  /** The work is done. */
  readonly end: () => void;
}

/** On a terminal, redraws one line each second with the elapsed time; elsewhere prints a line for each thing done. */
export function doing(work: string, stream: NoteStream = process.stderr): Doing {
  if (!stream.isTTY) return { now: (what) => stream.write(`${work}: ${what}\n`), end: () => undefined };
  const begun = performance.now();
  let current = '';
  const draw = (): void => {
    const seconds = Math.round((performance.now() - begun) / 1000);
    // The last column stays free: some terminals would wrap.
    const time = ` … ${seconds} s`;
    const room = (stream.columns ?? 80) - 1 - time.length;
    const line = shorten(`${work}: ${current}`, room).replace(/ …$/, '') + time;
    stream.write(`\r\x1b[2K${line}`);
  };
  const timer = setInterval(draw, 1000).unref();
  return {
    now(what) {
      current = what;
      draw();
    },
    end() {
      clearInterval(timer);
      stream.write('\r\x1b[2K');
    },
  };
}

/** `text` in at most `width` columns: where it is longer, as many of its words as fit before an ellipsis. */
export function shorten(text: string, width: number): string {
  if (text.length <= width) return text;
  const end = text.lastIndexOf(' ', width - 2);
  return `${text.slice(0, end > 0 ? end : Math.max(0, width - 2)).trimEnd()} …`;
}

/** `text` in the column behind a term, with its further lines below. */
export function hanging(term: string, text: string, column: number, width: number): string {
  return term.padEnd(column) + wrap(text, width - column).replaceAll('\n', `\n${' '.repeat(column)}`);
}

/** Time that is left at the rate so far; undefined until the rate is stable, after two seconds and `least` parts. */
export function secondsLeft(done: number, left: number, milliseconds: number, least = 5): number | undefined {
  return milliseconds < 2000 || done < least ? undefined : ((milliseconds / 1000) * left) / done;
}

/** Fractions as `97.12 ± 0.30 %`; a single value has no deviation. */
export function meanText({ mean, deviation }: SampleFigures): string {
  if (mean === undefined || deviation === undefined) return percent(mean);
  return `${(100 * mean).toFixed(2)} ± ${percent(deviation)}`;
}
