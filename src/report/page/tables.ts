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
  rows.sort((a, b) => (descending ? -1 : 1) * compare(a.value, b.value));
  body.append(...rows.map(({ row }) => row));
}

function sortValue(cell: HTMLTableCellElement | undefined): string | number {
  const value = cell?.dataset.value;
  return value === undefined ? (cell?.textContent ?? '') : Number(value);
}

function compare(a: string | number, b: string | number): number {
  return typeof a === 'number' && typeof b === 'number' ? a - b : String(a).localeCompare(String(b));
}
