/** `metrics.csv` by its path on disk (Node only); see `table.ts`. */
import { basename, dirname } from 'node:path';
import { diskFolder } from '../files/disk.ts';
import { checkPath } from '../paths.ts';
import { type Metrics, type MetricsTable, openMetricsIn, readMetricsIn, truncateAfterIn } from './table.ts';

/** Opens a table for appending; creates it if needed and cuts off a torn end. */
export const openMetrics = async (path: string): Promise<MetricsTable> =>
  openMetricsIn(diskFolder(dirname(path)), basename(path));

/** Keeps the rows of the first `step` steps and the first `epochs` whole epochs; the table must not be open. */
export const truncateAfter = async (path: string, epochs: number, step: number): Promise<void> =>
  truncateAfterIn(diskFolder(dirname(path)), basename(path), epochs, step);

/** Reads the rows of a table, without a torn end. @throws DamagedRunError that names the file, the line and the rule. */
export async function readMetrics(path: string): Promise<Metrics> {
  checkPath('readMetrics: the file', path);
  return readMetricsIn(diskFolder(dirname(path)), basename(path));
}
