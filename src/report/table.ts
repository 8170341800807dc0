/** Plain tables of a report. */
import { type Content, html, type Markup } from './markup.ts';

export interface Column {
  readonly title: string;
  /** To the right, in figures of one width. */
  readonly number?: boolean;
}

/** What a cell shows, and the number it sorts by where that is not its text; undefined sorts last. */
export type Cell = Content | { readonly show: Content; readonly value: number | undefined };

const isValued = (cell: Cell): cell is Extract<Cell, { readonly show: Content }> =>
  typeof cell === 'object' && cell !== null && 'show' in cell;

/** A table whose first column heads its rows. */
export function table(
  caption: string,
  columns: readonly Column[],
  rows: readonly (readonly Cell[])[],
  options: { readonly sortable?: boolean; readonly totals?: readonly Cell[] } = {},
): Markup {
  const cells = (row: readonly Cell[]): Markup =>
    html`<tr>${row.map((cell, i) => {
      const content = isValued(cell) ? cell.show : cell;
      const value = isValued(cell) ? html` data-value="${cell.value}"` : undefined;
      const kind = columns[i]?.number ? html` class="number"` : undefined;
      return i === 0
        ? html`<th scope="row"${value}${kind}>${content}</th>`
        : html`<td${value}${kind}>${content}</td>`;
    })}</tr>`;
  return html`<table${options.sortable ? html` data-sortable` : undefined}><caption>${caption}</caption>
<thead><tr>${columns.map(({ title, number }) => html`<th scope="col"${number ? html` class="number"` : undefined}>${title}</th>`)}</tr></thead>
<tbody>${rows.map(cells)}</tbody>${options.totals && html`<tfoot>${cells(options.totals)}</tfoot>`}</table>`;
}
