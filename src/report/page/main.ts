/** The script of a report that carries its network. The page is complete without it; with it, the page answers. */
import { dataId, type PageData } from '../page-data.ts';
import { startMatrix } from './matrix.ts';
import { startTables } from './tables.ts';
import { startTheme } from './theme.ts';
import { startTry } from './try.ts';

startTheme();
startTables();

const data = JSON.parse(document.getElementById(dataId)?.textContent ?? 'null') as PageData | null;
if (data) {
  startMatrix(data);
  startTry(data);
}
