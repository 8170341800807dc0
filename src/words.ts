/** A share (0–1) in percent: `43.21 %`; `–` if there is no value, for example a metric over zero images. */
export const percent = (share: number | undefined, digits = 2): string =>
  share === undefined || Number.isNaN(share) ? '–' : `${(100 * share).toFixed(digits)} %`;

/** A number with `digits` decimals; `–` if there is no value. */
export const fixed = (value: number | undefined, digits = 4): string =>
  value === undefined || Number.isNaN(value) ? '–' : value.toFixed(digits);

/** A number with thousands separators: 20,778. */
export const grouped = (value: number): string => Math.round(value).toLocaleString('en-US');

/** `1 thread`, `2 threads`. */
export const counted = (count: number, noun: string): string => `${count} ${noun}${count === 1 ? '' : 's'}`;

/** Formats rows under a header. The first `texts` columns are left-aligned, the others right; `total` separates the last row. */
export function formatTable(cells: readonly (readonly string[])[], texts: number, total = false): string {
  const widths = cells[0]!.map((_, column) => Math.max(...cells.map((row) => row[column]!.length)));
  const lines = cells.map((row) =>
    row
      .map((cell, column) => (column < texts ? cell.padEnd(widths[column]!) : cell.padStart(widths[column]!)))
      .join('  ')
      .trimEnd(),
  );
  const rule = '─'.repeat(Math.max(...lines.map((line) => line.length)));
  return [lines[0], rule, ...(total ? [...lines.slice(1, -1), rule, lines.at(-1)] : lines.slice(1))].join(
    '\n',
  );
}

/** A name from a file as part of a line. */
export const oneLine = (name: string): string => name.replaceAll(/\s+/g, ' ');

/** Quotes a word for a POSIX shell if needed. */
export function shellWord(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}
