/** Sortable tables: each header of `table[data-sortable]` gets a button. Cells may have a numeric `data-value`. */

export function startTables(): void {
  for (const table of document.querySelectorAll<HTMLTableElement>('table[data-sortable]'))
    makeSortable(table);
}

function makeSortable(table: HTMLTableElement): void {
  const headers = [...(table.tHead?.rows[0]?.cells ?? [])];
  for (const [column, header] of headers.entries()) {
    const button = document.createElement('button');
    button.type = 'button';
    button.className = 'sort';
    button.append(...header.childNodes);
    header.append(button);
    button.addEventListener('click', () => {
      const descending = header.getAttribute('aria-sort') === 'ascending';
      for (const other of headers) other.removeAttribute('aria-sort');
      header.setAttribute('aria-sort', descending ? 'descending' : 'ascending');
      sort(table, column, descending);
    });
  }
}

function sort(table: HTMLTableElement, column: number, descending: boolean): void {
  const body = table.tBodies[0];
  if (!body) return;
  const rows = [...body.rows].map((row) => ({ row, value: sortValue(row.cells[column]) }));
  rows.sort((a, b) => compare(a.value, b.value, descending ? -1 : 1));
  body.append(...rows.map(({ row }) => row));
}

/** What a cell sorts by; undefined where a column of numbers has no value. */
function sortValue(cell: HTMLTableCellElement | undefined): string | number | undefined {
  const value = cell?.dataset.value;
  if (value === '') return undefined;
  return value === undefined ? (cell?.textContent ?? '') : Number(value);
}

/** What has no value comes last in both directions. */
function compare(a: string | number | undefined, b: string | number | undefined, direction: number): number {
  if (a === undefined || b === undefined) return Number(a === undefined) - Number(b === undefined);
  return (
    direction * (typeof a === 'number' && typeof b === 'number' ? a - b : String(a).localeCompare(String(b)))
  );
}
