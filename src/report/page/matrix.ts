/**
 * The confusion matrix by keyboard and mouse. Arrow keys move the focus. If cells stand for groups, Enter or a click
 * opens the classes of one.
 */
import type { PageData } from '../page-data.ts';
import { byId, make } from './dom.ts';

const steps: Readonly<Record<string, readonly [row: number, column: number]>> = {
  ArrowUp: [-1, 0],
  ArrowDown: [1, 0],
  ArrowLeft: [0, -1],
  ArrowRight: [0, 1],
};

export function startMatrix(data: PageData): void {
  const table = byId('matrix', HTMLTableElement);
  if (!table) return;
  const rows = [...(table.tBodies[0]?.rows ?? [])].map((row) => [...row.querySelectorAll('td')]);
  let focused = rows[0]?.[0];
  if (!focused) return;
  table.setAttribute('role', 'grid');
  for (const cell of rows.flat()) cell.tabIndex = -1;
  focused.tabIndex = 0;
  const focus = (cell: HTMLTableCellElement): void => {
    if (focused) focused.tabIndex = -1;
    focused = cell;
    cell.tabIndex = 0;
    cell.focus();
  };
  const open = (row: number, column: number): void => {
    const { groups, confusion } = data;
    const place = byId('matrix-detail', HTMLElement);
    if (!groups || !confusion || !place) return;
    for (const cell of rows.flat()) cell.removeAttribute('aria-selected');
    rows[row]?.[column]?.setAttribute('aria-selected', 'true');
    place.replaceChildren(detail(data, groups, confusion, row, column));
  };
  for (const [r, row] of rows.entries()) {
    for (const [c, cell] of row.entries()) {
      cell.addEventListener('click', () => {
        focus(cell);
        open(r, c);
      });
      cell.addEventListener('keydown', (event) => {
        const step = steps[event.key];
        if (step) {
          const next = rows[r + step[0]]?.[c + step[1]];
          if (next) focus(next);
        } else if (event.key === 'Home') focus(row[0]!);
        else if (event.key === 'End') focus(row.at(-1)!);
        else if (event.key === 'Enter' || event.key === ' ') open(r, c);
        else return;
        event.preventDefault();
      });
    }
  }
  // Starts with the largest mistake off the diagonal.
  const largest = largestMistake(rows);
  if (largest) open(...largest);
}

function largestMistake(
  rows: readonly (readonly HTMLTableCellElement[])[],
): readonly [number, number] | undefined {
  let best: readonly [number, number] | undefined;
  let most = 0;
  for (const [r, row] of rows.entries()) {
    for (const [c, cell] of row.entries()) {
      const count = Number(cell.dataset.value ?? 0);
      if (r !== c && count > most) [best, most] = [[r, c], count];
    }
  }
  return best;
}

/** The confusion matrix of the classes of two groups. */
function detail(
  { classes }: PageData,
  groups: NonNullable<PageData['groups']>,
  confusion: readonly number[],
  row: number,
  column: number,
): HTMLElement {
  const members = (group: number): number[] =>
    classes.map((_, label) => label).filter((label) => groups.of[label] === group);
  const [labels, answers] = [members(row), members(column)];
  const table = make('table', { class: 'matrix small' });
  const [from, to] = [groups.names[row]!, groups.names[column]!];
  table.append(make('caption', {}, row === column ? `Within ${from}` : `${from} mistaken for ${to}`));
  const head = make('tr', {}, make('th', { scope: 'col' }, 'true ↓ answer →'));
  for (const answer of answers) head.append(make('th', { scope: 'col' }, make('span', {}, classes[answer]!)));
  table.append(make('thead', {}, head));
  const body = make('tbody');
  for (const label of labels) {
    const total = classes.reduce((sum, _, answer) => sum + confusion[label * classes.length + answer]!, 0);
    const line = make('tr', {}, make('th', { scope: 'row' }, classes[label]!));
    for (const answer of answers) {
      const count = confusion[label * classes.length + answer]!;
      const share = total > 0 ? count / total : 0;
      const right = label === answer;
      line.append(
        make(
          'td',
          { class: right ? 'right' : 'wrong', '--v': (right ? share : Math.sqrt(share)).toFixed(3) },
          count > 0 ? String(count) : '',
        ),
      );
    }
    body.append(line);
  }
  table.append(body);
  return table;
}
